// What a row's result may depend on: with its query and its cache the same, the bits are the same
// however many rows there are, whatever the others are, and however rows are grouped into blocks.
#include "ptx_templates/attention.h"

#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/util/expect_close.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/kernel_runner.h"
#include "tools/fuzz/reference/ops.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kContext = 40;
constexpr uint32_t kSlots = 3;

class AttentionTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    absl::StatusOr<KernelRunner> runner = KernelRunner::Open(GetParam());
    if (absl::IsUnavailable(runner.status())) GTEST_SKIP() << runner.status().message();
    ASSERT_OK(runner);
    runner_ = std::make_unique<KernelRunner>(*std::move(runner));
    Rng rng(9);
    q_ = rng.Floats(Values::kNormal, size_t{kContext} * kRow);
    k_ = reference::AppendF16(rng.Floats(Values::kNormal, kSlots * kSequence));
    v_ = reference::AppendF16(rng.Floats(Values::kNormal, kSlots * kSequence));
  }

  // The results of rows [first, first + count) of q_ at these positions.
  std::vector<float> Run(AttentionSpec spec, uint32_t first, const std::vector<uint32_t>& positions,
                         const std::vector<uint32_t>& slots = {}) {
    spec.rows = static_cast<uint32_t>(positions.size());
    spec.slots = slots.empty() ? 1 : kSlots;
    KernelCase test = CaseOf(spec, BuildAttention);
    const size_t outputs = spec.splits > 1 ? positions.size() * kHeads * spec.splits * (kDim + 2)
                                           : positions.size() * kRow;
    const std::vector<float> q(q_.begin() + first * kRow,
                               q_.begin() + (first + positions.size()) * kRow);
    const size_t cache = slots.empty() ? kSequence : kSlots * kSequence;
    test.args = {Bytes(outputs * sizeof(float)), ToBytes(q),
                 ToBytes(std::vector<uint16_t>(k_.begin(), k_.begin() + cache)),
                 ToBytes(std::vector<uint16_t>(v_.begin(), v_.begin() + cache)),
                 ToBytes(positions)};
    if (!slots.empty()) test.args.emplace_back(ToBytes(slots));
    absl::StatusOr<std::vector<Bytes>> after = runner_->Run(test);
    EXPECT_OK(after);
    return after.ok() ? FromBytes<float>((*after)[0]) : std::vector<float>();
  }

  static constexpr uint32_t kHeads = 4, kKvHeads = 2, kDim = 64, kRow = kHeads * kDim;
  static constexpr size_t kSequence = size_t{kKvHeads} * kContext * kDim;
  const AttentionSpec spec_{kHeads, kKvHeads, kDim, kContext, 4};
  std::unique_ptr<KernelRunner> runner_;
  std::vector<float> q_;
  std::vector<uint16_t> k_, v_;
};

TEST_P(AttentionTest, APromptGivesTheBitsOfItsTokens) {
  for (uint32_t window : {0u, 6u}) {
    for (uint32_t splits : {1u, 3u}) {
      AttentionSpec spec = spec_;
      spec.window = window;
      spec.splits = splits;
      std::vector<uint32_t> positions(19);
      std::iota(positions.begin(), positions.end(), 5u);
      std::vector<float> one_by_one;
      for (uint32_t r = 0; r < positions.size(); ++r) {
        const std::vector<float> row = Run(spec, r, {positions[r]});
        one_by_one.insert(one_by_one.end(), row.begin(), row.end());
      }
      for (uint32_t queries : {1u, 2u, 4u, 8u}) {
        spec.queries = queries;
        EXPECT_TRUE(SameBits(Run(spec, 0, positions), one_by_one)) << FieldsText(spec);
      }
    }
  }
}

TEST_P(AttentionTest, ASequenceGivesTheSameBitsWhateverItsNeighbours) {
  for (uint32_t splits : {1u, 3u}) {
    AttentionSpec spec = spec_;
    spec.splits = splits;
    const std::vector<float> alone = Run(spec, 0, {20}, {1});
    for (uint32_t neighbour : {0u, 7u, 39u, UINT32_MAX}) {
      const std::vector<float> batch = Run(spec, 0, {20, neighbour, 3}, {1, 2, 0});
      ASSERT_GE(batch.size(), alone.size());
      EXPECT_TRUE(SameBits(absl::MakeConstSpan(batch).first(alone.size()), alone))
          << FieldsText(spec) << " beside a row at " << neighbour;
    }
  }
}

TEST_P(AttentionTest, ASlotGivesTheBitsOfACacheOfItsOwn) {
  EXPECT_TRUE(SameBits(Run(spec_, 2, {31}, {0}), Run(spec_, 2, {31})));
}

INSTANTIATE_TEST_SUITE_P(Devices, AttentionTest, testing::Values("emu:sm90", "cuda:0"),
                         [](const auto& info) {
                           return std::string(info.param) == "cuda:0" ? "Cuda" : "Emulator";
                         });

}  // namespace
}  // namespace ptxsmith

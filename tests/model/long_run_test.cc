// Many tokens in one process: sequences join, leave, and go on when their context is full. Memory
// stays as it is, and at the end the model computes what a fresh one does.
#include <bit>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/transformer.h"
#include "tests/model/counting_device.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kSlots = 4;
constexpr uint32_t kContext = 48;
constexpr uint32_t kRoom = 4;  // positions that a round may take
constexpr uint32_t kKept = 2;  // of a sequence that goes on, from its start

class LongRunTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Device>> device = Device::Open(GetParam());
    if (absl::IsUnavailable(device.status())) GTEST_SKIP() << device.status().message();
    ASSERT_OK(device);
    device_ = std::make_shared<CountingDevice>(*device);
    cache_ = std::make_unique<ModuleCache>(device_);
  }

  absl::StatusOr<std::unique_ptr<Transformer>> Load() {
    const std::string bytes = Write(RandomModel{.context = kContext}).Build();
    PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
    return Transformer::Load(file, *cache_, {.slots = kSlots, .exact_batches = true});
  }

  std::shared_ptr<CountingDevice> device_;
  std::unique_ptr<ModuleCache> cache_;
};

struct Totals {
  uint64_t tokens = 0, joins = 0, leaves = 0, shifts = 0;
};

// Runs until so many tokens have been chosen; which sequences do what, `seed` says. The choices go
// into `chosen` unless it is null.
absl::StatusOr<Totals> RunMany(Transformer& model, uint64_t tokens, uint64_t seed,
                               std::vector<TokenId>* chosen) {
  Rng rng(seed);
  Totals totals;
  std::vector<SlotToken> rows;
  for (uint32_t slot = 0; slot < kSlots; ++slot) {
    PTXSMITH_RETURN_IF_ERROR(model.Select(slot));
    model.Reset();
  }
  while (totals.tokens < tokens) {
    // Those with too little room leave or go on without their middle; now and then one leaves.
    for (size_t r = 0; r < rows.size();) {
      const uint32_t slot = rows[r].slot;
      const bool full = model.length(slot) + kRoom > kContext;
      PTXSMITH_RETURN_IF_ERROR(model.Select(slot));
      if (rng.Below(full ? 3 : 40) == 0) {
        model.Reset();
        rows.erase(rows.begin() + static_cast<std::ptrdiff_t>(r));
        ++totals.leaves;
        continue;
      }
      if (full) {
        PTXSMITH_RETURN_IF_ERROR(model.Shift(kKept, (model.length() - kKept) / 2));
        ++totals.shifts;
      }
      ++r;
    }
    for (uint32_t slot = 0; slot < kSlots; ++slot) {
      if (model.length(slot) > 0 || (!rows.empty() && rng.Below(4) != 0)) continue;
      std::vector<TokenId> prompt(rng.Below(2) == 0 ? 3 : 7);
      for (TokenId& token : prompt) token = rng.Below(kTinyVocab);
      PTXSMITH_RETURN_IF_ERROR(model.Select(slot));
      PTXSMITH_RETURN_IF_ERROR(model.Prompt(prompt, /*want_logits=*/true));
      PTXSMITH_ASSIGN_OR_RETURN(const TokenId first, model.Greedy());
      rows.push_back({slot, first});
      ++totals.joins;
    }
    PTXSMITH_RETURN_IF_ERROR(model.StepBatch(rows));
    const uint32_t more = rng.Below(kRoom);
    for (uint32_t i = 0; i < more; ++i) PTXSMITH_RETURN_IF_ERROR(model.StepBatchGreedy());
    for (uint32_t i = 0; i <= more; ++i) {
      PTXSMITH_ASSIGN_OR_RETURN(const absl::Span<const TokenId> next, model.NextBatch());
      for (size_t r = 0; r < rows.size(); ++r) rows[r].token = next[r];
      if (chosen != nullptr) chosen->insert(chosen->end(), next.begin(), next.end());
      totals.tokens += rows.size();
    }
  }
  return totals;
}

// What the model chooses in a short run, and the bits of its logits after a prompt.
absl::StatusOr<std::vector<uint32_t>> Fingerprint(Transformer& model) {
  std::vector<uint32_t> print;
  PTXSMITH_RETURN_IF_ERROR(RunMany(model, 150, /*seed=*/7, &print).status());
  PTXSMITH_RETURN_IF_ERROR(model.Select(1));
  model.Reset();
  PTXSMITH_RETURN_IF_ERROR(model.Prompt({5, 6, 7}, /*want_logits=*/true));
  PTXSMITH_ASSIGN_OR_RETURN(const absl::Span<const float> logits, model.Logits());
  for (const float logit : logits) print.push_back(std::bit_cast<uint32_t>(logit));
  return print;
}

TEST_P(LongRunTest, LeavesTheModelAsItWas) {
  const bool emulated = device_->profile().emulated;
  const uint64_t tokens = emulated ? 300 : 100000;
  std::vector<uint32_t> fresh;
  {
    ASSERT_OK_AND_ASSIGN(const auto model, Load());
    ASSERT_OK_AND_ASSIGN(fresh, Fingerprint(*model));
  }
  ASSERT_OK_AND_ASSIGN(const auto model, Load());
  ASSERT_OK(RunMany(*model, 300, /*seed=*/1, nullptr));  // makes the programs of every shape
  const int64_t host = LiveHostAllocations();
  const int on_device = device_->live_device_allocations();
  ASSERT_OK_AND_ASSIGN(const Totals totals, RunMany(*model, tokens, /*seed=*/2, nullptr));
  EXPECT_EQ(device_->live_device_allocations(), on_device);
  // What threads of the emulator keep for themselves may differ a little.
  EXPECT_LE(LiveHostAllocations(), host + 64);
  EXPECT_GT(totals.joins, tokens / 100);
  EXPECT_GT(totals.leaves, tokens / 100);
  EXPECT_GT(totals.shifts, tokens / 400);
  ASSERT_OK_AND_ASSIGN(const std::vector<uint32_t> after, Fingerprint(*model));
  EXPECT_EQ(after, fresh);
  RecordProperty("tokens", std::to_string(totals.tokens));
  RecordProperty("shifts", std::to_string(totals.shifts));
}

INSTANTIATE_TEST_SUITE_P(, LongRunTest, testing::Values("emu:sm90", "cuda:0"),
                         [](const auto& info) {
                           return std::string(info.param[0] == 'e' ? "emulator" : "cuda");
                         });

}  // namespace
}  // namespace ptxsmith

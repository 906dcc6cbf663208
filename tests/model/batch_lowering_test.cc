// The batched lowering: a sequence has the same bits alone and inside any batch, near those of the
// plain lowering.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/transformer.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

// ||batched - plain|| / ||plain||: activations in f16.
constexpr double kLogitTolerance = 5e-3;
constexpr uint32_t kSlots = 32;

// Queries and keys of one type, values of another; biases; two slices of columns and more.
const RandomModel kQwen2 = Qwen2Model(/*hidden=*/2304);

double Distance(absl::Span<const float> got, absl::Span<const float> want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += std::pow(double{got[i]} - want[i], 2);
    norm += std::pow(double{want[i]}, 2);
  }
  return std::sqrt(error / norm);
}

class BatchLoweringTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Device>> device = Device::Open(GetParam());
    if (absl::IsUnavailable(device.status())) GTEST_SKIP() << device.status().message();
    ASSERT_OK(device);
    if ((*device)->profile().target.sm < 90) GTEST_SKIP() << "needs sm_90";
    cache_ = std::make_unique<ModuleCache>(*device);
  }

  std::unique_ptr<ModuleCache> cache_;
};

TEST_P(BatchLoweringTest, LogitsAreThoseOfThePlainOne) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
  const auto load = [&](LoweringChoice lowering) {
    return Transformer::Load(
        file, *cache_, {.context = 16, .slots = 3, .exact_batches = true, .lowering = lowering});
  };
  ASSERT_OK_AND_ASSIGN(const auto plain, load(LoweringChoice::kPlain));
  ASSERT_OK_AND_ASSIGN(const auto batched, load(LoweringChoice::kTiled));
  EXPECT_EQ(batched->lowering().name(), "batched");
  for (const std::vector<SlotToken>& rows :
       {std::vector<SlotToken>{{0, 17}, {2, 300}}, {{2, 5}, {1, 4000}, {0, 5}}, {{0, 9}, {2, 8}}}) {
    ASSERT_OK(plain->StepBatch(rows));
    ASSERT_OK(batched->StepBatch(rows));
    ASSERT_OK_AND_ASSIGN(const auto want, plain->Logits());
    ASSERT_OK_AND_ASSIGN(const auto got, batched->Logits());
    EXPECT_LE(Distance(got, want), kLogitTolerance);
  }
}

TEST_P(BatchLoweringTest, ShortPromptsGoThroughTheBatchedKernels) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
  const auto load = [&](LoweringChoice lowering) {
    return Transformer::Load(
        file, *cache_,
        {.context = 48, .slots = 2, .products = Products::kPlain, .lowering = lowering});
  };
  ASSERT_OK_AND_ASSIGN(const auto plain, load(LoweringChoice::kPlain));
  ASSERT_OK_AND_ASSIGN(const auto batched, load(LoweringChoice::kTiled));
  Rng rng(5);
  std::vector<TokenId> tokens;
  for (int i = 0; i < 43; ++i) tokens.push_back(rng.Below(4000));
  // One step of 3 rows, then one of 32 and 8.
  for (const size_t count : {3, 40}) {
    for (Transformer* model : {plain.get(), batched.get()}) {
      ASSERT_OK(model->Select(1));
      const size_t done = count == 3 ? 0 : 3;
      ASSERT_OK(model->Prompt(absl::MakeSpan(tokens).subspan(done, count), /*want_logits=*/true));
    }
    ASSERT_OK_AND_ASSIGN(const auto want, plain->Logits());
    ASSERT_OK_AND_ASSIGN(const auto got, batched->Logits());
    ASSERT_EQ(got.size(), want.size());
    EXPECT_LE(Distance(got, want), kLogitTolerance);
  }
}

TEST_P(BatchLoweringTest, ASequenceHasTheSameBitsAloneAndInAnyBatch) {
  const std::string bytes = Write(kQwen2).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(
      const auto model,
      Transformer::Load(file, *cache_, {.slots = kSlots + 1, .lowering = LoweringChoice::kTiled}));
  // The sequence that is watched lies in different slots and rows, among others that join and
  // leave; alone it is in the last slot.
  const std::vector<TokenId> tokens = {17, 200, 4, 5, 5, 99, 3};
  std::vector<std::vector<float>> alone;
  for (const TokenId token : tokens) {
    ASSERT_OK(model->StepBatch({{kSlots, token}}));
    ASSERT_OK_AND_ASSIGN(const auto logits, model->Logits());
    alone.emplace_back(logits.begin(), logits.end());
  }
  ASSERT_OK(model->Select(kSlots));
  model->Reset();
  // Single steps have the same bits.
  for (size_t i = 0; i < tokens.size(); ++i) {
    ASSERT_OK(model->Step(tokens[i], /*want_logits=*/true));
    ASSERT_OK_AND_ASSIGN(const auto logits, model->Logits());
    EXPECT_TRUE(std::equal(alone[i].begin(), alone[i].end(), logits.begin())) << "token " << i;
  }
  Rng rng(11);
  const std::vector<uint32_t> sizes = {2, 9, 32, 16, 8, 31, 17};
  const uint32_t watched = 5;
  for (size_t i = 0; i < tokens.size(); ++i) {
    SCOPED_TRACE(absl::StrCat("token ", i, " in a batch of ", sizes[i]));
    const uint32_t place = rng.Below(sizes[i]);
    std::vector<SlotToken> rows;
    for (uint32_t r = 0, slot = 0; r < sizes[i]; ++r) {
      if (r == place) {
        rows.push_back({watched, tokens[i]});
        continue;
      }
      if (slot == watched) ++slot;
      rows.push_back({slot++, rng.Below(kTinyVocab)});
    }
    ASSERT_OK(model->StepBatch(rows));
    ASSERT_OK_AND_ASSIGN(const auto logits, model->Logits());
    EXPECT_TRUE(std::equal(alone[i].begin(), alone[i].end(),
                           logits.begin() + place * model->config().vocab_size));
    if (i % 2 == 0) {  // one leaves, and begins anew
      ASSERT_OK(model->Select(0));
      model->Reset();
    }
  }
}

TEST_P(BatchLoweringTest, BatchesGoOnByThemselves) {
  const std::string bytes = Write(kQwen2).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(
      const auto model,
      Transformer::Load(file, *cache_, {.slots = 3, .lowering = LoweringChoice::kTiled}));
  const std::vector<SlotToken> first = {{0, 10}, {1, 11}, {2, 12}};
  ASSERT_OK(model->StepBatch(first));
  for (int i = 0; i < 3; ++i) ASSERT_OK(model->StepBatchGreedy());
  std::vector<std::vector<TokenId>> got;
  for (int i = 0; i < 4; ++i) {
    ASSERT_OK_AND_ASSIGN(const auto choices, model->NextBatch());
    got.emplace_back(choices.begin(), choices.end());
  }
  for (uint32_t slot = 0; slot < 3; ++slot) {
    ASSERT_OK(model->Select(slot));
    model->Reset();
  }
  // The same, one after the other, by the host.
  for (uint32_t slot = 0; slot < 3; ++slot) {
    TokenId token = first[slot].token;
    for (int i = 0; i < 4; ++i) {
      ASSERT_OK(model->StepBatch({{slot, token}}));
      ASSERT_OK_AND_ASSIGN(const auto choice, model->NextBatch());
      EXPECT_EQ(choice[0], got[i][slot]) << "step " << i << " of slot " << slot;
      token = choice[0];
    }
  }
}

TEST_P(BatchLoweringTest, ADraftIsCheckedInOnePass) {
  const std::string bytes = Write(kQwen2).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(
      const auto model,
      Transformer::Load(file, *cache_, {.slots = 2, .lowering = LoweringChoice::kTiled}));
  const std::vector<TokenId> tokens = {3, 50, 7, 7, 120, 9, 1, 2, 88, 4};
  ASSERT_OK(model->Select(1));
  std::vector<TokenId> want;
  for (const TokenId token : tokens) {
    ASSERT_OK(model->StepBatch({{1, token}}));
    ASSERT_OK_AND_ASSIGN(const auto choice, model->NextBatch());
    want.push_back(choice[0]);
  }
  ASSERT_OK(model->Rewind(0));
  ASSERT_OK_AND_ASSIGN(const auto likeliest, model->Verify(tokens));
  EXPECT_EQ(std::vector<TokenId>(likeliest.begin(), likeliest.end()), want);
}

INSTANTIATE_TEST_SUITE_P(Devices, BatchLoweringTest, testing::Values("emu:sm90", "cuda:0"),
                         [](const auto& info) {
                           return std::string(info.param[0] == 'e' ? "emulator" : "cuda");
                         });

TEST(BatchLoweringChoiceTest, SaysWhyNotAndFallsBack) {
  ASSERT_OK_AND_ASSIGN(const auto device, Device::Open("emu:sm90"));
  ModuleCache cache(device);
  const std::string bytes = Write(RandomModel{.width = 64}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  EXPECT_THAT(
      Transformer::Load(file, cache, {.slots = 2, .lowering = LoweringChoice::kTiled}).status(),
      StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("a width of 64")));
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, cache, {.slots = 2}));
  EXPECT_EQ(model->lowering().name(), "plain");
}

}  // namespace
}  // namespace ptxsmith

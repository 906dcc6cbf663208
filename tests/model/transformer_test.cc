#include "model/transformer.h"

#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/model/emulator_test.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

using TransformerTest = EmulatorTest;

// The logits after each token, as copies.
std::vector<std::vector<float>> LogitsOf(Transformer& model, const std::vector<TokenId>& tokens) {
  std::vector<std::vector<float>> all;
  for (const TokenId token : tokens) {
    EXPECT_OK(model.Step(token, /*want_logits=*/true));
    absl::StatusOr<absl::Span<const float>> logits = model.Logits();
    EXPECT_OK(logits);
    if (logits.ok()) all.emplace_back(logits->begin(), logits->end());
  }
  return all;
}

std::vector<TokenId> RandomTokens(size_t count, uint32_t vocab) {
  Rng rng(5);
  std::vector<TokenId> tokens;
  for (size_t i = 0; i < count; ++i) tokens.push_back(rng.Below(vocab));
  return tokens;
}

// Compares with the reference at every position. Both round keys and values to f16, and the few
// that fall on different sides differ by 2^-11 of themselves; everything else differs by roundings
// of f32. `tolerance` is relative to the largest logit of the position.
void ExpectLogitsOf(const reference::Model& want, Transformer& model,
                    const std::vector<TokenId>& tokens, double tolerance) {
  reference::Forward forward(want);
  const std::vector<std::vector<float>> got = LogitsOf(model, tokens);
  ASSERT_EQ(got.size(), tokens.size());
  double largest_share = 0;
  for (size_t position = 0; position < tokens.size(); ++position) {
    const std::vector<double> expected = forward.Step(tokens[position]);
    ASSERT_EQ(got[position].size(), expected.size());
    double scale = 0, worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_TRUE(std::isfinite(got[position][i])) << "position " << position << ", logit " << i;
      scale = std::max(scale, std::fabs(expected[i]));
      worst = std::max(worst, std::fabs(got[position][i] - expected[i]));
    }
    EXPECT_LE(worst, tolerance * scale) << "position " << position << ", largest logit " << scale;
    largest_share = std::max(largest_share, worst / scale);
  }
  testing::Test::RecordProperty("largest_difference", absl::StrCat(largest_share));
}

constexpr double kTolerance = 1e-3;  // measured: at most 3.1e-4

struct Shape {
  const char* name;
  RandomModel model;
};

class TransformerShapeTest : public TransformerTest, public testing::WithParamInterface<Shape> {};

TEST_P(TransformerShapeTest, LogitsAreThoseOfTheReference) {
  const std::string bytes = Write(GetParam().model).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(const reference::Model want, ReferenceModel(file));
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, *cache_, {}));
  ExpectLogitsOf(want, *model, RandomTokens(model->context(), kTinyVocab), kTolerance);
}

INSTANTIATE_TEST_SUITE_P(
    , TransformerShapeTest,
    testing::Values(Shape{"Plain", {}},
                    Shape{"TiedEmbedding", {.embedding = QuantType::kF16, .tied = true}},
                    Shape{"OneKvHead", {.heads = 3, .kv_heads = 1, .seed = 2}},
                    Shape{"NoGroups", {.heads = 2, .kv_heads = 2, .seed = 3}},
                    Shape{"HeadsWiderThanTheEmbedding",
                          {.heads = 4, .head_dim = 64, .rope_dim = 64}},
                    Shape{"PartOfAHeadRotates", {.head_dim = 64, .rope_dim = 20, .seed = 4}},
                    Shape{"RopeFactors", {.rope_factors = true, .seed = 5}},
                    Shape{"F32", {.type = QuantType::kF32, .embedding = QuantType::kF32}},
                    Shape{"F16", {.type = QuantType::kF16, .embedding = QuantType::kF16}},
                    Shape{"Q4K",
                          {.type = QuantType::kQ4K,
                           .embedding = QuantType::kQ6K,
                           .width = 256,
                           .hidden = 512,
                           .heads = 8}}),
    [](const auto& info) { return info.param.name; });

TEST_F(TransformerTest, SampleModelGivesTheLogitsOfTheReference) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
  ASSERT_OK_AND_ASSIGN(const reference::Model want, ReferenceModel(file));
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, *cache_, {}));
  ExpectLogitsOf(want, *model, RandomTokens(24, model->config().vocab_size), kTolerance);
}

TEST_F(TransformerTest, RunsRepeatBitForBit) {
  const GgufWriter file = Write({});
  ASSERT_OK_AND_ASSIGN(const auto model, Load(file));
  const std::vector<TokenId> tokens = RandomTokens(12, kTinyVocab);
  const auto first = LogitsOf(*model, tokens);
  model->Reset();
  EXPECT_EQ(model->length(), 0u);
  EXPECT_EQ(LogitsOf(*model, tokens), first) << "after Reset";
  // What other tokens left in the cache must not show.
  model->Reset();
  LogitsOf(*model, RandomTokens(model->context(), 7));
  model->Reset();
  EXPECT_EQ(LogitsOf(*model, tokens), first) << "after other tokens";
  ASSERT_OK_AND_ASSIGN(const auto again, Load(file));
  EXPECT_EQ(LogitsOf(*again, tokens), first) << "after loading anew";
}

// Kernels round where their text says so and sum in a fixed order: devices cannot differ.
TEST_F(TransformerTest, TheGpuGivesTheBitsOfTheEmulator) {
  const absl::StatusOr<std::shared_ptr<Device>> gpu = Device::Open("cuda:0");
  if (absl::IsUnavailable(gpu.status())) GTEST_SKIP() << gpu.status().message();
  ASSERT_OK(gpu);
  ModuleCache gpu_cache(*gpu);
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
  ASSERT_OK_AND_ASSIGN(const auto on_emulator, Transformer::Load(file, *cache_, {}));
  // The tiled lowering divides the rows by the device's multiprocessors.
  ASSERT_OK_AND_ASSIGN(const auto on_gpu,
                       Transformer::Load(file, gpu_cache, {.lowering = LoweringChoice::kPlain}));
  const std::vector<TokenId> tokens = RandomTokens(24, on_gpu->config().vocab_size);
  EXPECT_EQ(LogitsOf(*on_gpu, tokens), LogitsOf(*on_emulator, tokens));
}

TEST_F(TransformerTest, TheSizeOfTheContextDoesNotChangeTheBits) {
  const GgufWriter file = Write({});
  ASSERT_OK_AND_ASSIGN(const auto whole, Load(file));
  ASSERT_OK_AND_ASSIGN(const auto small, Load(file, {.context = 12}));
  const std::vector<TokenId> tokens = RandomTokens(12, kTinyVocab);
  EXPECT_EQ(LogitsOf(*whole, tokens), LogitsOf(*small, tokens));
}

TEST_F(TransformerTest, StepsWithoutLogitsFillTheCacheAlike) {
  ASSERT_OK_AND_ASSIGN(const auto model, Load(Write({})));
  const std::vector<TokenId> tokens = RandomTokens(6, kTinyVocab);
  const auto want = LogitsOf(*model, tokens);
  model->Reset();
  for (size_t i = 0; i + 1 < tokens.size(); ++i) ASSERT_OK(model->Step(tokens[i], false));
  EXPECT_EQ(LogitsOf(*model, {tokens.back()}).at(0), want.back());
}

TEST_F(TransformerTest, GreedyIsTheLargestLogit) {
  ASSERT_OK_AND_ASSIGN(const auto model, Load(Write({})));
  for (const TokenId token : RandomTokens(8, kTinyVocab)) {
    const std::vector<float> logits = LogitsOf(*model, {token}).at(0);
    EXPECT_THAT(model->Greedy(), IsOkAndHolds(reference::ArgMax(logits)));
  }
}

// Products on tensor cores round activations and weights to f16.
constexpr double kPromptTolerance = 1e-2;

TEST_F(TransformerTest, PromptsGiveTheLogitsOfSteps) {
  const std::string bytes = Write(RandomModel{}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  const std::vector<TokenId> tokens = RandomTokens(13, kTinyVocab);
  for (const uint32_t batch : {1u, 5u, 6u, 12u, 512u}) {
    SCOPED_TRACE(batch);
    ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, *cache_, {.batch = batch}));
    const std::vector<float> want = LogitsOf(*model, tokens).back();
    model->Reset();
    ASSERT_OK(model->Step(tokens[0], false));
    ASSERT_OK(model->Prompt(absl::MakeConstSpan(tokens).subspan(1), true));
    EXPECT_EQ(model->length(), tokens.size());
    ASSERT_OK_AND_ASSIGN(const auto got, model->Logits());
    double scale = 0, worst = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      scale = std::max<double>(scale, std::fabs(want[i]));
      worst = std::max<double>(worst, std::fabs(want[i] - got[i]));
    }
    EXPECT_LE(worst, (batch == 1 ? 0 : kPromptTolerance) * scale);
    // The choice and the steps after it go on from the last token.
    const std::vector<float> logits(got.begin(), got.end());
    EXPECT_THAT(model->Greedy(), IsOkAndHolds(reference::ArgMax(logits)));
    ASSERT_OK(model->StepGreedy());
    EXPECT_EQ(model->length(), tokens.size() + 1);
  }
}

TEST_F(TransformerTest, PromptsStopBetweenPieces) {
  const std::string bytes = Write(RandomModel{}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, *cache_, {.batch = 4}));
  int asked = 0;
  ASSERT_OK(model->Prompt(RandomTokens(13, kTinyVocab), true, [&] { return ++asked < 3; }));
  EXPECT_EQ(model->length(), 8u);
  EXPECT_THAT(model->Logits(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

// The tokens that the device feeds to itself are those that the host would feed, bit for bit, also
// when the host lags behind.
TEST_F(TransformerTest, GreedyStepsAreThoseOfTheHost) {
  ASSERT_OK_AND_ASSIGN(const auto model, Load(Write({})));
  constexpr uint32_t kSteps = 15;
  ASSERT_OK(model->Step(7, true));
  std::vector<TokenId> want;
  std::vector<std::vector<float>> logits;
  for (uint32_t i = 0; i <= kSteps; ++i) {
    ASSERT_OK_AND_ASSIGN(const TokenId token, model->Greedy());
    want.push_back(token);
    logits.push_back(LogitsOf(*model, {token}).at(0));
  }
  for (const uint32_t ahead : {1u, 2u, kSteps}) {
    SCOPED_TRACE(ahead);
    model->Reset();
    ASSERT_OK(model->Step(7, true));
    ASSERT_OK_AND_ASSIGN(const TokenId first, model->Greedy());
    std::vector<TokenId> got = {first};
    uint32_t steps = 0;
    while (got.size() <= kSteps) {
      while (steps < kSteps && steps + 1 < got.size() + ahead) {
        ASSERT_OK(model->StepGreedy());
        ++steps;
      }
      ASSERT_OK_AND_ASSIGN(const TokenId token, model->NextGreedy());
      got.push_back(token);
    }
    EXPECT_EQ(got, want);
    ASSERT_OK_AND_ASSIGN(const auto last, model->Logits());
    EXPECT_EQ(std::vector<float>(last.begin(), last.end()), logits[kSteps - 1]);
  }
}

TEST_F(TransformerTest, StepsAheadCanBeDropped) {
  ASSERT_OK_AND_ASSIGN(const auto model, Load(Write({})));
  ASSERT_OK(model->Step(7, true));
  ASSERT_OK_AND_ASSIGN(const TokenId first, model->Greedy());
  ASSERT_OK(model->StepGreedy());
  ASSERT_OK_AND_ASSIGN(const TokenId second, model->NextGreedy());
  for (int i = 0; i < 3; ++i) ASSERT_OK(model->StepGreedy());
  EXPECT_EQ(model->length(), 5u);
  model->DropAhead();
  EXPECT_EQ(model->length(), 2u);
  EXPECT_THAT(model->NextGreedy(),
              StatusIs(absl::StatusCode::kFailedPrecondition, "every choice has been asked for"));
  EXPECT_THAT(model->StepGreedy(), StatusIs(absl::StatusCode::kFailedPrecondition));
  const std::vector<float> after = LogitsOf(*model, {second}).at(0);
  model->Reset();
  EXPECT_EQ(LogitsOf(*model, {7, first, second}).back(), after);
}

TEST_F(TransformerTest, GreedyStepsEndWithTheContext) {
  ASSERT_OK_AND_ASSIGN(const auto model, Load(Write({}), {.context = 3}));
  ASSERT_OK(model->Step(7, true));
  ASSERT_OK(model->StepGreedy());
  ASSERT_OK(model->StepGreedy());
  EXPECT_THAT(model->StepGreedy(),
              StatusIs(absl::StatusCode::kOutOfRange,
                       "the context of 3 positions is full; ask for a larger one"));
}

class BatchTest : public TransformerTest, public testing::WithParamInterface<bool> {};

// Sequences join and leave between steps; each has the bits it has alone: in single steps where
// batches are exact, else in batches of its own.
TEST_P(BatchTest, SequencesSideBySideHaveTheBitsOfOneAlone) {
  const bool exact = GetParam();
  const std::string bytes = Write(RandomModel{}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(const auto alone, Transformer::Load(file, *cache_, {}));
  ASSERT_OK_AND_ASSIGN(const auto model,
                       Transformer::Load(file, *cache_, {.slots = 12, .exact_batches = exact}));
  EXPECT_EQ(model->slots(), 12u);
  const uint32_t vocab = model->config().vocab_size;
  Rng rng(11);
  std::vector<std::vector<TokenId>> history(12);
  for (const std::vector<uint32_t>& members :
       std::vector<std::vector<uint32_t>>{{3},
                                          {3, 0},
                                          {0, 3, 4, 1},
                                          {4, 0},
                                          {2, 1, 0, 4, 3},
                                          {11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}}) {
    std::vector<SlotToken> rows;
    for (const uint32_t slot : members) {
      rows.push_back({slot, rng.Below(vocab)});
      history[slot].push_back(rows.back().token);
    }
    ASSERT_OK(model->StepBatch(rows));
    ASSERT_OK_AND_ASSIGN(const auto all, model->Logits());
    const std::vector<float> logits(all.begin(), all.end());
    ASSERT_EQ(logits.size(), uint64_t{vocab} * rows.size());
    ASSERT_OK_AND_ASSIGN(const auto choices, model->NextBatch());
    ASSERT_EQ(choices.size(), rows.size());
    for (size_t r = 0; r < rows.size(); ++r) {
      SCOPED_TRACE(absl::StrCat("row ", r, " of ", rows.size(), ", slot ", rows[r].slot));
      alone->Reset();
      std::vector<float> want;
      for (const TokenId token : history[rows[r].slot]) {
        ASSERT_OK(exact ? alone->Step(token, true) : alone->StepBatch({{0, token}}));
        ASSERT_OK_AND_ASSIGN(const auto of_one, alone->Logits());
        want.assign(of_one.begin(), of_one.end());
      }
      EXPECT_TRUE(std::equal(want.begin(), want.end(), logits.begin() + r * vocab));
      EXPECT_EQ(choices[r], reference::ArgMax(want));
      EXPECT_EQ(model->length(rows[r].slot), history[rows[r].slot].size());
    }
  }
}

INSTANTIATE_TEST_SUITE_P(, BatchTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Exact" : "TensorCores"; });

TEST_F(TransformerTest, BatchesGoOnByThemselves) {
  const std::string bytes = Write(RandomModel{}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(const auto alone, Transformer::Load(file, *cache_, {}));
  ASSERT_OK_AND_ASSIGN(const auto model,
                       Transformer::Load(file, *cache_, {.slots = 3, .exact_batches = true}));
  // Prompts of different lengths, in any order of the slots.
  const std::vector<std::vector<TokenId>> prompts = {{1, 2}, {}, {3, 4, 5}};
  for (const uint32_t slot : {2u, 0u}) {
    ASSERT_OK(model->Select(slot));
    for (const TokenId token : prompts[slot]) ASSERT_OK(model->Step(token, false));
  }
  ASSERT_OK(model->StepBatch({{0, 10}, {1, 11}, {2, 12}}));
  constexpr int kSteps = 4;
  for (int i = 0; i < kSteps; ++i) ASSERT_OK(model->StepBatchGreedy());
  std::vector<std::vector<TokenId>> got(3);
  for (int i = 0; i <= kSteps; ++i) {
    ASSERT_OK_AND_ASSIGN(const auto choices, model->NextBatch());
    for (uint32_t slot = 0; slot < 3; ++slot) got[slot].push_back(choices[slot]);
  }
  for (uint32_t slot = 0; slot < 3; ++slot) {
    SCOPED_TRACE(slot);
    alone->Reset();
    for (const TokenId token : prompts[slot]) ASSERT_OK(alone->Step(token, false));
    ASSERT_OK(alone->Step(10 + slot, true));
    for (const TokenId token : got[slot]) {
      EXPECT_THAT(alone->Greedy(), IsOkAndHolds(token));
      ASSERT_OK(alone->Step(token, true));
    }
    EXPECT_EQ(model->length(slot), prompts[slot].size() + 1 + kSteps);
  }
}

TEST_F(TransformerTest, BatchesRefuseWhatTheyCannotRun) {
  ASSERT_OK_AND_ASSIGN(const auto model, Load(Write({})));
  EXPECT_THAT(model->StepBatch({}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(model->StepBatch({{1, 0}}),
              StatusIs(absl::StatusCode::kInvalidArgument, "row 0 is of slot 1 of 1"));
  EXPECT_THAT(
      model->StepBatch({{0, 0}, {0, 1}}),
      StatusIs(absl::StatusCode::kInvalidArgument, "row 1 is of slot 0, which an earlier row has"));
  EXPECT_THAT(model->StepBatch({{0, kTinyVocab}}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(model->StepBatchGreedy(), StatusIs(absl::StatusCode::kFailedPrecondition));
  EXPECT_THAT(model->Select(1), StatusIs(absl::StatusCode::kOutOfRange, "slot 1 of 1"));
  ASSERT_OK(model->StepBatch({{0, 1}}));
  EXPECT_THAT(model->StepGreedy(), StatusIs(absl::StatusCode::kFailedPrecondition,
                                            "the last step was one of several sequences"));
  EXPECT_EQ(model->length(), 1u);
}

TEST_F(TransformerTest, ADraftIsCheckedInOnePass) {
  ASSERT_OK_AND_ASSIGN(const auto model, Load(Write({})));
  const std::vector<TokenId> tokens = RandomTokens(9, kTinyVocab);
  const auto logits = LogitsOf(*model, tokens);
  const std::vector<float> after = LogitsOf(*model, {7}).at(0);
  model->Reset();
  ASSERT_OK(model->Step(tokens[0], false));
  ASSERT_OK_AND_ASSIGN(const auto likeliest,
                       model->Verify(absl::MakeConstSpan(tokens).subspan(1, 7)));
  ASSERT_EQ(likeliest.size(), 7u);
  for (size_t i = 0; i < 7; ++i) EXPECT_EQ(likeliest[i], reference::ArgMax(logits[i + 1])) << i;
  EXPECT_EQ(model->length(), 8u);
  // What was wrong of it is dropped; the rest is as if it had been run token by token.
  ASSERT_OK(model->Rewind(3));
  ASSERT_OK(model->Verify(absl::MakeConstSpan(tokens).subspan(3, 6)));
  EXPECT_EQ(LogitsOf(*model, {7}).at(0), after);
  EXPECT_THAT(model->Rewind(11), StatusIs(absl::StatusCode::kOutOfRange));
}

TEST_F(TransformerTest, ASavedPrefixGoesOnAsIfItHadBeenRun) {
  const std::string bytes = Write(RandomModel{}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, *cache_, {}));
  const std::vector<TokenId> tokens = RandomTokens(9, kTinyVocab);
  LogitsOf(*model, tokens);
  ASSERT_OK_AND_ASSIGN(const std::vector<uint8_t> prefix, model->Save());
  const std::vector<float> want = LogitsOf(*model, {7}).at(0);
  EXPECT_THAT(model->Restore(prefix), StatusIs(absl::StatusCode::kFailedPrecondition));

  // Into another slot of another size, after other tokens.
  ASSERT_OK_AND_ASSIGN(
      const auto other,
      Transformer::Load(file, *cache_, {.context = 12, .slots = 3, .exact_batches = true}));
  ASSERT_OK(other->Select(2));
  LogitsOf(*other, RandomTokens(4, 5));
  other->Reset();
  ASSERT_OK(other->Restore(prefix));
  EXPECT_EQ(other->length(), tokens.size());
  EXPECT_EQ(LogitsOf(*other, {7}).at(0), want);

  std::vector<uint8_t> cut(prefix.begin(), prefix.end() - 1);
  model->Reset();
  EXPECT_THAT(model->Restore(cut), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(model->Restore({}), StatusIs(absl::StatusCode::kInvalidArgument));
  std::vector<uint8_t> foreign = prefix;
  ++foreign[8];
  EXPECT_THAT(model->Restore(foreign),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "not a snapshot of the keys and values of such a model"));
  ASSERT_OK_AND_ASSIGN(const auto small, Transformer::Load(file, *cache_, {.context = 8}));
  EXPECT_THAT(small->Restore(prefix), StatusIs(absl::StatusCode::kOutOfRange,
                                               "a snapshot of 9 positions; the context has 8"));
  EXPECT_EQ(small->length(), 0u);
}

TEST_F(TransformerTest, AnObserverSeesEveryKernel) {
  ASSERT_OK_AND_ASSIGN(const auto model, Load(Write({})));
  const std::vector<float> want = LogitsOf(*model, {7}).at(0);
  model->Reset();
  std::vector<std::string> seen;
  std::vector<float> last;
  model->SetObserver([&](const StepKernel& kernel, absl::Span<const float> result) {
    seen.push_back(absl::StrCat(kernel.layer, " ", kernel.stage));
    last.assign(result.begin(), result.end());
    return absl::OkStatus();
  });
  EXPECT_EQ(LogitsOf(*model, {7}).at(0), want);
  EXPECT_EQ(last, want);
  EXPECT_EQ(seen.front(), "-1 embedding");
  EXPECT_EQ(seen[1], "0 qkv");
  EXPECT_EQ(seen.back(), "-1 output");
  model->SetObserver([](const StepKernel& kernel, absl::Span<const float>) {
    return kernel.stage == "ffn_down" ? absl::CancelledError("enough") : absl::OkStatus();
  });
  EXPECT_THAT(model->Step(1, false), StatusIs(absl::StatusCode::kCancelled, "enough"));
}

TEST_F(TransformerTest, IntegerProductsAreCloseToThoseOfFloats) {
  for (const QuantType type : {QuantType::kQ8_0, QuantType::kF16}) {
    SCOPED_TRACE(std::string(ToString(type)));
    const std::string bytes = Write(RandomModel{.type = type}).Build();
    ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
    ASSERT_OK_AND_ASSIGN(const auto floats, Transformer::Load(file, *cache_, {}));
    ASSERT_OK_AND_ASSIGN(const auto integers,
                         Transformer::Load(file, *cache_, {.activations = Activations::kQ8_1}));
    const std::vector<TokenId> tokens = RandomTokens(12, kTinyVocab);
    const std::vector<float> want = LogitsOf(*floats, tokens).back();
    const std::vector<float> got = LogitsOf(*integers, tokens).back();
    // Weights that are no integers have no such products.
    EXPECT_EQ(got == want, type == QuantType::kF16);
    double scale = 0, worst = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      scale = std::max<double>(scale, std::fabs(want[i]));
      worst = std::max<double>(worst, std::fabs(want[i] - got[i]));
    }
    EXPECT_LE(worst, 0.1 * scale);
  }
}

TEST_F(TransformerTest, AQ8_0CacheIsCloseToAnF16One) {
  const std::string bytes = Write(RandomModel{}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(const auto f16, Transformer::Load(file, *cache_, {}));
  ASSERT_OK_AND_ASSIGN(const auto q8_0,
                       Transformer::Load(file, *cache_, {.kv_type = QuantType::kQ8_0}));
  const std::vector<TokenId> tokens = RandomTokens(12, kTinyVocab);
  const std::vector<float> want = LogitsOf(*f16, tokens).back();
  const std::vector<float> got = LogitsOf(*q8_0, tokens).back();
  EXPECT_NE(got, want);
  double scale = 0, worst = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    scale = std::max<double>(scale, std::fabs(want[i]));
    worst = std::max<double>(worst, std::fabs(want[i] - got[i]));
  }
  EXPECT_LE(worst, 0.05 * scale);
}

TEST_F(TransformerTest, LogitsMustHaveBeenWanted) {
  ASSERT_OK_AND_ASSIGN(const auto model, Load(Write({})));
  const auto refused =
      StatusIs(absl::StatusCode::kFailedPrecondition, "the last step was run without logits");
  EXPECT_THAT(model->Logits(), refused) << "before any step";
  ASSERT_OK(model->Step(1, /*want_logits=*/true));
  ASSERT_OK(model->Step(1, /*want_logits=*/false));
  EXPECT_THAT(model->Logits(), refused);
  EXPECT_THAT(model->Greedy(), refused);
}

TEST_F(TransformerTest, RefusedStepsChangeNothing) {
  ASSERT_OK_AND_ASSIGN(const auto model, Load(Write({}), {.context = 3}));
  EXPECT_EQ(model->context(), 3u);
  const std::vector<float> first = LogitsOf(*model, {7}).at(0);
  EXPECT_THAT(model->Step(kTinyVocab, true), StatusIs(absl::StatusCode::kInvalidArgument,
                                                      "token 261 is beyond the vocabulary of 261"));
  EXPECT_EQ(model->length(), 1u);
  ASSERT_OK_AND_ASSIGN(const auto kept, model->Logits());
  EXPECT_EQ(std::vector<float>(kept.begin(), kept.end()), first);

  const auto rest = LogitsOf(*model, {8, 9});
  EXPECT_THAT(model->Step(1, true),
              StatusIs(absl::StatusCode::kOutOfRange,
                       "the context of 3 positions is full; ask for a larger one"));
  EXPECT_EQ(model->length(), 3u);
  ASSERT_OK_AND_ASSIGN(const auto last, model->Logits());
  EXPECT_EQ(std::vector<float>(last.begin(), last.end()), rest.back());
}

// Layers of one shape share their kernels.
TEST_F(TransformerTest, BuildsEachKernelOnce) {
  ASSERT_OK(Load(Write({.blocks = 1})));
  const uint64_t builds = cache_->stats().builds;
  ASSERT_OK(Load(Write({.blocks = 3})));
  EXPECT_EQ(cache_->stats().builds, builds);
}

}  // namespace
}  // namespace ptxsmith

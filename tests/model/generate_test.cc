#include "model/generate.h"

#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

class GenerateTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(const auto device, Device::Open("emu:sm90"));
    cache_ = std::make_unique<ModuleCache>(device);
    const std::string bytes = Write(RandomModel{}).Build();
    ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
    ASSERT_OK_AND_ASSIGN(Tokenizer tokenizer, Tokenizer::Create(file));
    tokenizer_ = std::make_unique<Tokenizer>(std::move(tokenizer));
    ASSERT_OK_AND_ASSIGN(model_, Transformer::Load(file, *cache_, {}));
  }

  // Collects the text in text_.
  absl::StatusOr<GenerationStats> Run(const std::vector<TokenId>& prompt,
                                      const GenerationOptions& options) {
    text_.clear();
    return Generate(*model_, *tokenizer_, prompt, options,
                    [&](absl::string_view text) { text_ += std::string(text); });
  }

  // What the model itself would choose, step by step.
  std::vector<TokenId> Greedy(const std::vector<TokenId>& prompt, size_t count) {
    for (const TokenId token : prompt) EXPECT_OK(model_->Step(token, true));
    std::vector<TokenId> tokens;
    for (size_t i = 0; i < count; ++i) {
      const absl::StatusOr<TokenId> token = model_->Greedy();
      EXPECT_OK(token);
      tokens.push_back(token.value_or(0));
      if (model_->length() == model_->context()) break;
      EXPECT_OK(model_->Step(tokens.back(), true));
    }
    model_->Reset();
    return tokens;
  }

  std::unique_ptr<ModuleCache> cache_;
  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<Transformer> model_;
  std::string text_;
};

TEST_F(GenerateTest, GreedyTextIsTheModelsChoice) {
  const std::vector<TokenId> want = Greedy({kHe, kLl}, 9);
  ASSERT_OK_AND_ASSIGN(const GenerationStats stats,
                       Run({kHe, kLl}, {.max_tokens = 9, .ignore_end = true}));
  EXPECT_EQ(text_, tokenizer_->Decode(want));
  EXPECT_EQ(stats.prompt_tokens, 2u);
  EXPECT_EQ(stats.generated_tokens, 9u);
  EXPECT_EQ(stats.reason, StopReason::kLimit);
  EXPECT_GT(stats.prompt_seconds, 0);
  EXPECT_GT(stats.generation_seconds, 0);
  // The last token was chosen but need not be run.
  EXPECT_EQ(model_->length(), 2u + 8u);
}

TEST_F(GenerateTest, TheLargestContextIsUsedToTheLastPosition) {
  const std::vector<TokenId> want = Greedy({1, 2, 3}, model_->context() - 3 + 1);
  ASSERT_OK_AND_ASSIGN(const GenerationStats stats,
                       Run({1, 2, 3}, {.max_tokens = 1000, .ignore_end = true}));
  EXPECT_EQ(stats.reason, StopReason::kContextFull);
  EXPECT_EQ(model_->length(), model_->context());
  EXPECT_EQ(text_, tokenizer_->Decode(want));
  EXPECT_EQ(stats.generated_tokens, want.size());
}

TEST_F(GenerateTest, EqualSeedsGiveEqualTexts) {
  GenerationOptions options{.max_tokens = 16, .ignore_end = true};
  options.sampling = {.temperature = 2.0f, .top_k = 0, .top_p = 1.0f, .seed = 3};
  ASSERT_OK(Run({kHe}, options));
  const std::string first = text_;
  model_->Reset();
  ASSERT_OK(Run({kHe}, options));
  EXPECT_EQ(text_, first);
  model_->Reset();
  options.sampling.seed = 4;
  ASSERT_OK(Run({kHe}, options));
  EXPECT_NE(text_, first);
}

TEST_F(GenerateTest, StopsWhereItIsTold) {
  GenerationOptions options{.ignore_end = true};
  int asked = 0;
  options.stop = [&] { return ++asked == 1; };
  ASSERT_OK_AND_ASSIGN(GenerationStats stats, Run({1, 2, 3}, options));
  EXPECT_EQ(stats.reason, StopReason::kStopped);
  EXPECT_EQ(stats.prompt_tokens, 0u);
  EXPECT_EQ(stats.generated_tokens, 0u);
  EXPECT_EQ(text_, "");

  model_->Reset();
  asked = 0;
  options.stop = [&] { return ++asked == 3; };
  ASSERT_OK_AND_ASSIGN(stats, Run({1, 2, 3}, options));
  EXPECT_EQ(stats.reason, StopReason::kStopped);
  EXPECT_EQ(stats.prompt_tokens, 3u);
  EXPECT_EQ(stats.generated_tokens, 2u);
}

TEST_F(GenerateTest, GoesOnWithoutItsMiddleWhenTheContextIsFull) {
  for (const float temperature : {0.0f, 1.0f}) {
    for (const uint32_t keep : {0u, 2u, 100u}) {
      model_->Reset();
      GenerationOptions options{.max_tokens = 100, .ignore_end = true, .keep = keep};
      options.sampling.temperature = temperature;
      ASSERT_OK_AND_ASSIGN(const GenerationStats stats, Run({1, 2, 3}, options));
      EXPECT_EQ(stats.reason, StopReason::kLimit);
      EXPECT_EQ(stats.generated_tokens, 100u);
      EXPECT_LE(model_->length(), 24u);
    }
  }
}

TEST_F(GenerateTest, NoTokensWantedRunsOnlyThePrompt) {
  ASSERT_OK_AND_ASSIGN(const GenerationStats stats, Run({1, 2}, {.max_tokens = 0}));
  EXPECT_EQ(stats.generated_tokens, 0u);
  EXPECT_EQ(stats.prompt_tokens, 2u);
  EXPECT_EQ(text_, "");
}

TEST_F(GenerateTest, RefusesPromptsThatAreEmptyOrTooLong) {
  EXPECT_THAT(Run({}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, "the prompt has no tokens"));
  ASSERT_OK(model_->Step(1, false));
  EXPECT_THAT(Run(std::vector<TokenId>(24, 1), {}),
              StatusIs(absl::StatusCode::kOutOfRange,
                       "the prompt has 24 tokens; the context of 24 positions has room for 23"));
  EXPECT_EQ(model_->length(), 1u) << "nothing has been run";
}

TEST_F(GenerateTest, RefusesSamplingOptionsOutOfRange) {
  GenerationOptions options;
  options.sampling.top_p = 2;
  EXPECT_THAT(Run({1}, options), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_EQ(model_->length(), 0u);
}

}  // namespace
}  // namespace ptxsmith

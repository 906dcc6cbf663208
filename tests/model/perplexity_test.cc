#include "model/perplexity.h"

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/model/emulator_test.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

TEST(NegativeLogLikelihoodTest, IsThatOfTheSoftmax) {
  const std::vector<float> equal(8, 3.0f);
  EXPECT_NEAR(NegativeLogLikelihood(equal, 5), std::log(8.0), 1e-12);
  // e^0 + e^-1 in the middle of numbers that would overflow a naive exponential.
  const std::vector<float> large = {1000.0f, 999.0f};
  EXPECT_NEAR(NegativeLogLikelihood(large, 0), std::log1p(std::exp(-1.0)), 1e-12);
  EXPECT_NEAR(NegativeLogLikelihood(large, 1), 1 + std::log1p(std::exp(-1.0)), 1e-12);
}

class PerplexityTest : public EmulatorTest {
 protected:
  void SetUp() override {
    EmulatorTest::SetUp();
    ASSERT_OK_AND_ASSIGN(model_, Load(Write(RandomModel{})));
    for (TokenId i = 0; i < 23; ++i) tokens_.push_back(i * 11 % kTinyVocab);
  }

  std::unique_ptr<Transformer> model_;
  std::vector<TokenId> tokens_;
};

// Two windows of ten out of 23 tokens: each starts afresh, the rest is dropped.
TEST_F(PerplexityTest, ScoresTheNextTokensOfEachWindow) {
  std::vector<double> losses;
  for (size_t begin : {0, 10}) {
    model_->Reset();
    for (size_t i = begin; i < begin + 9; ++i) {
      ASSERT_OK(model_->Step(tokens_[i], true));
      ASSERT_OK_AND_ASSIGN(const auto logits, model_->Logits());
      losses.push_back(NegativeLogLikelihood(logits, tokens_[i + 1]));
    }
  }
  double mean = 0, variance = 0;
  for (const double loss : losses) mean += loss / 18;
  for (const double loss : losses) variance += (loss - mean) * (loss - mean) / 18;

  uint64_t calls = 0;
  ASSERT_OK_AND_ASSIGN(
      const PerplexityResult r,
      Perplexity(*model_, tokens_, {.window = 10}, [&](uint64_t done, uint64_t total, double nll) {
        EXPECT_EQ(done, ++calls);
        EXPECT_EQ(total, 18u);
        EXPECT_GT(nll, 0);
      }));
  EXPECT_EQ(calls, 18u);
  EXPECT_EQ(r.windows, 2u);
  EXPECT_EQ(r.window, 10u);
  EXPECT_EQ(r.tokens, 18u);
  EXPECT_NEAR(r.nll, mean, 1e-9);
  EXPECT_NEAR(r.perplexity, std::exp(mean), 1e-6);
  EXPECT_NEAR(r.standard_error, std::sqrt(variance / 18), 1e-6);

  ASSERT_OK_AND_ASSIGN(const PerplexityResult one,
                       Perplexity(*model_, tokens_, {.window = 10, .windows = 1}, nullptr));
  EXPECT_EQ(one.windows, 1u);
  EXPECT_EQ(one.tokens, 9u);
}

// What is skipped is read all the same, and BOS in place of a window's first token.
TEST_F(PerplexityTest, ScoresWhatHasEnoughBeforeIt) {
  const PerplexityOptions options = {.window = 10, .windows = 1, .skip = 5, .bos = 7};
  double mean = 0;
  for (size_t i = 0; i < 9; ++i) {
    ASSERT_OK(model_->Step(i == 0 ? 7 : tokens_[i], true));
    ASSERT_OK_AND_ASSIGN(const auto logits, model_->Logits());
    if (i >= 5) mean += NegativeLogLikelihood(logits, tokens_[i + 1]) / 4;
  }
  ASSERT_OK_AND_ASSIGN(const PerplexityResult r, Perplexity(*model_, tokens_, options, nullptr));
  EXPECT_EQ(r.tokens, 4u);
  EXPECT_NEAR(r.nll, mean, 1e-9);
}

TEST_F(PerplexityTest, RefusesWindowsThatCannotBeScored) {
  EXPECT_THAT(
      Perplexity(*model_, tokens_, {.window = 10, .skip = 9}, nullptr),
      StatusIs(absl::StatusCode::kInvalidArgument,
               "a window of 10 tokens has nothing to score behind the first 9 predictions"));
  EXPECT_THAT(Perplexity(*model_, tokens_, {.window = 1}, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "a window of 1 tokens: must be from 2 to the context of 24"));
  EXPECT_THAT(Perplexity(*model_, tokens_, {.window = 25}, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "a window of 25 tokens: must be from 2 to the context of 24"));
  EXPECT_THAT(Perplexity(*model_, tokens_, {.window = 24}, nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "the text has 23 tokens, less than one window of 24"));
}

TEST_F(PerplexityTest, RefusesTokensBeyondTheVocabulary) {
  tokens_[4] = kTinyVocab;
  EXPECT_THAT(
      Perplexity(*model_, tokens_, {.window = 10}, nullptr),
      StatusIs(absl::StatusCode::kInvalidArgument, "token 261 is beyond the vocabulary of 261"));
}

}  // namespace
}  // namespace ptxsmith

#include "model/sampler.h"

#include <cmath>
#include <vector>

#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

// Logits whose softmax is these probabilities.
std::vector<float> Logits(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p) + 3));
  return logits;
}

// How often each token is drawn in 20000.
std::vector<int> Counts(const SamplerOptions& options, const std::vector<float>& logits) {
  std::vector<int> counts(logits.size());
  absl::StatusOr<Sampler> sampler = Sampler::Create(options);
  EXPECT_OK(sampler);
  for (int i = 0; i < 20000; ++i) {
    const absl::StatusOr<TokenId> token = sampler->Sample(logits);
    EXPECT_OK(token);
    if (token.ok()) ++counts[*token];
  }
  return counts;
}

// `expected` are probabilities; five standard deviations of a count are at most 354.
void ExpectDistribution(const std::vector<int>& counts, const std::vector<double>& expected) {
  for (size_t i = 0; i < expected.size(); ++i) {
    if (expected[i] == 0) {
      EXPECT_EQ(counts[i], 0) << i;
    } else {
      EXPECT_NEAR(counts[i], 20000 * expected[i], 354) << i;
    }
  }
}

TEST(SamplerTest, GreedyTakesTheLargestAndOfEqualsTheFirst) {
  ASSERT_OK_AND_ASSIGN(Sampler sampler, Sampler::Create({}));
  EXPECT_THAT(sampler.Sample({-3, 2, 7, 7, -INFINITY}), IsOkAndHolds(2u));
  EXPECT_THAT(sampler.Sample({-1}), IsOkAndHolds(0u));
}

TEST(SamplerTest, DrawsFromTheSoftmax) {
  const std::vector<double> p = {0.1, 0.4, 0.3, 0.2};
  ExpectDistribution(Counts({.temperature = 1, .top_k = 0, .top_p = 1, .seed = 1}, Logits(p)), p);
}

TEST(SamplerTest, TopKKeepsTheLargest) {
  // 0.4 and 0.3 of what is left, 0.7.
  ExpectDistribution(
      Counts({.temperature = 1, .top_k = 2, .top_p = 1, .seed = 2}, Logits({0.1, 0.4, 0.3, 0.2})),
      {0, 4.0 / 7, 3.0 / 7, 0});
}

TEST(SamplerTest, TopPKeepsTheFewestThatReachIt) {
  // 0.4 + 0.3 reach 0.65.
  ExpectDistribution(Counts({.temperature = 1, .top_k = 0, .top_p = 0.65f, .seed = 3},
                            Logits({0.1, 0.4, 0.3, 0.2})),
                     {0, 4.0 / 7, 3.0 / 7, 0});
  // The first alone reaches 0.3.
  ExpectDistribution(Counts({.temperature = 1, .top_k = 0, .top_p = 0.3f, .seed = 4},
                            Logits({0.1, 0.4, 0.3, 0.2})),
                     {0, 1, 0, 0});
  // top_k first: of 0.4, 0.3, 0.2 (sum 0.9) 0.45 needs two, of all four it would too; 0.78 needs
  // three of all, and of the three two: 0.7 / 0.9 = 0.778 is not enough, 0.77 is.
  ExpectDistribution(Counts({.temperature = 1, .top_k = 3, .top_p = 0.77f, .seed = 5},
                            Logits({0.1, 0.4, 0.3, 0.2})),
                     {0, 4.0 / 7, 3.0 / 7, 0});
}

TEST(SamplerTest, MinPKeepsWhatIsNotFarBelowTheLargest) {
  // 0.2 is half of 0.4, 0.1 a quarter.
  const std::vector<float> logits = Logits({0.1, 0.4, 0.3, 0.2});
  ExpectDistribution(
      Counts({.temperature = 1, .top_k = 0, .top_p = 1, .min_p = 0.4f, .seed = 3}, logits),
      {0, 4.0 / 9, 3.0 / 9, 2.0 / 9});
  ExpectDistribution(
      Counts({.temperature = 1, .top_k = 4, .top_p = 1, .min_p = 1, .seed = 3}, logits),
      {0, 1, 0, 0});
}

TEST(SamplerTest, ThePenaltyLowersTheLast64TokensOnceEach) {
  ASSERT_OK_AND_ASSIGN(Sampler sampler, Sampler::Create({.penalty = 2}));
  EXPECT_THAT(sampler.Sample({8, 7, -1}), IsOkAndHolds(0u));
  EXPECT_THAT(sampler.Sample({8, 7, -1}), IsOkAndHolds(1u));       // 4, 7, -1
  EXPECT_THAT(sampler.Sample({-1, -1, -1.5f}), IsOkAndHolds(2u));  // -2, -2, -1.5
  sampler.Remember(2);
  EXPECT_THAT(sampler.Sample({0, 0.5f, 2}), IsOkAndHolds(2u));  // not 2 / 4
  for (int i = 0; i < 64; ++i) sampler.Remember(1);
  EXPECT_THAT(sampler.Sample({8, 15, 7}), IsOkAndHolds(0u));  // 8, 7.5, 7: 0 is forgotten
}

TEST(SamplerTest, TemperatureSharpensAndFlattens) {
  // Probabilities to the power 1 / temperature: squares 0.04, 0.64 of sum 0.68, roots 1 : 2.
  ExpectDistribution(
      Counts({.temperature = 0.5f, .top_k = 0, .top_p = 1, .seed = 6}, Logits({0.2, 0.8})),
      {0.04 / 0.68, 0.64 / 0.68});
  ExpectDistribution(
      Counts({.temperature = 2, .top_k = 0, .top_p = 1, .seed = 7}, Logits({0.2, 0.8})),
      {1.0 / 3, 2.0 / 3});
}

TEST(SamplerTest, ExcludedAndExtremeLogits) {
  ExpectDistribution(Counts({.temperature = 1, .top_k = 0, .top_p = 1, .seed = 8},
                            {-INFINITY, 3e38f, -3e38f, 3e38f}),
                     {0, 0.5, 0, 0.5});
  ExpectDistribution(Counts({.temperature = 1e-30f, .seed = 9}, {1, 2, 1}), {0, 1, 0});
}

// The draw is a function of the seed alone: these follow from std::mt19937_64's first outputs,
// whose 10000th value the standard fixes. Uniform logits make the token floor(4 u).
TEST(SamplerTest, SeedDecides) {
  std::mt19937_64 random(42);
  ASSERT_OK_AND_ASSIGN(Sampler sampler,
                       Sampler::Create({.temperature = 1, .top_k = 0, .top_p = 1, .seed = 42}));
  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT(sampler.Sample({0, 0, 0, 0}), IsOkAndHolds(static_cast<TokenId>(random() >> 62)));
  }
}

TEST(SamplerTest, RefusesNonsense) {
  for (const float temperature : {0.0f, 1.0f}) {
    ASSERT_OK_AND_ASSIGN(Sampler sampler, Sampler::Create({.temperature = temperature}));
    EXPECT_THAT(sampler.Sample({}), StatusIs(StatusCode::kInvalidArgument));
    EXPECT_THAT(sampler.Sample({0, NAN}), StatusIs(StatusCode::kInternal, HasSubstr("token 1")));
    EXPECT_THAT(sampler.Sample({NAN, 0}), StatusIs(StatusCode::kInternal, HasSubstr("token 0")));
    EXPECT_THAT(sampler.Sample({INFINITY, 0}), StatusIs(StatusCode::kInternal));
    EXPECT_THAT(sampler.Sample({-INFINITY, -INFINITY}), StatusIs(StatusCode::kInternal));
  }
  for (const float temperature : {-1.0f, NAN, INFINITY}) {
    EXPECT_THAT(Sampler::Create({.temperature = temperature}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("temperature")));
  }
  for (const float top_p : {0.0f, -0.5f, 1.5f, NAN}) {
    EXPECT_THAT(Sampler::Create({.top_p = top_p}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("top_p")));
  }
  for (const float min_p : {-0.1f, 1.5f, NAN}) {
    EXPECT_THAT(Sampler::Create({.min_p = min_p}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("min_p")));
  }
  for (const float penalty : {0.0f, -1.0f, INFINITY, NAN}) {
    EXPECT_THAT(Sampler::Create({.penalty = penalty}),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr("penalty")));
  }
}

}  // namespace
}  // namespace ptxsmith

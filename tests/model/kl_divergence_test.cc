#include "model/kl_divergence.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"

namespace ptxsmith {
namespace {

TEST(KlDivergenceTest, NothingForTheSamePredictions) {
  KlDivergence kl;
  EXPECT_EQ(kl.Result().tokens, 0u);
  kl.Add({1, 2, 3}, {1, 2, 3});
  kl.Add({1, 2, 3}, {101, 102, 103});  // logits count only up to a constant
  const KlResult r = kl.Result();
  EXPECT_EQ(r.tokens, 2u);
  EXPECT_NEAR(r.largest, 0, 1e-12);
  EXPECT_EQ(r.same_top, 1.0);
}

TEST(KlDivergenceTest, OfTwoCoins) {
  // p = (1/2, 1/2), q = (3/4, 1/4): D = log(2) - log(3) / 2.
  const double expected = std::log(2.0) - std::log(3.0) / 2;
  KlDivergence kl;
  kl.Add({0, 0}, {std::log(3.0f), 0});
  EXPECT_NEAR(kl.Result().mean, expected, 1e-7);
  // Not symmetric: D(q, p) = 3/4 log(3/2) + 1/4 log(1/2).
  KlDivergence reverse;
  reverse.Add({std::log(3.0f), 0}, {0, 0});
  EXPECT_NEAR(reverse.Result().mean, 0.75 * std::log(1.5) + 0.25 * std::log(0.5), 1e-7);
}

// What the base does not know of counts on neither side.
TEST(KlDivergenceTest, AmongTheTokensOfTheBase) {
  const float unknown = -std::numeric_limits<float>::infinity();
  KlDivergence kl;
  kl.Add({0, unknown, 0}, {std::log(3.0f), 9, 0});
  EXPECT_NEAR(kl.Result().mean, std::log(2.0) - std::log(3.0) / 2, 1e-7);
  EXPECT_EQ(kl.Result().same_top, 0.0);
}

TEST(KlDivergenceTest, Statistics) {
  KlDivergence kl;
  for (int i = 1; i <= 200; ++i) kl.Add({0, 0}, {0.01f * static_cast<float>(i), 0});
  const auto of = [](int i) {  // D for logits (x, 0) against (0, 0)
    const double x = 0.01f * static_cast<float>(i);
    return std::log((1 + std::exp(x)) / 2) - x / 2;
  };
  const KlResult r = kl.Result();
  EXPECT_NEAR(r.median, of(100), 1e-9);
  EXPECT_NEAR(r.percentile_99, of(198), 1e-9);
  EXPECT_NEAR(r.largest, of(200), 1e-9);
  EXPECT_EQ(r.same_top, 1.0);
  EXPECT_GT(r.standard_error, 0);
  kl.Add({1, 0}, {0, 1});
  EXPECT_NEAR(kl.Result().same_top, 200.0 / 201, 1e-12);
}

}  // namespace
}  // namespace ptxsmith

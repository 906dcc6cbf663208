// The element-wise references and norms.h against closed forms, and against plain f32 code, which
// must stay within their bounds while a wrong element must not.
#include "tools/fuzz/reference/elementwise.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/util/expect_close.h"
#include "tools/fuzz/reference/norms.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith::reference {
namespace {

std::vector<float> Line(float low, float high) {
  std::vector<float> x;
  for (int i = 0; i <= 1000; ++i) x.push_back(low + (high - low) * static_cast<float>(i) / 1000);
  return x;
}

// f(x) in plain f32 within the bound, and not with one element changed by `relative`.
template <class F>
void ExpectBound(const std::vector<float>& x, const Expected& want, F&& f, float relative) {
  std::vector<float> y;
  for (float v : x) y.push_back(f(v));
  EXPECT_TRUE(IsClose(y, want));
  y[700] *= 1 + relative;
  EXPECT_FALSE(IsClose(y, want));
}

TEST(ElementwiseTest, BoundsHoldForF32) {
  const std::vector<float> wide = Line(-100, 100), near = Line(-8, 8);
  ExpectBound(
      wide, Silu(wide), [](float v) { return v / (1 + std::exp(-v)); }, 1e-4f);
  const auto gelu_tanh = [](float v) {
    return v / (1 + std::exp(-1.5957691f * (v + 0.044715f * v * v * v)));
  };
  ExpectBound(near, GeluTanh(near), gelu_tanh, 1e-4f);
  ExpectBound(
      near, GeluErf(near), [](float v) { return 0.5f * v * (1 + std::erf(v * 0.70710678f)); },
      1e-6f);
  const std::vector<float> up(near.size(), -1.5f);
  ExpectBound(
      near, GeGlu(near, up), [&](float v) { return -1.5f * gelu_tanh(v); }, 1e-4f);
  ExpectBound(
      near, Multiply(near, up), [](float v) { return -1.5f * v; }, 1e-6f);
}

TEST(ElementwiseTest, KnownValues) {
  const std::vector<float> x = {0, 1, -1};
  const std::vector<double> silu = Silu(x).value, tanh = GeluTanh(x).value, erf = GeluErf(x).value;
  EXPECT_EQ(silu[0], 0);
  EXPECT_NEAR(silu[1], 0.731058578630005, 1e-14);
  EXPECT_NEAR(tanh[1], 0.841191990608302, 1e-12);  // of PyTorch, approximate='tanh'
  EXPECT_NEAR(tanh[2], -0.158808009391698, 1e-12);
  EXPECT_NEAR(erf[1], 0.841344746068543, 1e-12);  // the normal distribution at 1
  EXPECT_NEAR(erf[2], -0.158655253931457, 1e-12);
}

TEST(NormsTest, LayerNormOfTwoValuesIsPlusAndMinusOne) {
  const std::vector<float> x = {7, 3, 7, 3}, w = {1, 1, 2, 2}, b = {0, 0, 5, 5};
  EXPECT_EQ(LayerNorm(x, w, b, 0).value, (std::vector<double>{1, -1, 7, 3}));
  EXPECT_EQ(LayerNorm(x, w, {}, 0).value, (std::vector<double>{1, -1, 2, -2}));
  // eps = 12 makes the root exactly 4.
  EXPECT_EQ(LayerNorm(x, w, {}, 12).value, (std::vector<double>{0.5, -0.5, 1, -1}));
}

TEST(NormsTest, LayerNormBoundHoldsForF32AndALargeMean) {
  Rng rng(4);
  std::vector<float> x = rng.Floats(Values::kNormal, 640);
  for (float& v : x) v += 300;
  const std::vector<float> w = rng.Floats(Values::kNormal, x.size());
  float mean = 0, variance = 0;
  for (float v : x) mean += v;
  mean /= 640;
  for (float v : x) variance += (v - mean) * (v - mean);
  const float s = 1 / std::sqrt(variance / 640 + 1e-5f);
  std::vector<float> y;
  for (size_t i = 0; i < x.size(); ++i) y.push_back((x[i] - mean) * s * w[i]);
  EXPECT_TRUE(IsClose(y, LayerNorm(x, w, {}, 1e-5)));
  EXPECT_FALSE(IsClose(y, LayerNorm(x, w, {}, 0.01)));
}

TEST(NormsTest, SoftmaxOfEqualElementsIsUniformAndScalesItsArgument) {
  for (double v : Softmax(std::vector<float>(8, 3.0f), 1).value) EXPECT_DOUBLE_EQ(v, 0.125);
  const Expected y = Softmax({0, 1, -INFINITY}, std::log(3.0));
  EXPECT_DOUBLE_EQ(y.value[0], 0.25);
  EXPECT_DOUBLE_EQ(y.value[1], 0.75);
  EXPECT_EQ(y.value[2], 0);
}

TEST(NormsTest, SoftmaxBoundHoldsForF32) {
  Rng rng(5);
  const std::vector<float> x = rng.Floats(Values::kHeavyTailed, 500);
  float best = -INFINITY, sum = 0;
  for (float v : x) best = std::max(best, v);
  for (float v : x) sum += std::exp(v - best);
  std::vector<float> y;
  for (float v : x) y.push_back(std::exp(v - best) / sum);
  EXPECT_TRUE(IsClose(y, Softmax(x, 1)));
  EXPECT_FALSE(IsClose(y, Softmax(x, 1.001)));
  // A kernel may take e^-87.31, a normal number, for 0.
  EXPECT_TRUE(IsClose({1, 0}, Softmax(std::vector<float>{0, -87.31f}, 1)));
  EXPECT_FALSE(IsClose({1, 0}, Softmax(std::vector<float>{0, -86.0f}, 1)));
}

}  // namespace
}  // namespace ptxsmith::reference

// The references against closed forms, and against plain f32 code, which must stay within their
// bounds while a wrong element must not.
#include "tools/fuzz/reference/ops.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/util/expect_close.h"
#include "tools/fuzz/reference/float_formats.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith::reference {
namespace {

// A sum as a warp makes it: 32 partial sums, then a butterfly.
template <class F>
float WarpSum(size_t count, F term) {
  float lanes[32] = {};
  for (size_t i = 0; i < count; ++i) lanes[i % 32] += term(i);
  for (int step = 16; step > 0; step /= 2) {
    for (int lane = 0; lane < step; ++lane) lanes[lane] += lanes[lane + step];
  }
  return lanes[0];
}

TEST(OpsTest, GemvBoundHoldsForF32AndCatchesOneMissingTerm) {
  constexpr size_t kColumns = 4096, kRows = 8;
  for (Values values : {Values::kNormal, Values::kHeavyTailed, Values::kLargest}) {
    Rng rng(11);
    const std::vector<Weight> w =
        Decode(QuantType::kQ4K, rng.Blocks(QuantType::kQ4K, kRows * kColumns / 256, values));
    const std::vector<float> x = rng.Floats(Values::kNormal, kColumns);
    std::vector<float> y;
    for (size_t row = 0; row < kRows; ++row) {
      y.push_back(WarpSum(kColumns, [&](size_t c) { return w[row * kColumns + c].value * x[c]; }));
    }
    const Expected want = Gemv(w, x);
    EXPECT_TRUE(IsClose(y, want)) << ToString(values);
    size_t largest = 0;
    for (size_t c = 0; c < kColumns; ++c) {
      if (std::fabs(w[c].value * x[c]) > std::fabs(w[largest].value * x[largest])) largest = c;
    }
    y[0] -= w[largest].value * x[largest];
    EXPECT_FALSE(IsClose(y, want)) << ToString(values);
  }
}

TEST(OpsTest, RmsNormOfEqualElementsIsTheWeight) {
  const std::vector<float> x(64, -3.0f);
  const std::vector<float> w(64, 0.5f);
  for (double v : RmsNorm(x, w, 0).value) EXPECT_NEAR(v, -0.5, 1e-12);
  // eps = 7 makes the root exactly 4.
  for (double v : RmsNorm(x, w, 7).value) EXPECT_NEAR(v, -0.375, 1e-12);
}

TEST(OpsTest, RmsNormBoundHoldsForF32) {
  Rng rng(3);
  const std::vector<float> x = rng.Floats(Values::kHeavyTailed, 1025);
  const std::vector<float> w = rng.Floats(Values::kNormal, 1025);
  const float mean = WarpSum(1025, [&](size_t i) { return x[i] * x[i]; }) / 1025;
  std::vector<float> y;
  for (size_t i = 0; i < x.size(); ++i) y.push_back(x[i] * (1 / std::sqrt(mean + 1e-5f)) * w[i]);
  EXPECT_TRUE(IsClose(y, RmsNorm(x, w, 1e-5)));
  EXPECT_FALSE(IsClose(y, RmsNorm(x, w, 1e-2)));
}

TEST(OpsTest, RopeTurnsTheFirstPairByThePosition) {
  const std::vector<float> x = {1, 0, 0, 0, 5};
  const Expected adjacent = Rope(x, 5, 2, {.pairs = RopePairs::kAdjacent, .dims = 4});
  EXPECT_DOUBLE_EQ(adjacent.value[0], std::cos(2.0));
  EXPECT_DOUBLE_EQ(adjacent.value[1], std::sin(2.0));
  EXPECT_EQ(adjacent.value[4], 5.0);  // beyond dims: copied
  const Expected split = Rope(x, 5, 2, {.pairs = RopePairs::kHalfSplit, .dims = 4});
  EXPECT_DOUBLE_EQ(split.value[0], std::cos(2.0));
  EXPECT_DOUBLE_EQ(split.value[2], std::sin(2.0));
}

TEST(OpsTest, RopeFrequenciesFallWithTheBaseAndTheFactors) {
  const std::vector<float> x = {0, 0, 1, 0};
  const std::vector<float> factors = {1, 8};
  // The second pair of two: base^(-2/4) = 1/100.
  EXPECT_DOUBLE_EQ(Rope(x, 4, 300, {.dims = 4}).value[3], std::sin(3.0));
  EXPECT_DOUBLE_EQ(Rope(x, 4, 300, {.dims = 4, .factors = factors}).value[3], std::sin(3.0 / 8));
}

TEST(OpsTest, AttentionWithEqualScoresIsTheMean) {
  const std::vector<float> q(4, 0.0f);  // two heads of two elements, scores all zero
  const std::vector<float> k(6, 1.0f);  // three positions, one kv head
  const std::vector<float> v = {1, 10, 2, 20, 6, 60};
  const Expected o = Attention(q, k, v, {.heads = 2, .kv_heads = 1, .head_dim = 2, .scale = 1.0});
  EXPECT_EQ(o.value, (std::vector<double>{3, 30, 3, 30}));
}

TEST(OpsTest, AttentionGivesEachGroupItsKvHeadAndPicksTheBestKey) {
  const std::vector<float> q = {100, 0, 0, 100};  // four heads of one element
  const std::vector<float> k = {1, -1, -1, 1};    // two positions of two kv heads
  const std::vector<float> v = {1, 2, 3, 4};
  const Expected o = Attention(q, k, v, {.heads = 4, .kv_heads = 2, .head_dim = 1, .scale = 1.0});
  EXPECT_NEAR(o.value[0], 1, 1e-12);  // head 0, kv head 0: position 0
  EXPECT_NEAR(o.value[1], 2, 1e-12);  // head 1: the mean of 1 and 3
  EXPECT_NEAR(o.value[2], 3, 1e-12);  // head 2, kv head 1: the mean of 2 and 4
  EXPECT_NEAR(o.value[3], 4, 1e-12);  // head 3: position 1
}

TEST(OpsTest, AttentionBoundHoldsForF32) {
  constexpr size_t kDim = 64, kLength = 300;
  Rng rng(5);
  const std::vector<float> q = rng.Floats(Values::kNormal, kDim);
  const std::vector<float> k = rng.Floats(Values::kNormal, kDim * kLength);
  const std::vector<float> v = rng.Floats(Values::kHeavyTailed, kDim * kLength);
  std::vector<float> p;
  for (size_t t = 0; t < kLength; ++t) {
    p.push_back(0.125f * WarpSum(kDim, [&](size_t i) { return q[i] * k[t * kDim + i]; }));
  }
  const float max = *std::max_element(p.begin(), p.end());
  for (float& s : p) s = std::exp(s - max);
  const float sum = WarpSum(kLength, [&](size_t t) { return p[t]; });
  std::vector<float> o;
  for (size_t i = 0; i < kDim; ++i) {
    o.push_back(WarpSum(kLength, [&](size_t t) { return p[t] * v[t * kDim + i]; }) / sum);
  }
  const AttentionShape shape = {.heads = 1, .kv_heads = 1, .head_dim = kDim, .scale = 0.125};
  EXPECT_TRUE(IsClose(o, Attention(q, k, v, shape)));
  // One position too few must not pass.
  const size_t shorter = kDim * (kLength - 1);
  EXPECT_FALSE(IsClose(o, Attention(q, {k.data(), shorter}, {v.data(), shorter}, shape)));
}

TEST(OpsTest, SwiGluBoundHoldsForF32) {
  std::vector<float> gate, up, y;
  for (float g = -120; g <= 120; g += 0.37f) {
    gate.push_back(g);
    up.push_back(1.5f);
    y.push_back(g / (1 + std::exp(-g)) * 1.5f);
  }
  EXPECT_TRUE(IsClose(y, SwiGlu(gate, up)));
  y[200] *= 1.0001f;
  EXPECT_FALSE(IsClose(y, SwiGlu(gate, up)));
}

TEST(OpsTest, AddAndEmbeddingAndCache) {
  const std::vector<float> a = {1, 0x1p-24f}, b = {0x1p-24f, 0x1p-24f};
  EXPECT_TRUE(IsClose({1.0f, 0x1p-23f}, Add(a, b)));
  EXPECT_FALSE(IsClose({1.0f, 0x1.1p-23f}, Add(a, b)));
  EXPECT_TRUE(IsClose({2.0f}, Embedding(std::vector<Weight>{{2.0f, 2.0f}})));
  EXPECT_FALSE(IsClose({2.00001f}, Embedding(std::vector<Weight>{{2.0f, 2.0f}})));
  EXPECT_EQ(AppendF16({1.0f, 0x1.002p0f}), (std::vector<uint16_t>{0x3c00, 0x3c00}));
}

TEST(OpsTest, ArgMaxTakesTheLowestOfEqualsAndNoNan) {
  EXPECT_EQ(ArgMax({1, 7, 7, 3}), 1u);
  EXPECT_EQ(ArgMax({-INFINITY, -INFINITY}), 0u);
  EXPECT_EQ(ArgMax({NAN, -5, 2, NAN}), 2u);
}

TEST(OpsTest, IsCloseReportsTheWorstElement) {
  const Expected want = {.value = {0, 0, 0}, .bound = {1, 1, 1}};
  EXPECT_TRUE(IsClose({1, -1, 0}, want));
  EXPECT_FALSE(IsClose({0, 0}, want));
  const testing::AssertionResult far = IsClose({2, -9, 0}, want);
  EXPECT_FALSE(far);
  EXPECT_NE(std::string(far.message()).find("2 of 3 elements"), std::string::npos);
  EXPECT_NE(std::string(far.message()).find("[1] is -9"), std::string::npos);
  EXPECT_FALSE(IsClose({0, NAN, 0}, want));
}

}  // namespace
}  // namespace ptxsmith::reference

#include "tools/fuzz/rng.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace ptxsmith {
namespace {

TEST(RngTest, OneSeedOneSequence) {
  Rng a(1), b(1), c(2);
  const std::vector<uint8_t> first = a.Blocks(QuantType::kQ6K, 3);
  EXPECT_EQ(first, b.Blocks(QuantType::kQ6K, 3));
  EXPECT_NE(first, c.Blocks(QuantType::kQ6K, 3));
  // The engine is fixed by the C++ standard: this value holds on every machine.
  EXPECT_EQ(Rng(5489).Bits(), 14514284786278117030u);
}

TEST(RngTest, ValuesAreWhatTheirNamesSay) {
  constexpr size_t kCount = 20000;
  Rng rng(3);
  double sum = 0, squares = 0;
  for (float v : rng.Floats(Values::kNormal, kCount)) {
    sum += v;
    squares += v * v;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.03);  // four standard deviations
  EXPECT_NEAR(squares / kCount, 1, 0.04);
  for (float v : rng.Floats(Values::kZeros, kCount)) ASSERT_EQ(v, 0.0f);
  for (float v : rng.Floats(Values::kDenormals, kCount)) ASSERT_LT(std::fabs(v), 0x1p-126f);
  for (float v : rng.Floats(Values::kLargest, kCount)) {
    ASSERT_GE(std::fabs(v), 60000.0f);
    ASSERT_LE(std::fabs(v), 65504.0f);
  }
  for (size_t i = 0; i < kCount; ++i) ASSERT_LT(rng.Below(7), 7u);
}

}  // namespace
}  // namespace ptxsmith

#include "tools/fuzz/reference/float_formats.h"

#include <cmath>

#include "gtest/gtest.h"

namespace ptxsmith::reference {
namespace {

TEST(FloatFormatsTest, EveryHalfSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = HalfToFloat(static_cast<uint16_t>(bits));
    if (std::isnan(value)) continue;
    ASSERT_EQ(FloatToHalf(value), bits);
  }
}

TEST(FloatFormatsTest, MidpointsRoundToEvenAndTheirNeighboursOutward) {
  for (uint32_t bits = 0; bits < 0x7c00; ++bits) {
    const float below = HalfToFloat(static_cast<uint16_t>(bits));
    const float above =
        bits + 1 == 0x7c00 ? 65536.0f : HalfToFloat(static_cast<uint16_t>(bits + 1));
    const float middle = (below + above) / 2;  // exact: f32 has 13 more bits
    ASSERT_EQ(FloatToHalf(middle), bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, 0.0f)), bits);
    ASSERT_EQ(FloatToHalf(std::nextafter(middle, INFINITY)), bits + 1);
    ASSERT_EQ(FloatToHalf(-middle), (bits % 2 == 0 ? bits : bits + 1) | 0x8000);
  }
}

TEST(FloatFormatsTest, E4M3) {
  // Every number, the midpoints between two and their neighbours.
  float below = 0;
  for (uint32_t bits = 0; bits < 0x7e; ++bits) {
    const auto number = [](uint32_t b) {
      const float fraction = static_cast<float>(b % 8) / 8;
      return b < 8 ? std::ldexp(fraction, -6)
                   : std::ldexp(1 + fraction, static_cast<int>(b / 8) - 7);
    };
    below = number(bits);
    const float middle = (below + number(bits + 1)) / 2;
    ASSERT_EQ(FloatToE4M3(below), bits);
    ASSERT_EQ(FloatToE4M3(-below), bits | 0x80);
    ASSERT_EQ(FloatToE4M3(middle), bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(FloatToE4M3(std::nextafter(middle, 0.0f)), bits);
    ASSERT_EQ(FloatToE4M3(std::nextafter(middle, INFINITY)), bits + 1);
  }
  EXPECT_EQ(FloatToE4M3(448.0f), 0x7e);
  EXPECT_EQ(FloatToE4M3(-INFINITY), 0xfe);
  EXPECT_EQ(FloatToE4M3(NAN), 0x7f);
}

TEST(FloatFormatsTest, KnownValues) {
  EXPECT_EQ(HalfToFloat(0x0001), 0x1p-24f);
  EXPECT_EQ(HalfToFloat(0x7bff), 65504.0f);
  EXPECT_EQ(HalfToFloat(0xfc00), -INFINITY);
  EXPECT_TRUE(std::isnan(HalfToFloat(0x7e00)));
  EXPECT_EQ(FloatToHalf(NAN), 0x7fff);
  EXPECT_EQ(FloatToHalf(1e30f), 0x7c00);
  EXPECT_EQ(FloatToHalf(-0.0f), 0x8000);
  EXPECT_EQ(FloatToBFloat16(1.00390625f), 0x3f80);  // 1 + 2^-8, halfway: to even
  EXPECT_EQ(FloatToBFloat16(1.01171875f), 0x3f82);  // 1 + 3 * 2^-8, halfway: to even
  EXPECT_EQ(FloatToBFloat16(3.4028235e38f), 0x7f80);
  EXPECT_EQ(BFloat16ToFloat(0xc000), -2.0f);
}

}  // namespace
}  // namespace ptxsmith::reference

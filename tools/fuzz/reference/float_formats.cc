#include "tools/fuzz/reference/float_formats.h"

#include <bit>
#include <cmath>

namespace ptxsmith::reference {

float HalfToFloat(uint16_t bits) {
  const int exponent = (bits >> 10) & 31;
  const int fraction = bits & 1023;
  float magnitude;
  if (exponent == 31) {
    magnitude = fraction == 0 ? INFINITY : NAN;
  } else if (exponent == 0) {
    magnitude = std::ldexp(static_cast<float>(fraction), -24);
  } else {
    magnitude = std::ldexp(static_cast<float>(1024 + fraction), exponent - 25);
  }
  return std::copysign(magnitude, bits & 0x8000 ? -1.0f : 1.0f);
}

uint16_t FloatToHalf(float value) {
  if (std::isnan(value)) return 0x7fff;
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(static_cast<double>(value));
  if (magnitude >= 65520.0) return sign | 0x7c00;  // half a step above the largest, 65504
  // Steps of 2^-24 below 2^-14, of 2^(e - 10) in [2^e, 2^(e+1)) above. nearbyint rounds halfway
  // cases to even, in the default rounding mode.
  const int e = magnitude < 0x1p-14 ? -14 : std::ilogb(magnitude);
  const int steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - e)));
  // A normal number has 1024 <= steps <= 2048; the carry into the exponent comes by itself.
  return sign | static_cast<uint16_t>(((e + 14) << 10) + steps);
}

float BFloat16ToFloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

uint16_t FloatToBFloat16(float value) {
  if (std::isnan(value)) return 0x7fff;
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

float E4M3ToFloat(uint8_t bits) {
  const int exponent = bits >> 3 & 15, fraction = bits & 7;
  float magnitude = std::ldexp(static_cast<float>(8 + fraction), exponent - 10);
  if (exponent == 0) magnitude = std::ldexp(static_cast<float>(fraction), -9);
  if ((bits & 0x7f) == 0x7f) magnitude = std::nanf("");
  return std::copysign(magnitude, (bits & 0x80) != 0 ? -1.0f : 1.0f);
}

uint8_t FloatToE4M3(float value) {
  if (std::isnan(value)) return 0x7f;
  const uint8_t sign = std::signbit(value) ? 0x80 : 0;
  const double magnitude = std::fabs(static_cast<double>(value));
  if (magnitude >= 448.0) return sign | 0x7e;
  // As above: steps of 2^-9 below 2^-6, of 2^(e - 3) in [2^e, 2^(e+1)) above.
  const int e = magnitude < 0x1p-6 ? -6 : std::ilogb(magnitude);
  const int steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 3 - e)));
  return sign | static_cast<uint8_t>(((e + 6) << 3) + steps);
}

}  // namespace ptxsmith::reference

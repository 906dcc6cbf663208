// Reference roundings in 113 bits for the tests of arithmetic: nothing in common with the
// emulator's.
//
//   RoundQuad<float>(Quad(1) / 3, kRm)   // the f32 just below 1/3
//   RoundHalf(Quad(1) / 3, false)        // bits of the nearest f16
//
// Pure functions.
#ifndef PTXSMITH_TESTS_EMU_ROUNDING_H_
#define PTXSMITH_TESTS_EMU_ROUNDING_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

namespace ptxsmith::emu {

using Quad = __float128;

template <class To, class From>
To Bits(From from) {
  To to{};
  std::memcpy(&to, &from, std::min(sizeof(to), sizeof(from)));
  return to;
}

enum Mode { kRn, kRz, kRm, kRp };
constexpr const char* kModeNames[] = {"rn", "rz", "rm", "rp"};

// The exact value rounded: start anywhere near and walk to the two neighbours.
template <class T>
T RoundQuad(Quad exact, Mode mode) {
  if (exact < 0) {
    return -RoundQuad<T>(-exact, mode == kRm ? kRp : mode == kRp ? kRm : mode);
  }
  T low = static_cast<T>(exact);
  if (std::isinf(low)) low = std::copysign(std::numeric_limits<T>::max(), low);
  while (Quad(low) > exact) low = std::nextafter(low, -std::numeric_limits<T>::infinity());
  T high = low;
  while (Quad(high) < exact) {
    low = high;
    high = std::nextafter(high, std::numeric_limits<T>::infinity());
    if (std::isinf(high)) break;
  }
  if (Quad(high) == exact) return high;
  switch (mode) {
    case kRm:
      return low;
    case kRp:
      return high;
    case kRz:
      return low;
    case kRn:
      break;
  }
  // Overflow goes to infinity from half an ulp beyond the largest value.
  const Quad top = std::isinf(high) ? 2 * Quad(low) - Quad(std::nextafter(low, T(0))) : Quad(high);
  const Quad below = exact - Quad(low), above = top - exact;
  if (below != above) return below < above ? low : high;
  return (Bits<uint64_t>(low) & 1) == 0 ? low : high;
}

// The value of an f16, or of a bf16.
inline double HalfValue(uint64_t bits, bool bf) {
  if (bf) return Bits<float>(static_cast<uint32_t>(bits << 16));
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const double magnitude = exponent == 0    ? std::ldexp(fraction, -24)
                           : exponent == 31 ? (fraction != 0 ? std::nan("") : INFINITY)
                                            : std::ldexp(1024 + fraction, exponent - 25);
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

// Bits of the nearest f16 or bf16, found by a search over their values: ties to even, and infinity
// from half an ulp beyond the largest.
inline uint64_t RoundHalf(Quad exact, bool bf) {
  const uint64_t sign = exact < 0 ? 0x8000 : 0;
  const Quad magnitude = exact < 0 ? -exact : exact;
  const uint64_t infinity = bf ? 0x7f80 : 0x7c00;
  uint64_t low = 0, high = infinity;  // low <= magnitude < high
  while (high - low > 1) {
    const uint64_t middle = (low + high) / 2;
    (Quad(HalfValue(middle, bf)) <= magnitude ? low : high) = middle;
  }
  const Quad at = HalfValue(low, bf);
  const Quad next =
      high == infinity ? 2 * at - Quad(HalfValue(low - 1, bf)) : Quad(HalfValue(high, bf));
  const Quad below = magnitude - at, above = next - magnitude;
  const bool up = below > above || (below == above && (low & 1) != 0);
  return sign | (up ? high : low);
}

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_TESTS_EMU_ROUNDING_H_

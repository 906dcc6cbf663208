// What a cvt instruction does, as one value that fits an immediate operand. Written by the decoder,
// read by the inner loop.
//
//   Conversion how;
//   how.from = NumberType::kF32, how.to = NumberType::kF16;
//   UnpackConversion(PackConversion(how))   // == how
#ifndef PTXSMITH_RUNTIME_EMU_CONVERT_H_
#define PTXSMITH_RUNTIME_EMU_CONVERT_H_

#include <cstdint>

namespace ptxsmith::emu {

enum class NumberType : uint8_t {
  kU8,
  kS8,
  kU16,
  kS16,
  kU32,
  kS32,
  kU64,
  kS64,
  kE4M3,
  kE5M2,
  kF16,
  kBF16,
  kF32,
  kF64
};
enum class Rounding : uint8_t { kNearestEven, kNearestAway, kZero, kUp, kDown };

static constexpr bool IsFloat(NumberType t) { return t >= NumberType::kE4M3; }
static constexpr bool IsSigned(NumberType t) {
  return !IsFloat(t) && (static_cast<int>(t) & 1) != 0;
}
static constexpr int BitWidth(NumberType t) {
  constexpr int kWidths[] = {8, 8, 16, 16, 32, 32, 64, 64, 8, 8, 16, 16, 32, 64};
  return kWidths[static_cast<int>(t)];
}

struct Conversion {
  NumberType to = NumberType::kU32;
  NumberType from = NumberType::kU32;
  Rounding rounding = Rounding::kNearestEven;
  bool integral = false;  // .rni and friends between floats
  bool ftz = false;
  bool saturate = false;
  bool finite = false;  // .satfinite
  bool relu = false;
  bool pair = false;           // two sources into one register
  bool unpack = false;         // one register of two into one register of two
  uint8_t source_bytes = 4;    // slot of the source register: 4 or 8
  uint8_t register_bits = 32;  // of the destination: 16, 32 or 64
};

static constexpr uint32_t PackConversion(const Conversion& c) {
  return static_cast<uint32_t>(c.to) | static_cast<uint32_t>(c.from) << 4 |
         static_cast<uint32_t>(c.rounding) << 8 | uint32_t{c.integral} << 11 |
         uint32_t{c.ftz} << 12 | uint32_t{c.saturate} << 13 | uint32_t{c.finite} << 14 |
         uint32_t{c.relu} << 15 | uint32_t{c.pair} << 16 | uint32_t{c.unpack} << 17 |
         uint32_t{c.source_bytes} << 18 | uint32_t{c.register_bits} << 22;
}

static constexpr Conversion UnpackConversion(uint32_t bits) {
  Conversion c;
  c.to = static_cast<NumberType>(bits & 15);
  c.from = static_cast<NumberType>(bits >> 4 & 15);
  c.rounding = static_cast<Rounding>(bits >> 8 & 7);
  c.integral = (bits >> 11 & 1) != 0;
  c.ftz = (bits >> 12 & 1) != 0;
  c.saturate = (bits >> 13 & 1) != 0;
  c.finite = (bits >> 14 & 1) != 0;
  c.relu = (bits >> 15 & 1) != 0;
  c.pair = (bits >> 16 & 1) != 0;
  c.unpack = (bits >> 17 & 1) != 0;
  c.source_bytes = static_cast<uint8_t>(bits >> 18 & 15);
  c.register_bits = static_cast<uint8_t>(bits >> 22 & 127);
  return c;
}

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_CONVERT_H_

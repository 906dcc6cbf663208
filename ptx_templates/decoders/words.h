// Bit tricks that several decoders share.
#ifndef PTXSMITH_PTX_TEMPLATES_DECODERS_WORDS_H_
#define PTXSMITH_PTX_TEMPLATES_DECODERS_WORDS_H_

#include <cstdint>

#include "codegen/memory.h"
#include "codegen/ops.h"

namespace ptxsmith {

// Four bytes from a place that is only 2-byte aligned.
inline Val<U32> LoadWord(const In<U16>& at) { return at.Load(0) | (at.Load(1) << 16); }

// The low four bits of `bits`, one per byte: bit i becomes 1 or 0 in byte i.
inline Val<U32> SpreadBits(const Val<U32>& bits) {
  // Copies at distances of 7 bits put bit i at the bottom of byte i.
  return ((bits & 0xf) * 0x00204081) & 0x01010101;
}

// The six-bit scale and minimum of q4_k and q5_k for a lane: words 0 to 2 of the twelve bytes.
//
// Scales 0..3 are the low six bits of bytes 0..3, minimums 0..3 those of bytes 4..7. Scales and
// minimums 4..7 have their low four bits in the nibbles of bytes 8..11 and their high two in the
// top of the first eight bytes.
struct KScales {
  Val<U32> scales;  // the four of this lane's half of the block, one per byte
  Val<U32> minimums;
};
inline KScales UnpackKScales(const Val<U32>& s0, const Val<U32>& s1, const Val<U32>& s2,
                             const Pred& upper_half) {
  return {Select<U32>(upper_half, (s2 & 0x0f0f0f0f) | ((s0 >> 2) & 0x30303030), s0 & 0x3f3f3f3f),
          Select<U32>(upper_half, ((s2 >> 4) & 0x0f0f0f0f) | ((s1 >> 2) & 0x30303030),
                      s1 & 0x3f3f3f3f)};
}

// A table of 16 signed bytes, lowest index in the lowest byte of word 0.
using ByteTable = uint32_t[4];

// table[n] + 128 for the nibbles in the low halves of the four bytes of `nibbles`. Two prmt look up
// the lower and the upper eight entries, a third picks between them by the nibbles' top bits.
inline constexpr uint32_t kTableBias = 128;
inline Val<U32> LookUp(const ByteTable& table, const Val<U32>& nibbles) {
  const Val<U32> pairs = (nibbles | (nibbles >> 4)) & 0x00ff00ff;
  const Val<U32> packed = (pairs | (pairs >> 8)) & 0xffff;  // four nibbles, a prmt selector
  const Val<U32> low_bits = packed & 0x7777;
  const Val<U32> lower = Permute(Constant<U32>(nibbles, table[0]), table[1], low_bits);
  const Val<U32> upper = Permute(Constant<U32>(nibbles, table[2]), table[3], low_bits);
  const Val<U32> pick = ((packed & 0x8888) >> 1) | 0x3210;
  // Flipping the sign bit turns v into v + 128, an unsigned byte.
  return Permute(lower, upper, pick) ^ 0x80808080;
}

// The non-linear four-bit values of iq4_nl and iq4_xs: -127, -104, -83, -65, -49, -35, -22, -10, 1,
// 13, 25, 38, 53, 69, 89, 113.
inline constexpr ByteTable kIq4Values = {0xbfad9881, 0xf6eaddcf, 0x26190d01, 0x71594535};

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_DECODERS_WORDS_H_

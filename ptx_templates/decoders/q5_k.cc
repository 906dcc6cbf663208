// q5_k: q4_k with a fifth bit. Blocks of 256 weights in 176 bytes.
//
//   d, dmin  f16 at 0, 2     scale of the scales and of the minimums
//   scales   12 bytes at 4   as in q4_k
//   qh       32 bytes at 16  fifth bits: byte l, bit 2 p for weight 64 p + l, bit 2 p + 1 for the
//   32 after qs       128 bytes at 48 nibbles, as in q4_k weight = d * scale * q - dmin * minimum
//
// Lane l takes bytes 4 l to 4 l + 3 of qs. d * scale * q has 22 significant bits: the fma rounds as
// ggml's multiplication and subtraction do.
#include "codegen/ops.h"
#include "ptx_templates/decoders/decoders.h"
#include "ptx_templates/decoders/words.h"

namespace ptxsmith {

LaneGroups<PackedGroup> DecodeQ5K(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U32> block = row.At(unit, 176).As<U32>();
  const auto [dm, s0, s1, s2] = block.Load<4>(0);
  const Val<U32> p = lane / 8;
  const Val<U32> high = block.At(4).Load(lane % 8);
  const Val<U32> quants = block.At(12).Load(lane);
  const Vec<F32, 2> d_dmin = UnpackHalf2(dm);
  const KScales k = UnpackKScales(s0, s1, s2, p >= 2);
  const auto half = [&](uint32_t h, const Val<U32>& first) {  // 0: low nibbles, 1: high nibbles
    const Val<U32> position = (p % 2) * 16 + 8 * h;
    const Val<F32> scale = d_dmin[0] * ToF32(Bits(k.scales, position, 8));
    const Val<F32> minus = Neg(d_dmin[1] * ToF32(Bits(k.minimums, position, 8)));
    const Val<U32> fifth = (high >> (p * 2 + h)) & 0x01010101;
    const Val<U32> q = ((quants >> (4 * h)) & 0x0f0f0f0f) | (fifth << 4);
    return PackedGroup{first, q, 0, scale, minus};
  };
  const Val<U32> first = p * 64 + (lane % 8) * 4;
  const PackedGroup low = half(0, first);
  return {low, half(1, first + 32)};
}

}  // namespace ptxsmith

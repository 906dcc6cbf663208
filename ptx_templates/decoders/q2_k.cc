// q2_k: blocks of 256 weights in 84 bytes, in two halves of 128 weights.
//
//   scales   16 bytes at 0    per 16 weights: scale in the low nibble, minimum in the high one
//   qs       64 bytes at 16   two bits; byte l of half h holds weights l, l + 32, l + 64, l + 96 of
//   the
//                             half, lowest bits first
//   d, dmin  f16 at 80, 82
//   weight = d * scale * q - dmin * minimum
//
// Lane = 16 p + 8 h + i takes word i of the half's bytes and of it the weights 64 p + 4 i to +3 and
// the four 32 further on. d * scale * q is exact, so the fma rounds as ggml does.
#include "codegen/ops.h"
#include "ptx_templates/decoders/decoders.h"
#include "ptx_templates/decoders/words.h"

namespace ptxsmith {

LaneGroups<PackedGroup> DecodeQ2K(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U8> block = row.At(unit, 84);
  const Val<U32> p = lane / 16;
  const Val<U32> h = (lane / 8) % 2;
  const Val<U32> l = (lane % 8) * 4;
  const Val<U32> quants = block.At(16).As<U32>().Load(lane % 16);
  const Vec<F32, 2> d_dmin = UnpackHalf2(block.At(80).As<U32>().Load(0));
  const In<U8> scales = block.At(h * 8 + p * 4 + l / 16);
  const auto group = [&](uint32_t j,
                         const Val<U32>& first) {  // weights 64 p + 32 j + l of the half
    const Val<U32> both = scales.Load(2 * j);
    const Val<F32> scale = d_dmin[0] * ToF32(both & 0xf);
    const Val<F32> minus = Neg(d_dmin[1] * ToF32(both >> 4));
    return PackedGroup{first, (quants >> (p * 4 + 2 * j)) & 0x03030303, 0, scale, minus};
  };
  const Val<U32> first = h * 128 + p * 64 + l;
  const PackedGroup near = group(0, first);
  return {near, group(1, first + 32)};
}

}  // namespace ptxsmith

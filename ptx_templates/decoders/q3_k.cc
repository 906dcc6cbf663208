// q3_k: blocks of 256 weights in 110 bytes, in two halves of 128 weights.
//
//   hmask    32 bytes at 0    third bit, inverted: byte l, bit 4 h + j for weight 32 j + l of half
//   h qs       64 bytes at 32   two bits; byte l of half h holds weights l, l + 32, l + 64, l + 96
//   scales   12 bytes at 96   sixteen of six bits, one per 16 weights: scale s has its low four
//   bits in
//                             byte s % 8 (low nibble for s < 8) and its high two in byte 8 + s % 4,
//                             from bit 2 (s / 4) on
//   d        f16 at 108
//   weight = d * (scale - 32) * (q - (third bit clear ? 4 : 0))
//
// Lane = 16 p + 8 h + i takes word i of the half's bytes and of it the weights 64 p + 4 i to +3 and
// the four 32 further on. Blocks are only 2-byte aligned. All products are exact in f32.
#include "codegen/ops.h"
#include "ptx_templates/decoders/decoders.h"
#include "ptx_templates/decoders/words.h"

namespace ptxsmith {

LaneGroups<PackedGroup> DecodeQ3K(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U8> block = row.At(unit, 110);
  const Val<U32> p = lane / 16;
  const Val<U32> h = (lane / 8) % 2;
  const Val<U32> l = (lane % 8) * 4;
  const Val<U32> high = LoadWord(block.At(l).As<U16>());
  const Val<U32> quants = LoadWord(block.At(h * 32 + l).At(32).As<U16>());
  const Val<F32> d = ToF32(block.At(108).As<F16>().Load(0));
  const In<U8> scales = block.At(96);
  const auto group = [&](uint32_t offset, const Val<U32>& first) {
    const Val<U32> j = p * 2 + offset;       // weights 32 j + l of the half
    const Val<U32> r = l / 16 + offset * 2;  // the half's scale is s = 4 p + r, r < 4
    const Val<U32> low = (scales.Load(p * 4 + r) >> (h * 4)) & 0xf;
    const Val<U32> top = (scales.At(8).Load(r) >> (h * 4 + p * 2)) & 3;
    const Val<F32> scale = d * (ToF32(low | (top << 4)) - 32.0f);
    // The third bit on top of the two gives q + 4 where it is set, which the bias takes away.
    const Val<U32> third = (high >> (h * 4 + j)) & 0x01010101;
    const Val<U32> q = ((quants >> (j * 2)) & 0x03030303) | (third << 2);
    return PackedGroup{first, q, 4, scale, {}};
  };
  const Val<U32> first = h * 128 + p * 64 + l;
  const PackedGroup near = group(0, first);
  return {near, group(1, first + 32)};
}

}  // namespace ptxsmith

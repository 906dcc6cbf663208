// q4_0 and q4_1: blocks of 32 weights in nibbles; byte j holds weights j (low) and j + 16 (high).
//
//   q4_0, 18 bytes   d f16 at 0, 16 bytes at 2             weight = d * (q - 8)
//   q4_1, 20 bytes   d, m f16 at 0, 2; 16 bytes at 4       weight = d * q + m
//
// A unit is eight blocks; lane l takes bytes 4 (l % 4) to +3 of block l / 4. d * q has 15
// significant bits, so the product is exact and the fma rounds as ggml's multiplication and
// addition do.
#include "codegen/ops.h"
#include "ptx_templates/decoders/decoders.h"
#include "ptx_templates/decoders/words.h"

namespace ptxsmith {

LaneGroups<PackedGroup> DecodeQ4_0(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U8> block = row.At(unit * 8 + lane / 4, 18);
  const Val<F32> d = ToF32(block.As<F16>().Load(0));
  const Val<U32> i = lane % 4;
  const Val<U32> q = LoadWord(block.At(2).As<U16>().At(i * 2));
  const Val<U32> first = lane / 4 * 32 + i * 4;
  const Val<U32> low = q & 0x0f0f0f0f;
  const Val<U32> high = (q >> 4) & 0x0f0f0f0f;
  return {PackedGroup{first, low, 8, d, {}}, PackedGroup{first + 16, high, 8, d, {}}};
}

LaneGroups<PackedGroup> DecodeQ4_1(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U32> block = row.At(unit * 8 + lane / 4, 20).As<U32>();
  const Vec<F32, 2> d_m = UnpackHalf2(block.Load(0));
  const Val<U32> i = lane % 4;
  const Val<U32> q = block.At(1).Load(i);
  const Val<U32> first = lane / 4 * 32 + i * 4;
  const Val<U32> low = q & 0x0f0f0f0f;
  const Val<U32> high = (q >> 4) & 0x0f0f0f0f;
  return {PackedGroup{first, low, 0, d_m[0], d_m[1]},
          PackedGroup{first + 16, high, 0, d_m[0], d_m[1]}};
}

}  // namespace ptxsmith

// q5_0 and q5_1: q4_0 and q4_1 with a fifth bit; bit j of qh belongs to weight j.
//
//   q5_0, 22 bytes   d f16 at 0, qh 4 bytes at 2, 16 bytes at 6             weight = d * (q - 16)
//   q5_1, 24 bytes   d, m f16 at 0, 2; qh 4 bytes at 4, 16 bytes at 8       weight = d * q + m
//
// A unit is eight blocks; lane l takes bytes 4 (l % 4) to +3 of block l / 4: weights 4 (l % 4) to
// +3 and those 16 further on. d * q is exact, so the fma rounds as ggml's multiplication and
// addition do.
#include "codegen/ops.h"
#include "ptx_templates/decoders/decoders.h"
#include "ptx_templates/decoders/words.h"

namespace ptxsmith {
namespace {

// The five-bit values of four weights: `half` 0 the low nibbles, 1 the high ones.
Val<U32> FiveBits(const Val<U32>& quants, const Val<U32>& qh, const Val<U32>& i, uint32_t half) {
  return ((quants >> (4 * half)) & 0x0f0f0f0f) | (SpreadBits(qh >> (i * 4 + 16 * half)) << 4);
}

}  // namespace

LaneGroups<PackedGroup> DecodeQ5_0(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U8> block = row.At(unit * 8 + lane / 4, 22);
  const Val<F32> d = ToF32(block.As<F16>().Load(0));
  const Val<U32> qh = LoadWord(block.At(2).As<U16>());
  const Val<U32> i = lane % 4;
  const Val<U32> q = LoadWord(block.At(6).As<U16>().At(i * 2));
  const Val<U32> first = lane / 4 * 32 + i * 4;
  const Val<U32> low = FiveBits(q, qh, i, 0);
  const Val<U32> high = FiveBits(q, qh, i, 1);
  return {PackedGroup{first, low, 16, d, {}}, PackedGroup{first + 16, high, 16, d, {}}};
}

LaneGroups<PackedGroup> DecodeQ5_1(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U32> block = row.At(unit * 8 + lane / 4, 24).As<U32>();
  const Vec<F32, 2> d_m = UnpackHalf2(block.Load(0));
  const Val<U32> qh = block.Load(1);
  const Val<U32> i = lane % 4;
  const Val<U32> q = block.At(2).Load(i);
  const Val<U32> first = lane / 4 * 32 + i * 4;
  const Val<U32> low = FiveBits(q, qh, i, 0);
  const Val<U32> high = FiveBits(q, qh, i, 1);
  return {PackedGroup{first, low, 0, d_m[0], d_m[1]},
          PackedGroup{first + 16, high, 0, d_m[0], d_m[1]}};
}

}  // namespace ptxsmith

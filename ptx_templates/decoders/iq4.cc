// iq4_nl and iq4_xs: nibbles that index a table of 16 unevenly spaced values; byte j of a sub-block
// of 32 holds weights j (low) and j + 16 (high).
//
//   iq4_nl, 18 bytes for 32     d f16 at 0, 16 bytes at 2            weight = d * table[q]
//   iq4_xs, 136 bytes for 256   d f16 at 0, scales_h u16 at 2, scales_l 4 bytes at 4, 128 bytes at
//   8
//                               weight = d * (scale - 32) * table[q]; scale b has its low four bits
//                               in nibble b of scales_l, its high two in bits 2 b of scales_h
//
// Lane l takes bytes 4 (l % 4) to +3 of sub-block l / 4 of the unit.
#include "codegen/ops.h"
#include "ptx_templates/decoders/decoders.h"
#include "ptx_templates/decoders/words.h"

namespace ptxsmith {
namespace {

LaneGroups<PackedGroup> FromTable(const Val<F32>& scale, const Val<U32>& q, const Val<U32>& lane) {
  const Val<U32> first = lane / 4 * 32 + (lane % 4) * 4;
  const Val<U32> low = LookUp(kIq4Values, q & 0x0f0f0f0f);
  const Val<U32> high = LookUp(kIq4Values, (q >> 4) & 0x0f0f0f0f);
  return {PackedGroup{first, low, kTableBias, scale, {}},
          PackedGroup{first + 16, high, kTableBias, scale, {}}};
}

}  // namespace

LaneGroups<PackedGroup> DecodeIq4Nl(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U8> block = row.At(unit * 8 + lane / 4, 18);
  const Val<F32> d = ToF32(block.As<F16>().Load(0));
  return FromTable(d, LoadWord(block.At(2).As<U16>().At((lane % 4) * 2)), lane);
}

LaneGroups<PackedGroup> DecodeIq4Xs(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U8> block = row.At(unit, 136);
  const Val<U32> b = lane / 4;
  const Val<F32> d = ToF32(block.As<F16>().Load(0));
  const Val<U32> top = (block.At(2).As<U16>().Load(0) >> (b * 2)) & 3;
  const Val<U32> low = Bits(block.At(4).As<U32>().Load(0), b * 4, 4);
  const Val<F32> scale = d * (ToF32(low | (top << 4)) - 32.0f);
  return FromTable(scale, block.At(8).As<U32>().Load(lane), lane);
}

}  // namespace ptxsmith

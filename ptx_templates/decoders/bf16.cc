// bf16: 32 values in 64 bytes, each the upper half of an f32. Lane l takes the weights 8 l to 8 l +
// 7 as one 16-byte load.
#include "codegen/ops.h"
#include "ptx_templates/decoders/decoders.h"

namespace ptxsmith {

LaneGroups<FloatGroup> DecodeBf16(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const Val<U32> first = lane * 8;
  const auto words = row.As<BF16>().At(unit * kUnitWeights + first).As<U32>().Load<4>(0);
  const auto four = [&](size_t word) {
    return MakeVec<4>([&](size_t i) {
      const Val<U32>& pair = words[word + i / 2];
      return Bitcast<F32>(i % 2 == 0 ? pair << 16 : pair & 0xffff0000);
    });
  };
  const Vec<F32, 4> low = four(0);
  const Vec<F32, 4> high = four(2);
  return {{FloatGroup{first, low}, FloatGroup{first + 4, high}}};
}

}  // namespace ptxsmith

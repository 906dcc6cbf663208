// f16: 32 halves in 64 bytes. Lane l takes the weights 8 l to 8 l + 7 as one 16-byte load.
#include "codegen/ops.h"
#include "ptx_templates/decoders/decoders.h"

namespace ptxsmith {

LaneGroups<FloatGroup> DecodeF16(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const Val<U32> first = lane * 8;
  const auto words = row.As<F16>().At(unit * kUnitWeights + first).As<U32>().Load<4>(0);
  const auto four = [&](size_t word) {
    const auto [a, b] = UnpackHalf2(words[word]);
    const auto [c, d] = UnpackHalf2(words[word + 1]);
    return Vec<F32, 4>({a, b, c, d});
  };
  const Vec<F32, 4> low = four(0);
  const Vec<F32, 4> high = four(2);
  return {{FloatGroup{first, low}, FloatGroup{first + 4, high}}};
}

}  // namespace ptxsmith

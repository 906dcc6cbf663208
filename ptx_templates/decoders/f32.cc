// f32: 32 floats in 128 bytes. Lane l takes the weights 8 l to 8 l + 7 as two 16-byte loads.
#include "ptx_templates/decoders/decoders.h"

namespace ptxsmith {

LaneGroups<FloatGroup> DecodeF32(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<F32> weights = row.As<F32>().At(unit * kUnitWeights + lane * 8);
  const Val<U32> first = lane * 8;
  return {{FloatGroup{first, weights.Load<4>(0)}, FloatGroup{first + 4, weights.Load<4>(4)}}};
}

}  // namespace ptxsmith

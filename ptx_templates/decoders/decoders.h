// One decoder per file of this folder, gathered in ptx_templates/decoder.cc.
#ifndef PTXSMITH_PTX_TEMPLATES_DECODERS_DECODERS_H_
#define PTXSMITH_PTX_TEMPLATES_DECODERS_DECODERS_H_

#include "ptx_templates/decoder.h"

namespace ptxsmith {

LaneWeights DecodeF32(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneWeights DecodeF16(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneWeights DecodeQ8_0(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneWeights DecodeQ4K(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneWeights DecodeQ6K(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_DECODERS_DECODERS_H_

// The decoders of this folder, a file per type or pair of types, gathered in
// ptx_templates/decoder.cc.
#ifndef PTXSMITH_PTX_TEMPLATES_DECODERS_DECODERS_H_
#define PTXSMITH_PTX_TEMPLATES_DECODERS_DECODERS_H_

#include "ptx_templates/decoder.h"

namespace ptxsmith {

LaneGroups<FloatGroup> DecodeF32(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<FloatGroup> DecodeF16(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<FloatGroup> DecodeBf16(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<PackedGroup> DecodeQ4_0(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<PackedGroup> DecodeQ4_1(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<PackedGroup> DecodeQ5_0(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<PackedGroup> DecodeQ5_1(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<PackedGroup> DecodeQ8_0(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<PackedGroup> DecodeQ2K(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<PackedGroup> DecodeQ3K(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<PackedGroup> DecodeQ4K(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<PackedGroup> DecodeQ5K(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<PackedGroup> DecodeQ6K(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<PackedGroup> DecodeIq4Nl(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<PackedGroup> DecodeIq4Xs(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);
LaneGroups<PackedGroup> DecodeMxfp4(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_DECODERS_DECODERS_H_

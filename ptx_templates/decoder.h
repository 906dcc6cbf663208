// How the weights of one quant type become floats inside a kernel. A type is one file in decoders/
// and one line in decoder.cc; every kernel that reads weights is generic over it.
//
// Work is cut into units of 256 consecutive weights of a row: one warp decodes a unit, each lane
// two groups of four consecutive weights. Which ones is the decoder's choice, so that loads
// coalesce.
//
//   const Decoder& decoder = DecoderFor(spec.quant);
//   for (const FloatGroup& g : DecodeFloats(decoder, row, unit, k.Lane())) {
//     ... x.Load<4>(unit * 256 + g.first) ...
//   }
//
// Numerics: the floats are bit for bit those of ggml's dequantize_row functions.
#ifndef PTXSMITH_PTX_TEMPLATES_DECODER_H_
#define PTXSMITH_PTX_TEMPLATES_DECODER_H_

#include <array>
#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "codegen/memory.h"
#include "codegen/spec_fields.h"
#include "codegen/val.h"
#include "ptx_templates/quant_type.h"

namespace ptxsmith {

inline constexpr uint32_t kUnitWeights = 256;

// Four consecutive weights as floats.
struct FloatGroup {
  Val<U32> first;  // counted from the start of the unit; a multiple of 4
  Vec<F32, 4> weights;
};

// Four consecutive weights as bytes: weight i = scale * (byte i - bias) + offset.
struct PackedGroup {
  Val<U32> first;
  Val<U32> bytes;  // unsigned, lowest weight in the lowest byte
  uint32_t bias;
  Val<F32> scale;
  std::optional<Val<F32>> offset;  // nothing: 0
};

template <class Group>
using LaneGroups = std::array<Group, 2>;
template <class Group>
using DecodeFn = LaneGroups<Group> (*)(const In<U8>& row, const Val<U32>& unit,
                                       const Val<U32>& lane);

struct Decoder {
  QuantType type;
  // Rows are cut into chunks of this many weights and `chunk_bytes` bytes; K must be a multiple.
  // The two groups of a lane lie in the same chunk.
  uint32_t chunk_weights;
  uint32_t chunk_bytes;
  // One of the two: quantised types give bytes, the others floats. The lane's weights of unit
  // `unit` of the row that starts at `row`. Lanes of a last unit that is not whole must not call it
  // beyond the row: see ActiveLane. `lane` may be any number below 32, also the same for several
  // rows.
  DecodeFn<PackedGroup> packed;
  DecodeFn<FloatGroup> floats;
};

// The weights as floats, for any type.
LaneGroups<FloatGroup> DecodeFloats(const Decoder& decoder, const In<U8>& row, const Val<U32>& unit,
                                    const Val<U32>& lane);

// The types that kernels can read.
absl::Span<const Decoder> AllDecoders();
// REQUIRES: the type has a decoder (kQuantRule admits no other).
const Decoder& DecoderFor(QuantType type);
// Unimplemented, naming the type and the supported ones.
absl::Status CheckHasDecoder(QuantType type);

// The `quant` field of every family that reads weights.
inline constexpr FieldRule kQuantRule =
    OneOf(QuantType::kF32, QuantType::kF16, QuantType::kBF16, QuantType::kQ4_0, QuantType::kQ4_1,
          QuantType::kQ5_0, QuantType::kQ5_1, QuantType::kQ8_0, QuantType::kQ2K, QuantType::kQ3K,
          QuantType::kQ4K, QuantType::kQ5K, QuantType::kQ6K, QuantType::kIQ4NL, QuantType::kIQ4XS,
          QuantType::kMXFP4);

// InvalidArgument unless K is a multiple of the type's chunk: "gemv: k=4000 is not a multiple of
// 256, the block of q4_k".
absl::Status CheckK(absl::string_view family, QuantType type, uint32_t k);

// Whether the lane's weights of the unit exist when the row has `k` weights. Constant true when K
// is a multiple of a unit.
Pred ActiveLane(const Decoder& decoder, const Val<U32>& k, const Val<U32>& unit,
                const Val<U32>& lane);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_DECODER_H_

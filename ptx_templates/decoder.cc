#include "ptx_templates/decoder.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "codegen/ops.h"
#include "ptx_templates/decoders/decoders.h"

namespace ptxsmith {
namespace {

// Unquantised types have no blocks; their chunk is what keeps a lane's eight weights together.
constexpr Decoder kDecoders[] = {
    {QuantType::kF32, 32, 128, nullptr, DecodeF32},
    {QuantType::kF16, 32, 64, nullptr, DecodeF16},
    {QuantType::kBF16, 32, 64, nullptr, DecodeBf16},
    {QuantType::kQ4_0, 32, 18, DecodeQ4_0, nullptr},
    {QuantType::kQ4_1, 32, 20, DecodeQ4_1, nullptr},
    {QuantType::kQ5_0, 32, 22, DecodeQ5_0, nullptr},
    {QuantType::kQ5_1, 32, 24, DecodeQ5_1, nullptr},
    {QuantType::kQ8_0, 32, 34, DecodeQ8_0, nullptr},
    {QuantType::kQ2K, 256, 84, DecodeQ2K, nullptr},
    {QuantType::kQ3K, 256, 110, DecodeQ3K, nullptr},
    {QuantType::kQ4K, 256, 144, DecodeQ4K, nullptr},
    {QuantType::kQ5K, 256, 176, DecodeQ5K, nullptr},
    {QuantType::kQ6K, 256, 210, DecodeQ6K, nullptr},
    {QuantType::kIQ4NL, 32, 18, DecodeIq4Nl, nullptr},
    {QuantType::kIQ4XS, 256, 136, DecodeIq4Xs, nullptr},
    {QuantType::kMXFP4, 32, 17, DecodeMxfp4, nullptr},
};

const Decoder* Find(QuantType type) {
  const auto* found = std::find_if(std::begin(kDecoders), std::end(kDecoders),
                                   [&](const Decoder& d) { return d.type == type; });
  return found == std::end(kDecoders) ? nullptr : found;
}

}  // namespace

LaneGroups<FloatGroup> DecodeFloats(const Decoder& decoder, const In<U8>& row, const Val<U32>& unit,
                                    const Val<U32>& lane) {
  if (decoder.floats != nullptr) return decoder.floats(row, unit, lane);
  const auto widen = [](const PackedGroup& group) {
    const Vec<F32, 4> q = BytesToF32(group.bytes, group.bias);
    return FloatGroup{group.first, MakeVec<4>([&](size_t i) {
                        return group.offset ? Fma(group.scale, q[i], *group.offset)
                                            : group.scale * q[i];
                      })};
  };
  const LaneGroups<PackedGroup> groups = decoder.packed(row, unit, lane);
  const FloatGroup near = widen(groups[0]);
  const FloatGroup far = widen(groups[1]);
  return {near, far};
}

absl::Span<const Decoder> AllDecoders() { return kDecoders; }

const Decoder& DecoderFor(QuantType type) {
  const Decoder* decoder = Find(type);
  if (decoder == nullptr) std::abort();  // the spec's rule admits no such type: broken invariant
  return *decoder;
}

absl::Status CheckHasDecoder(QuantType type) {
  if (Find(type) != nullptr) return absl::OkStatus();
  std::vector<absl::string_view> names;
  for (const Decoder& decoder : kDecoders) names.push_back(ToString(decoder.type));
  return absl::UnimplementedError(absl::StrCat("no kernel reads tensors of type ", ToString(type),
                                               "; supported: ", absl::StrJoin(names, ", ")));
}

absl::Status CheckK(absl::string_view family, QuantType type, uint32_t k) {
  const Decoder& decoder = DecoderFor(type);
  if (k > 0 && k % decoder.chunk_weights == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(family, ": k=", k, " is not a positive multiple of ", decoder.chunk_weights,
                   ", the block of ", ToString(type)));
}

Pred ActiveLane(const Decoder& decoder, const Val<U32>& k, const Val<U32>& unit,
                const Val<U32>& lane) {
  if (k.multiple_of() % kUnitWeights == 0 || decoder.chunk_weights == kUnitWeights) {
    return Pred(k.recorder(), Recorder::Int(1));
  }
  return unit * kUnitWeights + lane * 8 <
         k;  // smaller chunks give lane l the weights 8 l to 8 l + 7
}

}  // namespace ptxsmith

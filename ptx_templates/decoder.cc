#include "ptx_templates/decoder.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ptx_templates/decoders/decoders.h"

namespace ptxsmith {
namespace {

// Unquantised types have no blocks; their chunk is what keeps a lane's eight weights together.
constexpr Decoder kDecoders[] = {
    {QuantType::kF32, 32, 128, DecodeF32},      {QuantType::kF16, 32, 64, DecodeF16},
    {QuantType::kBF16, 32, 64, DecodeBf16},     {QuantType::kQ4_0, 32, 18, DecodeQ4_0},
    {QuantType::kQ4_1, 32, 20, DecodeQ4_1},     {QuantType::kQ5_0, 32, 22, DecodeQ5_0},
    {QuantType::kQ5_1, 32, 24, DecodeQ5_1},     {QuantType::kQ8_0, 32, 34, DecodeQ8_0},
    {QuantType::kQ2K, 256, 84, DecodeQ2K},      {QuantType::kQ3K, 256, 110, DecodeQ3K},
    {QuantType::kQ4K, 256, 144, DecodeQ4K},     {QuantType::kQ5K, 256, 176, DecodeQ5K},
    {QuantType::kQ6K, 256, 210, DecodeQ6K},     {QuantType::kIQ4NL, 32, 18, DecodeIq4Nl},
    {QuantType::kIQ4XS, 256, 136, DecodeIq4Xs}, {QuantType::kMXFP4, 32, 17, DecodeMxfp4},
};

const Decoder* Find(QuantType type) {
  const auto* found = std::find_if(std::begin(kDecoders), std::end(kDecoders),
                                   [&](const Decoder& d) { return d.type == type; });
  return found == std::end(kDecoders) ? nullptr : found;
}

}  // namespace

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

#include "ptx_templates/gemv_q8_1.h"

#include "codegen/status_macros.h"
#include "ptx_templates/projection.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildGemvQ8_1(const GemvQ8_1Spec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  const GemvShape shape = {.quant = spec.quant,
                           .m = spec.m,
                           .outputs_per_block = spec.outputs_per_block,
                           .warps_per_output = spec.warps_per_output,
                           .unroll = spec.unroll,
                           .q8_1 = true};
  return BuildProjection({.family = GemvQ8_1Spec::kFamily,
                          .key = KeyOf(spec, target),
                          .shape = shape,
                          .k = spec.k,
                          .n = {spec.n},
                          .bias = spec.bias,
                          .residual = spec.residual},
                         target);
}

std::vector<GemvQ8_1Spec> GemvQ8_1Variants() {
  std::vector<GemvQ8_1Spec> variants;
  for (const Decoder& decoder : AllDecoders()) {
    if (decoder.packed == nullptr) continue;
    const QuantType type = decoder.type;
    const uint32_t chunk = decoder.chunk_weights;
    variants.push_back({type, 768, 130, 4, 1});
    variants.push_back({type, 4096, 4096, 2, 2});
    variants.push_back({type, chunk, 1, 4, 1});
    variants.push_back({type, chunk * 9, 5, 2, 2, 3, 2, true, true});
    variants.push_back({type, std::nullopt, std::nullopt, 1, 2, 2, 4, true});
    variants.push_back({type, 512, 7, 8, 1, 8});
  }
  variants.push_back({QuantType::kQ4K, 14336, 4096, 8, 4});
  variants.push_back({QuantType::kQ4K, 2304, 7, 2, 2, 1, 8});
  variants.push_back({QuantType::kQ6K, 512, 6, 8, 1, kMaxGemvTokens});
  return variants;
}

}  // namespace ptxsmith

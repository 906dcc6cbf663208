#include "ptx_templates/gemv_norm.h"

#include "codegen/status_macros.h"
#include "ptx_templates/projection.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildGemvNorm(const GemvNormSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  const GemvShape shape = {.quant = spec.quant,
                           .m = spec.m,
                           .outputs_per_block = spec.outputs_per_block,
                           .warps_per_output = spec.warps_per_output,
                           .unroll = spec.unroll,
                           .stage = spec.stage,
                           .norm_eps = spec.eps};
  return BuildProjection({.family = GemvNormSpec::kFamily,
                          .key = KeyOf(spec, target),
                          .shape = shape,
                          .k = spec.k,
                          .n = {spec.n},
                          .bias = spec.bias,
                          .residual = spec.residual},
                         target);
}

std::vector<GemvNormSpec> GemvNormVariants() {
  std::vector<GemvNormSpec> variants;
  for (const Decoder& decoder : AllDecoders()) {
    const QuantType type = decoder.type;
    variants.push_back({type, decoder.chunk_weights * 9, 5, 1e-6f, 2, 1, 3, 2, 0, true, true});
    variants.push_back({type, 768, 9, 1e-5f, 4, 2, 1, 1, 256});
  }
  variants.push_back({QuantType::kQ4K, std::nullopt, std::nullopt, 1e-5f, 1, 2, 2, 4, 1024});
  variants.push_back({QuantType::kQ4K, 4096, 4096, 1e-5f, 4, 2, 1, 2, 4096});
  variants.push_back({QuantType::kQ8_0, 512, 6, 1e-5f, 4, 1, kMaxGemvTokens});
  return variants;
}

}  // namespace ptxsmith

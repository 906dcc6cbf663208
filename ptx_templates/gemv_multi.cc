#include "ptx_templates/gemv_multi.h"

#include "codegen/status_macros.h"
#include "ptx_templates/projection.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildGemvMulti(const GemvMultiSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  const GemvShape shape = {.quant = spec.quant,
                           .m = spec.m,
                           .outputs_per_block = spec.outputs_per_block,
                           .warps_per_output = spec.warps_per_output,
                           .unroll = spec.unroll,
                           .stage = spec.stage,
                           .q8_1 = spec.input == QuantType::kQ8_1,
                           .norm_eps = spec.norm ? std::optional(spec.eps) : std::nullopt};
  std::vector<std::optional<uint32_t>> n = {spec.n0, spec.n1};
  if (spec.matrices == 3) n.push_back(spec.n2);
  return BuildProjection({.family = GemvMultiSpec::kFamily,
                          .key = KeyOf(spec, target),
                          .shape = shape,
                          .k = spec.k,
                          .n = n,
                          .bias = spec.bias},
                         target);
}

std::vector<GemvMultiSpec> GemvMultiVariants() {
  std::vector<GemvMultiSpec> variants;
  for (const Decoder& decoder : AllDecoders()) {
    const QuantType type = decoder.type;
    const uint32_t k = decoder.chunk_weights * 9;
    variants.push_back({type, QuantType::kF32, k, 7, 3, 2, 3, 4, 1, 1, 1, 0, false, 1e-5f, true});
    if (decoder.packed == nullptr) continue;
    variants.push_back({type, QuantType::kQ8_1, k, 7, 3, 2, 3, 2, 2, 3, 2});
  }
  const QuantType type = QuantType::kQ4K;
  const std::optional<uint32_t> open;
  variants.push_back({type, QuantType::kF32, open, open, open, open, 3, 4, 2});
  variants.push_back({type, QuantType::kF32, open, open, open, open, 2, 2, 1, 2, 2, 512, true});
  variants.push_back(
      {type, QuantType::kF32, 2304, 9, 5, open, 2, 4, 1, 1, 2, 512, true, 1e-6f, true});
  variants.push_back({type, QuantType::kQ8_1, 4096, 4096, 1024, 1024, 3, 4, 2});
  variants.push_back({type, QuantType::kF32, 4096, 4096, 1024, 1024, 3, 4, 2, 1, 2, 4096, true});
  return variants;
}

}  // namespace ptxsmith

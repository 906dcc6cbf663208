#include "ptx_templates/gemv.h"

#include "codegen/status_macros.h"
#include "ptx_templates/projection.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildGemv(const GemvSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  const GemvShape shape = {spec.quant,  spec.m,    spec.outputs_per_block, spec.warps_per_output,
                           spec.unroll, spec.stage};
  return BuildProjection({.family = GemvSpec::kFamily,
                          .key = KeyOf(spec, target),
                          .shape = shape,
                          .k = spec.k,
                          .n = {spec.n},

                          .bias = spec.bias,
                          .residual = spec.residual},
                         target);
}

std::vector<GemvSpec> GemvVariants() {
  std::vector<GemvSpec> variants;
  for (const Decoder& decoder : AllDecoders()) {
    const QuantType type = decoder.type;
    const uint32_t chunk = decoder.chunk_weights;
    for (uint32_t outputs : {1u, 4u, 16u}) {
      for (uint32_t unroll : {1u, 2u, 4u}) {
        variants.push_back({type, 768, 130, outputs, unroll});
      }
    }
    variants.push_back({type, 4096, 4096, 2, 2});
    variants.push_back({type, 14336, 4096, 8, 4});
    variants.push_back({type, chunk, 1, 4, 1});
    variants.push_back({type, chunk * 9, 33, 4, 2});
    variants.push_back({type, std::nullopt, std::nullopt, 4, 2});
    variants.push_back({type, std::nullopt, 64, 8, 1});
    // Several tokens, warps and phases, in every combination of baked and open sizes.
    variants.push_back({type, chunk * 9, 5, 2, 1, 3, 2, 0, true, true});
    variants.push_back({type, std::nullopt, std::nullopt, 1, 2, 2, 4, 1024, true, false});
    variants.push_back({type, chunk * 9, 17, 4, 1, 1, 1, 256, false, true});
  }
  for (const QuantType type : {QuantType::kQ4K, QuantType::kQ8_0, QuantType::kF16}) {
    variants.push_back({type, 2304, 7, 4, 1, 1, 2, 4096});  // one phase
    variants.push_back({type, 2304, 7, 4, 1, 1, 2, 512});   // the last phase is not whole
    variants.push_back({type, 2304, 7, 2, 2, 1, 8});        // nine units on eight warps
    variants.push_back({type, 2304, 7, 4, 4, 8, 4});
    variants.push_back({type, 512, 6, 8, 1, kMaxGemvTokens});
    variants.push_back({type, 1024, 6, 4, 1, 14, 2, 1024});  // 56 KiB of shared memory
    variants.push_back({type, 14336, 4096, 4, 2, 1, 2, 8192});
  }
  return variants;
}

}  // namespace ptxsmith

// y = W x with the activations quantised to q8_1: integer dot products, four weights an
// instruction.
//
// Mathematics  y[t][r] = sum over c of W[r][c] * d[t][c / 32] * q[t][c] (+ bias[r]), W dequantised
//              exactly; with `residual` this is added to what y holds.
// Layout       w: n rows of k weights in the blocks of the GGUF file; x: [m][k / 32] blocks of q8_1
//              (quantize_q8_1.h); y: [m][n] f32; bias: n f32.
// Geometry     as gemv. The activations take 9 bits instead of 32 and are read through L1 and L2.
// Traffic      every weight byte once, for all tokens; x once per output.
// Numerics     Four products are summed as integers (dp4a), exactly; then d * (scale * sum + offset
// *
//              sum of q) is added in f32 with three roundings: |error| <= (k / 128 + 32) eps sum
//              (|scale q| + |offset|) |x|, against the activations as quantised. What quantising
//              costs is quantize_q8_1's business. The same bits on every device, for every m.
// Limits       quantised types only; k a multiple of the type's block.
#ifndef PTXSMITH_PTX_TEMPLATES_GEMV_Q8_1_H_
#define PTXSMITH_PTX_TEMPLATES_GEMV_Q8_1_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/gemv_core.h"

namespace ptxsmith {

struct GemvQ8_1Spec {
  QuantType quant = QuantType::kQ4K;
  std::optional<uint32_t> k;
  std::optional<uint32_t> n;
  uint32_t outputs_per_block = 4;
  uint32_t unroll = 1;
  uint32_t m = 1;
  uint32_t warps_per_output = 1;
  bool bias = false;
  bool residual = false;

  static constexpr absl::string_view kFamily = "gemv_q8_1";
  static constexpr absl::string_view kSummary = "y = W x by integer dot products, x in q8_1";
  static constexpr auto kFields =
      Fields(Field("quant", &GemvQ8_1Spec::quant, kPackedQuantRule, "type of W"),
             Field("k", &GemvQ8_1Spec::k, AtLeast(32, 32), "weights per row"),
             Field("n", &GemvQ8_1Spec::n, AtLeast(1), "rows"),
             Field("outputs_per_block", &GemvQ8_1Spec::outputs_per_block, kOutputsPerBlockRule,
                   kOutputsPerBlockHelp),
             Field("unroll", &GemvQ8_1Spec::unroll, kUnrollRule, kUnrollHelp),
             Field("m", &GemvQ8_1Spec::m, kTokensRule, "tokens"),
             Field("warps_per_output", &GemvQ8_1Spec::warps_per_output, kWarpsPerOutputRule,
                   kWarpsPerOutputHelp),
             Field("bias", &GemvQ8_1Spec::bias, {}, "add bias[r]"),
             Field("residual", &GemvQ8_1Spec::residual, {}, "add to y instead of overwriting it"));
};

// Arguments: as BuildGemv, x in blocks.
absl::StatusOr<KernelSpec> BuildGemvQ8_1(const GemvQ8_1Spec& spec, const Target& target);
std::vector<GemvQ8_1Spec> GemvQ8_1Variants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_GEMV_Q8_1_H_

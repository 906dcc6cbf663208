// y = W x for one or a few tokens: the matrix-vector product of decoding, generic over the quant
// type.
//
// Mathematics  y[t][r] = sum over c of W[r][c] * x[t][c] (+ bias[r]), W dequantised exactly as ggml
//              does; with `residual` this is added to what y holds.
// Layout       w: n rows of k weights in the blocks of the GGUF file; x: [m][k] f32; y: [m][n] f32;
//              bias: n f32.
// Geometry     outputs_per_block outputs per block, warps_per_output warps each (gemv_core.h).
//              Without `stage` every warp reads x through L1 and L2; with it the block keeps that
//              many activations of each token in shared memory: all of them when stage >= k, else
//              in turns.
// Traffic      every weight byte once, for all tokens; x once per output, or per block when staged.
// Numerics     f32. A lane adds its weights in order with fma, the lanes are summed by a butterfly,
//              then the warps in order: the same bits on every device, for every m and stage.
//              |error| <= (k / 32 + 32) eps sum |W||x|, bias and residual one rounding each.
// Limits       k a multiple of the type's block (32 for f16 and f32). Rows need only the alignment
//              of the type's blocks. m * stage floats must fit in shared memory.
#ifndef PTXSMITH_PTX_TEMPLATES_GEMV_H_
#define PTXSMITH_PTX_TEMPLATES_GEMV_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/gemv_core.h"

namespace ptxsmith {

struct GemvSpec {
  QuantType quant = QuantType::kQ4K;
  std::optional<uint32_t> k;
  std::optional<uint32_t> n;
  uint32_t outputs_per_block = 4;
  uint32_t unroll = 1;
  uint32_t m = 1;
  uint32_t warps_per_output = 1;
  uint32_t stage = 0;
  bool bias = false;
  bool residual = false;

  static constexpr absl::string_view kFamily = "gemv";
  static constexpr absl::string_view kSummary = "y = W x for one or a few tokens";
  static constexpr auto kFields =
      Fields(Field("quant", &GemvSpec::quant, kQuantRule, "type of W"),
             Field("k", &GemvSpec::k, AtLeast(32, 32), "weights per row"),
             Field("n", &GemvSpec::n, AtLeast(1), "rows"),
             Field("outputs_per_block", &GemvSpec::outputs_per_block, kOutputsPerBlockRule,
                   kOutputsPerBlockHelp),
             Field("unroll", &GemvSpec::unroll, kUnrollRule, kUnrollHelp),
             Field("m", &GemvSpec::m, kTokensRule, "tokens"),
             Field("warps_per_output", &GemvSpec::warps_per_output, kWarpsPerOutputRule,
                   kWarpsPerOutputHelp),
             Field("stage", &GemvSpec::stage, kStageRule, kStageHelp),
             Field("bias", &GemvSpec::bias, {}, "add bias[r]"),
             Field("residual", &GemvSpec::residual, {}, "add to y instead of overwriting it"));
};

// Arguments: y (out, or in and out with residual), w (in, n rows), x (in), bias when asked for,
// then k and n when the spec leaves them open. InvalidArgument when a field breaks its rule.
absl::StatusOr<KernelSpec> BuildGemv(const GemvSpec& spec, const Target& target);

// The specialisations that tests compile and run.
std::vector<GemvSpec> GemvVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_GEMV_H_

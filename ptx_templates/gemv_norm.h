// y = W (RMSNorm of x): a matrix-vector product with the normalisation before it folded in.
//
// Mathematics  y[t][r] = s_t * sum over c of W[r][c] * (x[t][c] * weight[c]) (+ bias[r]),
//              s_t = 1 / sqrt(mean of x[t]^2 + eps); with `residual` this is added to what y holds.
// Layout       as gemv; weight: k f32.
// Geometry     as gemv. Every block sums the squares of x for itself: one more pass over x per
//              block, from L2, instead of a kernel and its round trip. With `stage` x * weight is
//              computed once per block.
// Traffic      as gemv, and x once more per block.
// Numerics     f32, orders as gemv; the scale is applied to the sum, so the bits are not those of
//              rms_norm followed by gemv. |error| <= (k / 32 + 33) eps s sum |W||x weight| and the
//              scale's own, (k / 64 + 24) eps |y|.
// Limits       as gemv.
#ifndef PTXSMITH_PTX_TEMPLATES_GEMV_NORM_H_
#define PTXSMITH_PTX_TEMPLATES_GEMV_NORM_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/gemv_core.h"

namespace ptxsmith {

struct GemvNormSpec {
  QuantType quant = QuantType::kQ4K;
  std::optional<uint32_t> k;
  std::optional<uint32_t> n;
  float eps = 1e-5f;
  uint32_t outputs_per_block = 4;
  uint32_t unroll = 1;
  uint32_t m = 1;
  uint32_t warps_per_output = 1;
  uint32_t stage = 0;
  bool bias = false;
  bool residual = false;

  static constexpr absl::string_view kFamily = "gemv_norm";
  static constexpr absl::string_view kSummary = "y = W (x / rms(x) * weight)";
  static constexpr auto kFields =
      Fields(Field("quant", &GemvNormSpec::quant, kQuantRule, "type of W"),
             Field("k", &GemvNormSpec::k, AtLeast(32, 32), "weights per row"),
             Field("n", &GemvNormSpec::n, AtLeast(1), "rows"),
             Field("eps", &GemvNormSpec::eps, {}, "added to the mean square"),
             Field("outputs_per_block", &GemvNormSpec::outputs_per_block, kOutputsPerBlockRule,
                   kOutputsPerBlockHelp),
             Field("unroll", &GemvNormSpec::unroll, kUnrollRule, kUnrollHelp),
             Field("m", &GemvNormSpec::m, kTokensRule, "tokens"),
             Field("warps_per_output", &GemvNormSpec::warps_per_output, kWarpsPerOutputRule,
                   kWarpsPerOutputHelp),
             Field("stage", &GemvNormSpec::stage, kStageRule, kStageHelp),
             Field("bias", &GemvNormSpec::bias, {}, "add bias[r]"),
             Field("residual", &GemvNormSpec::residual, {}, "add to y instead of overwriting it"));
};

// Arguments: y, w, x, weight, then as BuildGemv. InvalidArgument also for a negative eps.
absl::StatusOr<KernelSpec> BuildGemvNorm(const GemvNormSpec& spec, const Target& target);
std::vector<GemvNormSpec> GemvNormVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_GEMV_NORM_H_

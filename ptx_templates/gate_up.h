// The first half of a gated feed-forward layer: two matrix-vector products of the same activations,
// joined by SwiGLU.
//
// Mathematics  g = Wg x, u = Wu x, and y[t][r] = g / (1 + e^-g) * u; with combine=0 g and u
// themselves.
//              With `norm` x is normalised first, as in gemv_norm.
// Layout       gate, up: n rows of k weights, both of one type; x: [m][k] f32, or blocks of q8_1
//              (input=q8_1); y, or y_gate and y_up: [m][n] f32.
// Geometry     as gemv; a warp works on row r of both matrices and reads x once for the two.
// Traffic      every weight byte once; half the reads of x, no intermediate g and u.
// Numerics     g and u bit for bit as gemv (gemv_norm, gemv_q8_1) computes them, y as swiglu does.
// Limits       as those; norm needs f32 activations.
#ifndef PTXSMITH_PTX_TEMPLATES_GATE_UP_H_
#define PTXSMITH_PTX_TEMPLATES_GATE_UP_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/gemv_core.h"

namespace ptxsmith {

struct GateUpSpec {
  QuantType quant = QuantType::kQ4K;
  QuantType input = QuantType::kF32;
  std::optional<uint32_t> k;
  std::optional<uint32_t> n;
  uint32_t outputs_per_block = 4;
  uint32_t unroll = 1;
  uint32_t m = 1;
  uint32_t warps_per_output = 1;
  uint32_t stage = 0;
  bool norm = false;
  float eps = 1e-5f;
  bool combine = true;

  static constexpr absl::string_view kFamily = "gate_up";
  static constexpr absl::string_view kSummary = "y = silu(Wg x) * (Wu x)";
  static constexpr auto kFields =
      Fields(Field("quant", &GateUpSpec::quant, kQuantRule, "type of both W"),
             Field("input", &GateUpSpec::input, kGemvInputRule, "type of x"),
             Field("k", &GateUpSpec::k, AtLeast(32, 32), "weights per row"),
             Field("n", &GateUpSpec::n, AtLeast(1), "rows of each"),
             Field("outputs_per_block", &GateUpSpec::outputs_per_block, kOutputsPerBlockRule,
                   kOutputsPerBlockHelp),
             Field("unroll", &GateUpSpec::unroll, kUnrollRule, kUnrollHelp),
             Field("m", &GateUpSpec::m, kTokensRule, "tokens"),
             Field("warps_per_output", &GateUpSpec::warps_per_output, kWarpsPerOutputRule,
                   kWarpsPerOutputHelp),
             Field("stage", &GateUpSpec::stage, kStageRule, kStageHelp),
             Field("norm", &GateUpSpec::norm, {}, "normalise x first"),
             Field("eps", &GateUpSpec::eps, {}, "of the norm"),
             Field("combine", &GateUpSpec::combine, {}, "apply SwiGLU instead of writing both"));
};

// Arguments: y (out), or y_gate and y_up (out) without combine; gate, up, x (in), [weight of the
// norm], then k and n when open.
absl::StatusOr<KernelSpec> BuildGateUp(const GateUpSpec& spec, const Target& target);
std::vector<GateUpSpec> GateUpVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_GATE_UP_H_

// Two or three matrix-vector products of the same activations in one kernel: K and V, or Q, K and
// V.
//
// Mathematics  y_i[t][r] = sum over c of W_i[r][c] * x[t][c] (+ bias_i[r]) for each matrix i; with
//              `norm` x is normalised first, as in gemv_norm.
// Layout       w_i: n_i rows of k weights, all of one type; x: [m][k] f32, or blocks of q8_1
//              (input=q8_1); y_i: [m][n_i] f32; bias_i: n_i f32.
// Geometry     as gemv, over the n0 + n1 + n2 rows end to end: small matrices share the grid with
// the
//              large one instead of leaving most of the GPU idle.
// Traffic      as gemv; one launch instead of three.
// Numerics     bit for bit those of gemv, gemv_norm and gemv_q8_1 for each matrix.
// Limits       as those; norm needs f32 activations.
#ifndef PTXSMITH_PTX_TEMPLATES_GEMV_MULTI_H_
#define PTXSMITH_PTX_TEMPLATES_GEMV_MULTI_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/gemv_core.h"

namespace ptxsmith {

struct GemvMultiSpec {
  QuantType quant = QuantType::kQ4K;
  QuantType input = QuantType::kF32;
  std::optional<uint32_t> k;
  std::optional<uint32_t> n0;
  std::optional<uint32_t> n1;
  std::optional<uint32_t> n2;
  uint32_t matrices = 3;
  uint32_t outputs_per_block = 4;
  uint32_t unroll = 1;
  uint32_t m = 1;
  uint32_t warps_per_output = 1;
  uint32_t stage = 0;
  bool norm = false;
  float eps = 1e-5f;
  bool bias = false;

  static constexpr absl::string_view kFamily = "gemv_multi";
  static constexpr absl::string_view kSummary =
      "y = W x for two or three matrices, such as Q, K, V";
  static constexpr auto kFields =
      Fields(Field("quant", &GemvMultiSpec::quant, kQuantRule, "type of every W"),
             Field("input", &GemvMultiSpec::input, kGemvInputRule, "type of x"),
             Field("k", &GemvMultiSpec::k, AtLeast(32, 32), "weights per row"),
             Field("n0", &GemvMultiSpec::n0, AtLeast(1), "rows of the first matrix"),
             Field("n1", &GemvMultiSpec::n1, AtLeast(1), "rows of the second"),
             Field("n2", &GemvMultiSpec::n2, AtLeast(1), "rows of the third, if there is one"),
             Field("matrices", &GemvMultiSpec::matrices, OneOf(2, 3), "matrices"),
             Field("outputs_per_block", &GemvMultiSpec::outputs_per_block, kOutputsPerBlockRule,
                   kOutputsPerBlockHelp),
             Field("unroll", &GemvMultiSpec::unroll, kUnrollRule, kUnrollHelp),
             Field("m", &GemvMultiSpec::m, kTokensRule, "tokens"),
             Field("warps_per_output", &GemvMultiSpec::warps_per_output, kWarpsPerOutputRule,
                   kWarpsPerOutputHelp),
             Field("stage", &GemvMultiSpec::stage, kStageRule, kStageHelp),
             Field("norm", &GemvMultiSpec::norm, {}, "normalise x first"),
             Field("eps", &GemvMultiSpec::eps, {}, "of the norm"),
             Field("bias", &GemvMultiSpec::bias, {}, "add a bias to each"));
};

// Arguments: y0, y1, [y2], w0, w1, [w2], x, [weight of the norm], [bias0, bias1, [bias2]], then k,
// n0, n1, n2 when open.
absl::StatusOr<KernelSpec> BuildGemvMulti(const GemvMultiSpec& spec, const Target& target);
std::vector<GemvMultiSpec> GemvMultiVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_GEMV_MULTI_H_

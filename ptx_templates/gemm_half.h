// y = x W^T for many tokens and weights that are f16 already: a dense product on the tensor cores.
// With dequantize before it, the product of long prompts where no library is at hand.
//
// Mathematics  y[t][r] = sum over c of W[r][c] * x[t][c]; with `residual` this is added to what y
//              holds.
// Layout       x: [m][k] f16; w: [n][k] f16; y: [m][n] f32, or f16 with `half`.
// Geometry     a warp makes 64 tokens by 64 rows of W, a block `token_warps` by `row_warps` such
//              tiles. Both operands come through shared memory in `stages` steps of `depth` columns
//              (cp.async): a block waits for the oldest step and computes it while the others are
//              on their way, with one barrier per step. grid.x walks the tokens, grid.y the rows,
//              so that blocks that run side by side share rows of W. Tokens and rows beyond the end
//              are computed from the last ones and not stored.
// Traffic      x once per 64 * row_warps rows, W once per 64 * token_warps tokens, mostly from L2.
// Numerics     as gemm.h: products exact, sums the tensor core's. f16 results are rounded to
// nearest
//              and at most the largest f16. Devices agree within the bound, not bit for bit.
// Limits       depth=64 from sm_80 on; k a multiple of `depth`; n even; the stages must fit shared
// memory:
//              128 * (token_warps + row_warps) * (depth + 8) * stages bytes.
#ifndef PTXSMITH_PTX_TEMPLATES_GEMM_HALF_H_
#define PTXSMITH_PTX_TEMPLATES_GEMM_HALF_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct GemmHalfSpec {
  std::optional<uint32_t> k;
  std::optional<uint32_t> n;
  std::optional<uint32_t> m;
  uint32_t token_warps = 2;
  uint32_t row_warps = 2;
  uint32_t depth = 32;
  uint32_t stages = 2;
  bool residual = false;
  bool half = false;

  static constexpr absl::string_view kFamily = "gemm_half";
  static constexpr absl::string_view kSummary = "y = x W^T of f16 matrices on the tensor cores";
  static constexpr auto kFields =
      Fields(Field("k", &GemmHalfSpec::k, AtLeast(32, 32), "columns of W"),
             Field("n", &GemmHalfSpec::n, AtLeast(2, 2), "rows of W"),
             Field("m", &GemmHalfSpec::m, AtLeast(1), "tokens"),
             Field("token_warps", &GemmHalfSpec::token_warps, OneOf(1, 2, 4),
                   "warps per block along the tokens, 64 each"),
             Field("row_warps", &GemmHalfSpec::row_warps, OneOf(1, 2, 4),
                   "warps per block along the rows, 64 each"),
             Field("depth", &GemmHalfSpec::depth, OneOf(32, 64), "columns per step"),
             Field("stages", &GemmHalfSpec::stages, Between(2, 6), "steps in shared memory"),
             Field("residual", &GemmHalfSpec::residual, {}, "add to y instead of overwriting it"),
             Field("half", &GemmHalfSpec::half, {}, "y is f16"));
};

// Arguments: y (out, or in and out with residual), w, x (in), then k, n and m when open.
absl::StatusOr<KernelSpec> BuildGemmHalf(const GemmHalfSpec& spec, const Target& target);
std::vector<GemmHalfSpec> GemmHalfVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_GEMM_HALF_H_

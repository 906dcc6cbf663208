// y = x W^T for many tokens at the speed of the matrix units of sm_90: a dense product of f16
// matrices that lie in blocks (blocked_half.h), by warp groups that multiply straight out of shared
// memory (codegen/wgmma.h). The product of long prompts.
//
// Mathematics  y[t][r] = sum over c of W[r][c] * x[t][c]; with `residual` this is added to what y
//              holds. With `glu` the first half of W's rows are gates, the second what they let
//              through: y[t][r] = silu(g[t][r]) * g[t][n / 2 + r], g = x W^T.
// Layout       x: [m][k], w: [n][k], both f16 in blocks. y: [m][n] by rows, f32, or f16 with
//              `half`; with `glu` [m][n / 2], f16 in blocks: what the next product reads.
// Geometry     `blocks` blocks, one on each SM, take tiles of `tokens` by `rows` in turn, those of
//              the same rows of W one after the other. In each, one thread fills a ring of `stages`
//              stages of 64 columns with bulk copies, and one warp group for each 64 tokens
//              multiplies what has arrived; it frees a stage when the next one is under way. The
//              ring runs through all tiles, so that copies go on while results are stored. With
//              `glu` half the rows of a tile are gates and the others those they belong to, so that
//              a lane holds both.
// Traffic      x once per `rows` rows, W once per `tokens` tokens, mostly from L2.
// Numerics     as gemm_half.h: products exact, sums the tensor core's, f16 results rounded to the
//              nearest and at most the largest f16. Devices agree within the bound, not bit for
//              bit.
// Limits       sm_90 alone: a target sm_90 gives a text for sm_90a. k a multiple of 64, n even
// (with
//              `glu` of `rows`); 128 * (tokens + rows) * stages bytes of shared memory.
// Measured     2026-11-20, one H200, TFLOP/s beside cuBLASLt's in one run of `bench-kernel`, n x k:
//                m=2048  4096 x 4096  688 : 701   28672 x 4096 (half)  681 : 721
//                        4096 x 14336 748 : 724
//                m=512   4096 x 4096  637 : 643   28672 x 4096 (half)  631 : 694
//                        4096 x 14336 690 : 697   (128 rows, 6 stages: 256 rows leave half of the
//                                                 SMs without a tile, 405 and 448)
//                m=128   4096 x 4096  357 : 309   28672 x 4096 (half)  453 : 442
//                        4096 x 14336 400 : 402   (64 tokens, 64 rows, 8 stages; half: 256 rows)
//              Three stages instead of four: the same. In a prompt of 2048 tokens, where products
//              follow each other, they take 46 ms together, one by one 39; cuBLASLt's take 39
//              there, too. Suspected, not shown: power. A tile costs 48 KiB from L2 a step, where a
//              cluster of two blocks that share W would read 32. `glu` has not been timed.
#ifndef PTXSMITH_PTX_TEMPLATES_GEMM_BLOCKED_H_
#define PTXSMITH_PTX_TEMPLATES_GEMM_BLOCKED_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct GemmBlockedSpec {
  std::optional<uint32_t> k;
  std::optional<uint32_t> n;
  std::optional<uint32_t> m;
  uint32_t tokens = 128;
  uint32_t rows = 256;
  uint32_t stages = 4;
  uint32_t blocks = 132;
  bool residual = false;
  bool half = false;
  bool glu = false;

  static constexpr absl::string_view kFamily = "gemm_blocked";
  static constexpr absl::string_view kSummary =
      "y = x W^T of f16 matrices in blocks, by warp groups";
  static constexpr auto kFields = Fields(
      Field("k", &GemmBlockedSpec::k, AtLeast(64, 64), "columns of W"),
      Field("n", &GemmBlockedSpec::n, AtLeast(2, 2), "rows of W"),
      Field("m", &GemmBlockedSpec::m, AtLeast(1), "tokens"),
      Field("tokens", &GemmBlockedSpec::tokens, OneOf(64, 128), "of a tile"),
      Field("rows", &GemmBlockedSpec::rows, OneOf(64, 128, 256), "of W, of a tile"),
      Field("stages", &GemmBlockedSpec::stages, Between(2, 12), "steps in shared memory"),
      Field("blocks", &GemmBlockedSpec::blocks, AtLeast(1), "SMs of the device"),
      Field("residual", &GemmBlockedSpec::residual, {}, "add to y instead of overwriting it"),
      Field("half", &GemmBlockedSpec::half, {}, "y is f16"),
      Field("glu", &GemmBlockedSpec::glu, {}, "y = silu(gate) * up, f16 in blocks"));
};

// Arguments: y (out, or in and out with residual), w, x (in), then k, n and m when open.
absl::StatusOr<KernelSpec> BuildGemmBlocked(const GemmBlockedSpec& spec, const Target& target);
std::vector<GemmBlockedSpec> GemmBlockedVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_GEMM_BLOCKED_H_

// y = x W^T for many tokens on the tensor cores: the products of a prompt, W dequantised on the
// fly.
//
// Mathematics  y[t][r] = sum over c of f16(W[r][c]) * x[t][c] (+ bias[r]), W dequantised exactly as
//              ggml does and rounded to f16; with `residual` this is added to what y holds.
// Layout       w: n rows of k weights in the blocks of the GGUF file; x: [m][k] f16 (made by
//              dequantize:quant=f32,to=f16); y: [m][n] f32; bias: n f32.
// Geometry     a warp has a tile of 16 rows of W and `tokens` tokens, a block `warps` such tiles
// below
//              each other. grid.x walks the rows, grid.y the tokens. Rows and tokens beyond the end
//              are computed from the last ones and not stored.
// Fragments    mma's sum runs over k in any order, as long as both operands have the same. So the
// four
//              k a lane holds of A (columns 2t, 2t+1, 2t+8, 2t+9 of its rows, t = lane % 4) are the
//              four consecutive weights of a decoder's group, decoded for virtual lane 4 s + t of
//              the unit; and of B the same four activations of a token. One kernel serves every
//              type.
// Traffic      every weight byte once per `tokens` tokens; x once per 16 rows, from L2.
// Numerics     products of f16 are exact in f32, sums are the tensor core's: each mma aligns its 16
//              products and the accumulator to the largest and truncates. Error at most (1.1 k +
//              32) eps sum |f16(W)||x|. Devices agree within that, not bit for bit.
// Limits       weights and activations within the range of f16; k a multiple of the type's block;
//              m / tokens * n below 2^32. sm_75 uses m16n8k8, later targets m16n8k16.
#ifndef PTXSMITH_PTX_TEMPLATES_GEMM_H_
#define PTXSMITH_PTX_TEMPLATES_GEMM_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/decoder.h"

namespace ptxsmith {

struct GemmSpec {
  QuantType quant = QuantType::kQ4K;
  std::optional<uint32_t> k;
  std::optional<uint32_t> n;
  std::optional<uint32_t> m;
  uint32_t tokens = 32;
  uint32_t warps = 4;
  uint32_t unroll = 1;
  bool bias = false;
  bool residual = false;

  static constexpr absl::string_view kFamily = "gemm";
  static constexpr absl::string_view kSummary = "y = x W^T for many tokens on the tensor cores";
  static constexpr auto kFields = Fields(
      Field("quant", &GemmSpec::quant, kQuantRule, "type of W"),
      Field("k", &GemmSpec::k, AtLeast(32, 32), "weights per row"),
      Field("n", &GemmSpec::n, AtLeast(1), "rows"), Field("m", &GemmSpec::m, AtLeast(1), "tokens"),
      Field("tokens", &GemmSpec::tokens, OneOf(8, 16, 32, 64), "tokens per tile"),
      Field("warps", &GemmSpec::warps, OneOf(1, 2, 4, 8), "warps per block, 16 rows each"),
      Field("unroll", &GemmSpec::unroll, OneOf(1, 2, 4), "steps of 32 weights in flight"),
      Field("bias", &GemmSpec::bias, {}, "add bias[r]"),
      Field("residual", &GemmSpec::residual, {}, "add to y instead of overwriting it"));
};

// Arguments: y (out, or in and out with residual), w, x (in), bias when asked for, then k, n and m
// when open.
absl::StatusOr<KernelSpec> BuildGemm(const GemmSpec& spec, const Target& target);
std::vector<GemmSpec> GemmVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_GEMM_H_

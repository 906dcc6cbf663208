// Rows of weights of any type as a matrix of f32, f16 or bf16: the input of a dense library, or,
// with quant=f32, the conversion of activations.
//
// Mathematics  y[r][c] = W[r][c], dequantised exactly as ggml does, then rounded to nearest even.
// Layout       w: n rows of k weights in the blocks of the GGUF file; y: [n][k], with
//              `blocked` as blocked_half.h says, where nothing is written beyond row n.
// Geometry     one warp per 256 weights, `warps` per block; grid.x is the row, grid.y its parts.
// Traffic      every byte read and written once.
// Numerics     exact but for the last rounding; beyond the range of f16 the result is an infinity.
// Limits       k a multiple of the type's block, of 64 with `blocked`, which is for f16; at most
//              65535 * 256 * warps.
#ifndef PTXSMITH_PTX_TEMPLATES_DEQUANTIZE_H_
#define PTXSMITH_PTX_TEMPLATES_DEQUANTIZE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/decoder.h"

namespace ptxsmith {

struct DequantizeSpec {
  QuantType quant = QuantType::kQ4K;
  QuantType to = QuantType::kF16;
  std::optional<uint32_t> k;
  std::optional<uint32_t> n;
  uint32_t warps = 4;
  bool blocked = false;

  static constexpr absl::string_view kFamily = "dequantize";
  static constexpr absl::string_view kSummary = "rows of any type to f32, f16 or bf16";
  static constexpr auto kFields =
      Fields(Field("quant", &DequantizeSpec::quant, kQuantRule, "type of W"),
             Field("to", &DequantizeSpec::to,
                   OneOf(QuantType::kF32, QuantType::kF16, QuantType::kBF16), "type of y"),
             Field("k", &DequantizeSpec::k, AtLeast(32, 32), "weights per row"),
             Field("n", &DequantizeSpec::n, AtLeast(1), "rows"),
             Field("warps", &DequantizeSpec::warps, OneOf(1, 2, 4, 8), "warps per block"),
             Field("blocked", &DequantizeSpec::blocked, {}, "y lies in blocks"));
};

// Arguments: y (out), w (in), then k and n when open.
absl::StatusOr<KernelSpec> BuildDequantize(const DequantizeSpec& spec, const Target& target);
std::vector<DequantizeSpec> DequantizeVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_DEQUANTIZE_H_

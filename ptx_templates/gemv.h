// y = W x for one token: the matrix-vector product of decoding, generic over the quant type.
//
// Mathematics  y[r] = sum over c of W[r][c] * x[c], W dequantised exactly as ggml does.
// Layout       w: n rows of k weights in the blocks of the GGUF file; x: k f32; y: n f32.
// Geometry     one warp per output, outputs_per_block warps per block, ceil(n / outputs_per_block)
// blocks.
//              No shared memory: x is read through L1/L2 by every warp.
// Traffic      every weight byte once; x once per output.
// Numerics     f32. A lane adds its weights in order with fma, then the lanes are summed by a
// butterfly:
//              the same bits on every device and in every run. |error| <= (k / 32 + 5) eps sum
//              |W||x|.
// Limits       k a multiple of the type's block (32 for f16 and f32). Rows need only the alignment
// of the
//              type's blocks.
#ifndef PTXSMITH_PTX_TEMPLATES_GEMV_H_
#define PTXSMITH_PTX_TEMPLATES_GEMV_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/decoder.h"

namespace ptxsmith {

struct GemvSpec {
  QuantType quant = QuantType::kQ4K;
  std::optional<uint32_t> k;
  std::optional<uint32_t> n;
  uint32_t outputs_per_block = 4;
  uint32_t unroll = 1;

  static constexpr absl::string_view kFamily = "gemv";
  static constexpr absl::string_view kSummary = "y = W x for one token, one warp per output";
  static constexpr auto kFields =
      Fields(Field("quant", &GemvSpec::quant, kQuantRule, "type of W"),
             Field("k", &GemvSpec::k, AtLeast(32, 32), "weights per row"),
             Field("n", &GemvSpec::n, AtLeast(1), "rows"),
             Field("outputs_per_block", &GemvSpec::outputs_per_block, OneOf(1, 2, 4, 8, 16),
                   "warps per block, one output each"),
             Field("unroll", &GemvSpec::unroll, OneOf(1, 2, 4),
                   "units of 256 weights in flight per warp"));
};

// Arguments: y (out, n f32), w (in, n rows), x (in, k f32), then k and n when the spec leaves them
// open. InvalidArgument when a field breaks its rule.
absl::StatusOr<KernelSpec> BuildGemv(const GemvSpec& spec, const Target& target);

// The specialisations that tests compile and run.
std::vector<GemvSpec> GemvVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_GEMV_H_

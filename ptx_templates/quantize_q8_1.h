// Activations as ggml's block_q8_1: what the integer forms of the matrix-vector products read.
//
// Mathematics  Per block of 32 values x, all in f32 and rounded to nearest even unless said:
//                d = max |x| / 127          id = 1 / d, or 0 when d <= 1e-30
//                q = round(x * id), halves away from zero, as C's round
//                s = d * sum of q, the sum exact
//              d and s are stored as f16. Equal to ggml's quantize_row_q8_1_ref for d > 1e-30;
//              below, ggml's 1 / d may overflow, while every d below 2^-25 is stored as 0 anyway.
// Layout       x: n f32, any number of rows end to end; y: n / 32 blocks of 36 bytes: d at 0, s at
// 2,
//              32 signed bytes q at 4.
// Geometry     one thread per four values, `threads` per block; eight lanes share a q8_1 block.
// Traffic      4 bytes read and 36 / 32 written per value.
// Numerics     bit for bit the definition above. |x - d q| <= d / 2 + the rounding of d: about 0.4
// %
//              of the block's largest value.
// Limits       n a multiple of 32; |x| up to 127 * 65504.
#ifndef PTXSMITH_PTX_TEMPLATES_QUANTIZE_Q8_1_H_
#define PTXSMITH_PTX_TEMPLATES_QUANTIZE_Q8_1_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/gemv_core.h"

namespace ptxsmith {

struct QuantizeQ8_1Spec {
  std::optional<uint32_t> n;
  uint32_t threads = 128;

  static constexpr absl::string_view kFamily = "quantize_q8_1";
  static constexpr absl::string_view kSummary = "f32 activations to blocks of q8_1";
  static constexpr auto kFields = Fields(
      Field("n", &QuantizeQ8_1Spec::n, AtLeast(kQ8_1Block, kQ8_1Block), "values, of all rows"),
      Field("threads", &QuantizeQ8_1Spec::threads, OneOf(32, 64, 128, 256), "threads per block"));
};

// Arguments: y (out, blocks), x (in), then n when open.
absl::StatusOr<KernelSpec> BuildQuantizeQ8_1(const QuantizeQ8_1Spec& spec, const Target& target);
std::vector<QuantizeQ8_1Spec> QuantizeQ8_1Variants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_QUANTIZE_Q8_1_H_

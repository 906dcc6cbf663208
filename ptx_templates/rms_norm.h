// y = x / rms(x) * weight for each of `rows` vectors: root-mean-square normalisation. The vectors
// may be tokens, or the heads of tokens.
//
// Mathematics  y[i] = (x[i] * s) * weight[i], s = 1 / sqrt(mean of x^2 + eps).
//              (Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.)
//              With `residual` x is x + r, written back before.
// Layout       x, r: [rows][n] f32; y: the same, or f16 with `half`, or f16 as blocked_half.h says
//              with `blocked` too; weight: [n] f32. An f32 y may be x, or r where there is one.
// Geometry     one block of `threads` threads per row.
// Numerics     f32; each thread sums every threads-th square in order, then warps and the block are
//              summed in a fixed order. Square root and divisions are correctly rounded: the same
//              bits everywhere.
// Limits       n a multiple of 64 with `blocked`.
#ifndef PTXSMITH_PTX_TEMPLATES_RMS_NORM_H_
#define PTXSMITH_PTX_TEMPLATES_RMS_NORM_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct RmsNormSpec {
  std::optional<uint32_t> n;
  std::optional<uint32_t> rows = 1;
  float eps = 1e-5f;
  uint32_t threads = 256;
  bool residual = false;
  bool half = false;
  bool blocked = false;

  static constexpr absl::string_view kFamily = "rms_norm";
  static constexpr absl::string_view kSummary = "y = x / rms(x) * weight, row by row";
  static constexpr auto kFields =
      Fields(Field("n", &RmsNormSpec::n, AtLeast(1), "elements per row"),
             Field("rows", &RmsNormSpec::rows, AtLeast(1), "rows"),
             Field("eps", &RmsNormSpec::eps, {}, "added to the mean square"),
             Field("threads", &RmsNormSpec::threads, OneOf(32, 64, 128, 256, 512, 1024),
                   "threads per block"),
             Field("residual", &RmsNormSpec::residual, {}, "first x += r"),
             Field("half", &RmsNormSpec::half, {}, "y is f16"),
             Field("blocked", &RmsNormSpec::blocked, {}, "y lies in blocks"));
};

// Arguments: y (out), x (in; in out with `residual`), r (in, with `residual`), weight (in), then n
// and rows when open.
absl::StatusOr<KernelSpec> BuildRmsNorm(const RmsNormSpec& spec, const Target& target);
std::vector<RmsNormSpec> RmsNormVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_RMS_NORM_H_

// y = e^(scale x) / sum of e^(scale x), for each of `rows` vectors.
//
// Mathematics  y[i] = e^(scale x[i] - best) / sum over j of e^(scale x[j] - best), best = max of
//              scale x. Elements of minus infinity become 0, which masks them.
// Layout       x, y: [rows][n] f32. y may be x.
// Geometry     one block of `threads` threads per row.
// Traffic      x three times, from the caches after the first; y once. The exponentials are
//              computed twice instead of being stored.
// Numerics     f32; the maximum first, so that nothing overflows; Exp is made of exact operations
//              and the sum has a fixed order: the same bits everywhere. Relative error below
//              u (2 |scale x - best| + n / threads + 64), u = 2^-24, beyond what x's own
//              rounding by `scale` moves.
// Limits       none on n; a row of nothing but minus infinity becomes NaN.
#ifndef PTXSMITH_PTX_TEMPLATES_SOFTMAX_H_
#define PTXSMITH_PTX_TEMPLATES_SOFTMAX_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct SoftmaxSpec {
  std::optional<uint32_t> n;
  std::optional<uint32_t> rows = 1;
  float scale = 1.0f;
  uint32_t threads = 256;

  static constexpr absl::string_view kFamily = "softmax";
  static constexpr absl::string_view kSummary = "y = e^(scale x) / sum of e^(scale x), row by row";
  static constexpr auto kFields =
      Fields(Field("n", &SoftmaxSpec::n, AtLeast(1), "elements per row"),
             Field("rows", &SoftmaxSpec::rows, AtLeast(1), "rows"),
             Field("scale", &SoftmaxSpec::scale, {}, "factor of x"),
             Field("threads", &SoftmaxSpec::threads, OneOf(32, 64, 128, 256, 512, 1024),
                   "threads per block"));
};

// Arguments: y (out), x (in), then n and rows when open.
absl::StatusOr<KernelSpec> BuildSoftmax(const SoftmaxSpec& spec, const Target& target);
std::vector<SoftmaxSpec> SoftmaxVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_SOFTMAX_H_

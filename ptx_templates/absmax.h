// y[r] = max |x[r][i]|, for each of `rows` vectors: the scale of what is about to be quantised.
//
// Layout       x: [rows][n] f32; y: [rows] f32.
// Geometry     one block of `threads` threads per row.
// Traffic      x once.
// Numerics     exact. NaNs do not count; a row of nothing else gives 0.
// Limits       none on n.
#ifndef PTXSMITH_PTX_TEMPLATES_ABSMAX_H_
#define PTXSMITH_PTX_TEMPLATES_ABSMAX_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct AbsmaxSpec {
  std::optional<uint32_t> n;
  std::optional<uint32_t> rows = 1;
  uint32_t threads = 1024;

  static constexpr absl::string_view kFamily = "absmax";
  static constexpr absl::string_view kSummary = "y = max |x|, row by row";
  static constexpr auto kFields =
      Fields(Field("n", &AbsmaxSpec::n, AtLeast(1), "elements per row"),
             Field("rows", &AbsmaxSpec::rows, AtLeast(1), "rows"),
             Field("threads", &AbsmaxSpec::threads, OneOf(32, 64, 128, 256, 512, 1024),
                   "threads per block"));
};

// Arguments: y (out), x (in), then n and rows when open.
absl::StatusOr<KernelSpec> BuildAbsmax(const AbsmaxSpec& spec, const Target& target);
std::vector<AbsmaxSpec> AbsmaxVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_ABSMAX_H_

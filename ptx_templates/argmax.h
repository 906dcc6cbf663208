// The index of the largest element of each row: greedy sampling on the device.
//
// Mathematics  index[r] = the least i with x[r][i] = max over j of x[r][j]. NaNs never win; 0 for a
//              row of nothing else.
// Layout       x: [rows][n] f32; index: [rows] u32.
// Geometry     one block of `threads` threads per row.
// Traffic      x once.
// Numerics     exact.
// Limits       none on n.
#ifndef PTXSMITH_PTX_TEMPLATES_ARGMAX_H_
#define PTXSMITH_PTX_TEMPLATES_ARGMAX_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct ArgmaxSpec {
  std::optional<uint32_t> n;
  uint32_t threads = 1024;
  std::optional<uint32_t> rows = 1;

  static constexpr absl::string_view kFamily = "argmax";
  static constexpr absl::string_view kSummary =
      "index of the largest element of each row, the first of equals";
  static constexpr auto kFields = Fields(
      Field("n", &ArgmaxSpec::n, AtLeast(1), "elements per row"),
      Field("threads", &ArgmaxSpec::threads, OneOf(32, 128, 256, 512, 1024), "threads per block"),
      Field("rows", &ArgmaxSpec::rows, AtLeast(1), "rows"));
};

// Arguments: index (out), x (in), then n and rows when open.
absl::StatusOr<KernelSpec> BuildArgmax(const ArgmaxSpec& spec, const Target& target);
std::vector<ArgmaxSpec> ArgmaxVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_ARGMAX_H_

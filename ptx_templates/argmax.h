// The index of the largest element: greedy sampling on the device.
//
// Mathematics  index = the least i with x[i] = max over j of x[j]. NaNs never win; 0 if nothing is
// greater
//              than minus infinity.
// Layout       x: [n] f32; index: [1] u32.
// Geometry     one block of `threads` threads.
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

  static constexpr absl::string_view kFamily = "argmax";
  static constexpr absl::string_view kSummary = "index of the largest element, the first of equals";
  static constexpr auto kFields =
      Fields(Field("n", &ArgmaxSpec::n, AtLeast(1), "elements"),
             Field("threads", &ArgmaxSpec::threads, OneOf(32, 128, 256, 512, 1024),
                   "threads of the block"));
};

// Arguments: index (out), x (in), then n when open.
absl::StatusOr<KernelSpec> BuildArgmax(const ArgmaxSpec& spec, const Target& target);
std::vector<ArgmaxSpec> ArgmaxVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_ARGMAX_H_

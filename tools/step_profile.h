// Where the time of a decoding step goes, kernel by kernel, without changing its schedule. Used by
// `--profile` and `--trace`.
//
//   PTXSMITH_ASSIGN_OR_RETURN(const StepProfile profile, ProfileStep(*model, /*roof=*/4.6e12));
//   std::fputs(profile.Table().c_str(), stderr);
//
// A kernel's time is what the step takes longer with it: graphs of the first 1, 2, ... kernels are
// timed, each as a whole, and their differences are reported. So what overlaps on the device still
// overlaps, no event stands between two kernels, and the times add up to that of the step. (Events
// between kernels would end the overlap and add 1 to 2 us to each; the profiler's interface, CUPTI,
// comes with the toolkit and not with the driver.)
//
// Thread-safety: that of the model. Errors: those of the device; FailedPrecondition on the
// emulator.
#ifndef PTXSMITH_TOOLS_STEP_PROFILE_H_
#define PTXSMITH_TOOLS_STEP_PROFILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/transformer.h"

namespace ptxsmith {

struct KernelTime {
  int32_t layer = -1;
  std::string stage;   // "qkv"
  std::string family;  // "gemv_multi"
  double microseconds = 0;
  uint64_t bytes = 0;
  uint64_t flops = 0;
};

struct StepProfile {
  double roof = 0;  // bytes per second that a plain reader reaches
  double microseconds = 0;
  std::vector<KernelTime> kernels;  // in order

  // By stage and kernel: calls, time, rate, share of the roof and of the step; then by size: micro
  // (norms, residuals, elements), midi (attention), macro (products).
  std::string Table() const;
  // A trace for chrome://tracing or Perfetto.
  std::string ChromeTrace() const;
};

// Of the last step again, up to its logits. Needs one to have been run.
absl::StatusOr<StepProfile> ProfileStep(Transformer& model, double roof);

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_STEP_PROFILE_H_

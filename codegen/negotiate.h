// Which `.version` and `.target` a kernel's text may carry, so that no driver ever answers "PTX was
// compiled with an unsupported toolchain". Devices choose their target with NewestTarget, the
// printer the least version with LeastVersion, and loaders ask CheckText before they call a driver.
//
//   const Platform gpu{"cuda:0", /*driver_version=*/12040, /*capability=*/90};
//   PTXSMITH_ASSIGN_OR_RETURN(const Target target, NewestTarget(gpu));            // sm_90.ptx78
//   PTXSMITH_RETURN_IF_ERROR(CheckText(gpu, spec.target, LeastVersion(spec.target,
//   {"elect.sync"})));
//
// Pure functions of plain data. FailedPrecondition names the feature, what it needs and what was
// found.
#ifndef PTXSMITH_CODEGEN_NEGOTIATE_H_
#define PTXSMITH_CODEGEN_NEGOTIATE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codegen/target.h"

namespace ptxsmith {

// A GPU and its driver, as far as they decide on a text.
struct Platform {
  std::string name;        // for messages: "cuda:0"
  int driver_version = 0;  // as cuDriverGetVersion counts: 12040 for CUDA 12.4
  int capability = 0;      // compute capability: 90 for 9.0
};

// The `.version` of a text and the instruction or target that asks for it.
struct NeededVersion {
  PtxVersion version;
  std::string needed_by;  // "elect.sync", "sm_90"
};

// The newest base target that both the GPU and its driver know. A text for a base target also runs
// on every later GPU, so that an unknown new GPU gets the newest target of the table.
absl::StatusOr<Target> NewestTarget(const Platform& platform);

// The least version that accepts the target and these instructions: a newer one would only shut out
// older drivers, and change every cache key with the table.
NeededVersion LeastVersion(const Target& target, absl::Span<const absl::string_view> mnemonics);

// Whether the platform loads a text for `target` of the needed version.
absl::Status CheckText(const Platform& platform, const Target& target, const NeededVersion& needed);

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_NEGOTIATE_H_

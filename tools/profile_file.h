// GpuProfile as a JSON file: what `ptxsmith tune -o` writes, and `run` and `bench` read.
//
//   PTXSMITH_ASSIGN_OR_RETURN(const GpuProfile profile,
//                             ReadProfile("h200.json", device->profile(), &ignored));
//
// A choice measured on another device or driver, or for a kernel whose text is another by now, is
// left out: nobody has to remember to throw a file away. DataLoss names what is wrong with a file.
#ifndef PTXSMITH_TOOLS_PROFILE_FILE_H_
#define PTXSMITH_TOOLS_PROFILE_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/gpu_profile.h"
#include "runtime/device.h"

namespace ptxsmith {

// An empty one for this device.
GpuProfile ProfileFor(const DeviceProfile& device);

// `ignored` counts the choices that no longer hold.
absl::StatusOr<GpuProfile> ReadProfile(const std::string& path, const DeviceProfile& device,
                                       size_t* ignored);
absl::StatusOr<GpuProfile> ParseProfile(absl::string_view text, const DeviceProfile& device,
                                        size_t* ignored);
absl::StatusOr<std::string> ProfileText(const GpuProfile& profile, const Target& target);

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_PROFILE_FILE_H_

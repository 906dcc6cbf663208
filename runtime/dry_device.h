// A device that runs nothing and remembers which kernels it was asked for. Whatever prepares work
// on a device can be asked this way, by the code that runs it, what it would need: `ptxsmith warm`
// compiles the kernels of a model for a GPU that is not there, and `run` compiles them in parallel
// before it loads the model.
//
//   const auto dry = OpenDryDevice(*DryProfile("sm_90"));
//   ModuleCache cache(dry);
//   PTXSMITH_RETURN_IF_ERROR(Transformer::Load(file, cache, {}).status());
//   Compile(dry->kernels());
//
// Every call succeeds and does nothing: memory has addresses and no content, streams end at once.
// Pinned host memory is real, because its owner writes to it. Thread-safety and lifetime: as
// Device.
#ifndef PTXSMITH_RUNTIME_DRY_DEVICE_H_
#define PTXSMITH_RUNTIME_DRY_DEVICE_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "codegen/kernel_spec.h"
#include "runtime/device.h"

namespace ptxsmith {

class DryDevice : public Device {
 public:
  // Those loaded so far, in order, each once.
  virtual std::vector<KernelSpec> kernels() const = 0;
};

// `profile.dry` is set; the rest is what kernels are chosen by.
std::shared_ptr<DryDevice> OpenDryDevice(DeviceProfile profile);

// The profile of a GPU of this architecture that nobody has: its limits, and as many
// multiprocessors as its largest common model. InvalidArgument names what is known.
absl::StatusOr<DeviceProfile> DryProfile(absl::string_view arch);

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_DRY_DEVICE_H_

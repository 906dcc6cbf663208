#include "model/kernel_list.h"

#include "codegen/status_macros.h"
#include "runtime/dry_device.h"
#include "runtime/module_cache.h"

namespace ptxsmith {

absl::StatusOr<std::vector<KernelSpec>> KernelsOf(const GgufFile& file,
                                                  const DeviceProfile& profile,
                                                  const TransformerOptions& options) {
  const std::shared_ptr<DryDevice> device = OpenDryDevice(profile);
  ModuleCache cache(device);
  TransformerOptions silent = options;
  silent.progress = nullptr;  // nothing is loaded
  PTXSMITH_RETURN_IF_ERROR(Transformer::Load(file, cache, silent).status());
  return device->kernels();
}

}  // namespace ptxsmith

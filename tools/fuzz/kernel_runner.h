// Runs kernel cases on one device: compiles through a ModuleCache, uploads the arguments, launches,
// and gives back what every buffer holds afterwards. On a GPU each buffer lies between guards at an
// address that has just the alignment its parameter asks for; the emulator checks every access
// itself, so there buffers have their exact size and a stray load is found too.
//
//   PTXSMITH_ASSIGN_OR_RETURN(KernelRunner runner, KernelRunner::Open("emu:sm90"));
//   PTXSMITH_ASSIGN_OR_RETURN(std::vector<Bytes> after, runner.Run(test));
//   const Verdict verdict = test.check(after);
//
// One thread at a time.
#ifndef PTXSMITH_TOOLS_FUZZ_KERNEL_RUNNER_H_
#define PTXSMITH_TOOLS_FUZZ_KERNEL_RUNNER_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/device.h"
#include "runtime/module_cache.h"
#include "tools/fuzz/kernel_case.h"

namespace ptxsmith {

class KernelRunner {
 public:
  // The errors of Device::Open.
  static absl::StatusOr<KernelRunner> Open(absl::string_view device);
  static absl::StatusOr<KernelRunner> On(std::shared_ptr<Device> device);

  // The contents of each argument after the launch; empty for scalars. DataLoss names a guard or a
  // read-only buffer that the kernel wrote to.
  absl::StatusOr<std::vector<Bytes>> Run(const KernelCase& test);
  // The same with a module of this device instead of the case's own kernel from the cache.
  absl::StatusOr<std::vector<Bytes>> Run(const std::shared_ptr<const Module>& module,
                                         const KernelCase& test);

  const std::shared_ptr<Device>& device() const { return device_; }

 private:
  KernelRunner(std::shared_ptr<Device> device, Stream stream)
      : device_(std::move(device)),
        stream_(std::move(stream)),
        cache_(std::make_unique<ModuleCache>(device_)) {}

  std::shared_ptr<Device> device_;
  Stream stream_;
  std::unique_ptr<ModuleCache> cache_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_FUZZ_KERNEL_RUNNER_H_

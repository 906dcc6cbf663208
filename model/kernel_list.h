// The kernels that a model needs on a device, from the code that runs it: the model is loaded, and
// runs prompts, on a device that only takes notes. Takes milliseconds and reads nothing of the
// weights.
//
//   PTXSMITH_ASSIGN_OR_RETURN(std::vector<KernelSpec> kernels,
//                             KernelsOf(file, device->profile(), options));
//   PTXSMITH_RETURN_IF_ERROR(cache.Prefetch(kernels, 0, progress));   // in parallel
//   PTXSMITH_ASSIGN_OR_RETURN(auto model, Transformer::Load(file, cache, options));
//
// With `sampling` also what chooses tokens so (Transformer's SetSampling). A pure function of its
// arguments. Errors: those of Transformer::Load.
#ifndef PTXSMITH_MODEL_KERNEL_LIST_H_
#define PTXSMITH_MODEL_KERNEL_LIST_H_

#include <vector>

#include "absl/status/statusor.h"
#include "model/gguf.h"
#include "model/sampler.h"
#include "model/transformer.h"
#include "runtime/device.h"

namespace ptxsmith {

absl::StatusOr<std::vector<KernelSpec>> KernelsOf(const GgufFile& file,
                                                  const DeviceProfile& profile,
                                                  const TransformerOptions& options,
                                                  const SamplerOptions& sampling = {});

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_KERNEL_LIST_H_

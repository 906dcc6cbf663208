#include "model/kernel_list.h"

#include <algorithm>

#include "codegen/status_macros.h"
#include "runtime/dry_device.h"
#include "runtime/module_cache.h"

namespace ptxsmith {

absl::StatusOr<std::vector<KernelSpec>> KernelsOf(const GgufFile& file,
                                                  const DeviceProfile& profile,
                                                  const TransformerOptions& options,
                                                  const SamplerOptions& sampling) {
  const std::shared_ptr<DryDevice> device = OpenDryDevice(profile);
  ModuleCache cache(device);
  TransformerOptions silent = options;
  silent.progress = nullptr;  // nothing is loaded
  // A device that runs nothing opens no library, whose products are no kernels anyway.
  if (silent.products == Products::kLibrary) silent.products = Products::kAuto;
  PTXSMITH_ASSIGN_OR_RETURN(const std::unique_ptr<Transformer> model,
                            Transformer::Load(file, cache, silent));
  // Kernels of prompts are chosen when a prompt comes. Their length is an argument, but a few
  // tokens and many may take different ones. Beside other sequences short prompts go by 32 tokens
  // at a time, with kernels for each number that may be left.
  std::vector<uint32_t> lengths = {2, options.batch};
  for (uint32_t rows = 3; options.slots > 1 && rows <= 33; ++rows) lengths.push_back(rows);
  for (const uint32_t rows : lengths) {
    const std::vector<TokenId> prompt(std::min(rows, model->context()), 0);
    model->Reset();
    PTXSMITH_RETURN_IF_ERROR(model->Prompt(prompt, /*want_logits=*/true));
  }
  if (DeviceCanSample(sampling)) {
    PTXSMITH_RETURN_IF_ERROR(model->SetSampling(sampling, /*recent=*/{}));
  }
  return device->kernels();
}

}  // namespace ptxsmith

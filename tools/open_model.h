// What the commands that run a model share: opens the file, the device and the model, and says on
// stderr what was opened.
//
//   AddModelFlags(*command, options);
//   PTXSMITH_ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(options));
#ifndef PTXSMITH_TOOLS_OPEN_MODEL_H_
#define PTXSMITH_TOOLS_OPEN_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "model/transformer.h"
#include "runtime/device.h"
#include "runtime/module_cache.h"

namespace CLI {
class App;
}

namespace ptxsmith {

struct ModelOptions {
  std::string model;
  std::string device = "auto";
  uint32_t context = 0;
  uint32_t slots = TransformerOptions().slots;
  uint32_t batch = TransformerOptions().batch;
  QuantType kv_type = TransformerOptions().kv_type;
  Activations activations = TransformerOptions().activations;
  Products products = TransformerOptions().products;
  PromptWeights prompt_weights = TransformerOptions().prompt_weights;
  std::string gpu_profile;  // a file of `ptxsmith tune`; empty: none
  // Without flags: a command's own wishes.
  uint32_t logit_rows = TransformerOptions().logit_rows;
  LoweringChoice lowering = TransformerOptions().lowering;
};

// --device, -c, --ubatch-size, --cache-type, --activations, --products, --prompt-weights,
// --gpu-profile
void AddDeviceFlags(CLI::App& command, ModelOptions& options);
// The same and -m.
void AddModelFlags(CLI::App& command, ModelOptions& options);

// What is tuned for another device in the profile is left out, and said.
absl::StatusOr<TransformerOptions> TransformerOptionsOf(const ModelOptions& options,
                                                        const DeviceProfile& device);

struct OpenedTransformer {
  std::unique_ptr<ModuleCache> cache;
  std::unique_ptr<Transformer> model;
};

// A device, with the debug flags of the environment.
absl::StatusOr<std::shared_ptr<Device>> OpenDevice(const std::string& name);

// Of a file that need not have a tokenizer.
absl::StatusOr<OpenedTransformer> OpenTransformer(const ModelOptions& options, const GgufFile& file,
                                                  const std::shared_ptr<Device>& device);

struct OpenedModel {
  Tokenizer tokenizer;
  std::unique_ptr<ModuleCache> cache;
  std::unique_ptr<Transformer> model;
};

absl::StatusOr<OpenedModel> OpenModel(const ModelOptions& options);

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_OPEN_MODEL_H_

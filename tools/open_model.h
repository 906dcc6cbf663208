// What `run` and `perplexity` share: opens the file, the device and the model, and says on stderr
// what was opened.
#ifndef PTXSMITH_TOOLS_OPEN_MODEL_H_
#define PTXSMITH_TOOLS_OPEN_MODEL_H_

#include <CLI/CLI.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "model/transformer.h"
#include "runtime/module_cache.h"

namespace ptxsmith {

struct ModelOptions {
  std::string model;
  std::string device = "auto";
  uint32_t context = 0;
};

// -m, --device, -c
void AddModelFlags(CLI::App& command, ModelOptions& options);

struct OpenedModel {
  Tokenizer tokenizer;
  std::unique_ptr<ModuleCache> cache;
  std::unique_ptr<Transformer> model;
};

absl::StatusOr<OpenedModel> OpenModel(const ModelOptions& options);

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_OPEN_MODEL_H_

// A model through the library: opens a GGUF file and continues a prompt.
//
//   run_model FILE PROMPT [DEVICE]
#include <cstdio>
#include <string>
#include <vector>

#include "codegen/status_macros.h"
#include "model/generate.h"
#include "runtime/module_cache.h"

namespace {

using namespace ptxsmith;  // NOLINT: an example

absl::Status Run(const std::string& path, const std::string& prompt, const char* device_name) {
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(path));
  PTXSMITH_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::Create(file));
  PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<Device> device, Device::Open(device_name));
  ModuleCache cache(device, CompilationFor(*device));
  PTXSMITH_ASSIGN_OR_RETURN(const std::unique_ptr<Transformer> model,
                            Transformer::Load(file, cache, {.context = 64}));
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<TokenId> tokens, tokenizer.Encode(prompt, {}));
  GenerationOptions options;
  options.max_tokens = 8;
  PTXSMITH_ASSIGN_OR_RETURN(
      const GenerationStats stats,
      Generate(*model, tokenizer, tokens, options, [](absl::string_view text) {
        std::printf("%.*s", static_cast<int>(text.size()), text.data());
      }));
  std::printf("\n%u tokens\n", stats.generated_tokens);
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: run_model FILE PROMPT [DEVICE]\n");
    return 2;
  }
  const absl::Status status = Run(argv[1], argv[2], argc > 3 ? argv[3] : "auto");
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

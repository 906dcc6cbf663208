#include "tools/open_model.h"

#include <chrono>
#include <cstdio>
#include <utility>

#include "codegen/status_macros.h"
#include "runtime/debug_flags.h"
#include "runtime/device.h"
#include "tools/progress.h"

namespace ptxsmith {

void AddModelFlags(CLI::App& command, ModelOptions& options) {
  command.add_option("-m,--model", options.model, "GGUF file")->required();
  command.add_option("--device", options.device,
                     "auto (the first GPU, else the emulator), cuda:N or emu:smXX");
  command.add_option("-c,--ctx-size", options.context,
                     "Positions of the context; 0: what the model was trained for");
}

absl::StatusOr<OpenedModel> OpenModel(const ModelOptions& options) {
  const auto start = std::chrono::steady_clock::now();
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(options.model));
  PTXSMITH_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Create(file));
  PTXSMITH_ASSIGN_OR_RETURN(const DebugFlags flags, DebugFlags::FromEnvironment());
  PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<Device> device,
                            Device::Open(options.device, flags));
  auto cache = std::make_unique<ModuleCache>(device);
  std::unique_ptr<Transformer> model;
  {
    constexpr uint64_t kStep = 1 << 20;
    Progress progress("load, MiB", file.size() / kStep);
    uint64_t shown = 0;
    TransformerOptions transformer;
    transformer.context = options.context;
    transformer.progress = [&](uint64_t done, uint64_t) {
      progress.Advance(done / kStep - shown);
      shown = done / kStep;
    };
    PTXSMITH_ASSIGN_OR_RETURN(model, Transformer::Load(file, *cache, transformer));
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  const CacheStats stats = cache->stats();
  std::fprintf(stderr, "device   %s, %s\n", device->profile().name.c_str(),
               device->profile().description.c_str());
  std::fprintf(stderr, "kernels  %llu generated in %.1f ms, compiled in %.1f ms\n",
               static_cast<unsigned long long>(stats.builds), stats.build_ms, stats.compile_ms);
  std::fprintf(stderr, "load     %.2f s, %.1f MB of weights, context %u\n", seconds,
               static_cast<double>(model->weight_bytes()) / 1e6, model->context());
  return OpenedModel{std::move(tokenizer), std::move(cache), std::move(model)};
}

}  // namespace ptxsmith

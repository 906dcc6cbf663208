#include "tools/open_model.h"

#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <utility>

#include "codegen/status_macros.h"
#include "runtime/debug_flags.h"
#include "runtime/device.h"
#include "tools/progress.h"

namespace ptxsmith {

void AddDeviceFlags(CLI::App& command, ModelOptions& options) {
  command.add_option("--device", options.device,
                     "auto (the first GPU, else the emulator), cuda:N or emu:smXX");
  command.add_option("-c,--ctx-size", options.context,
                     "Positions of the context; 0: what the model was trained for");
  command
      .add_option("--ubatch-size", options.batch,
                  "Tokens of a prompt that are run at once, at most")
      ->check(CLI::Range(1u, 1u << 16))
      ->capture_default_str();
  command
      .add_option("--cache-type", options.kv_type,
                  "Type of the cached keys and values: f16 or q8_0")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, QuantType>{{"f16", QuantType::kF16}, {"q8_0", QuantType::kQ8_0}}))
      ->default_str("f16");
}

void AddModelFlags(CLI::App& command, ModelOptions& options) {
  command.add_option("-m,--model", options.model, "GGUF file")->required();
  AddDeviceFlags(command, options);
}

absl::StatusOr<OpenedModel> OpenModel(const ModelOptions& options) {
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(options.model));
  PTXSMITH_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Create(file));
  PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<Device> device, OpenDevice(options.device));
  PTXSMITH_ASSIGN_OR_RETURN(OpenedTransformer opened,
                            OpenTransformer(options, file, std::move(device)));
  return OpenedModel{std::move(tokenizer), std::move(opened.cache), std::move(opened.model)};
}

absl::StatusOr<std::shared_ptr<Device>> OpenDevice(const std::string& name) {
  PTXSMITH_ASSIGN_OR_RETURN(const DebugFlags flags, DebugFlags::FromEnvironment());
  return Device::Open(name, flags);
}

absl::StatusOr<OpenedTransformer> OpenTransformer(const ModelOptions& options, const GgufFile& file,
                                                  std::shared_ptr<Device> device) {
  const auto start = std::chrono::steady_clock::now();
  auto cache = std::make_unique<ModuleCache>(device);
  std::unique_ptr<Transformer> model;
  {
    constexpr uint64_t kStep = 1 << 20;
    Progress progress("load, MiB", file.size() / kStep);
    uint64_t shown = 0;
    TransformerOptions transformer;
    transformer.context = options.context;
    transformer.batch = options.batch;
    transformer.kv_type = options.kv_type;
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
  return OpenedTransformer{std::move(cache), std::move(model)};
}

}  // namespace ptxsmith

#include "tools/open_model.h"

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/kernel_list.h"
#include "runtime/debug_flags.h"
#include "runtime/device.h"
#include "tools/profile_file.h"
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
  command
      .add_option(
          "--activations", options.activations,
          "How activations enter the products of single tokens: f32 (in tiled kernels of 15 "
          "bits), int8 (in tiled kernels of 8) or q8_1")
      ->transform(CLI::CheckedTransformer(std::map<std::string, Activations>{
          {"f32", Activations::kF32}, {"int8", Activations::kInt8}, {"q8_1", Activations::kQ8_1}}))
      ->default_str("f32");
  command
      .add_option("--products", options.products,
                  "What multiplies the matrices of prompts: auto, cuBLASLt (library) or generated "
                  "kernels")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, Products>{{"auto", Products::kAuto},
                                          {"library", Products::kLibrary},
                                          {"generated", Products::kGenerated}}))
      ->default_str("auto");
  command
      .add_option("--prompt-weights", options.prompt_weights,
                  "What prompts are multiplied with: file (expanded for every prompt), or copies "
                  "kept as f16 or e4m3 (FP8, less exact)")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, PromptWeights>{{"file", PromptWeights::kExpanded},
                                               {"f16", PromptWeights::kHalf},
                                               {"e4m3", PromptWeights::kE4M3}}))
      ->default_str("file");
  command.add_option("--gpu-profile", options.gpu_profile, "What `ptxsmith tune` measured");
}

void AddModelFlags(CLI::App& command, ModelOptions& options) {
  command.add_option("-m,--model", options.model, "GGUF file")->required();
  AddDeviceFlags(command, options);
}

namespace {

// The kernels of the model, before it needs them: all at once in parallel rather than one by one.
// Returns how many milliseconds that took.
absl::StatusOr<double> CompileAll(const GgufFile& file, const TransformerOptions& options,
                                  ModuleCache& cache) {
  const auto start = std::chrono::steady_clock::now();
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<KernelSpec> kernels,
                            KernelsOf(file, cache.device()->profile(), options));
  Progress progress("compile", kernels.size());
  PTXSMITH_RETURN_IF_ERROR(cache.Prefetch(kernels, 0, [&](size_t, size_t) { progress.Advance(); }));
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

// "16: 4 compiled, 12 from disk"
std::string Origins(const CacheStats& stats) {
  std::string text = absl::StrCat(
      stats.builds, ": ", stats.builds - stats.from_disk - stats.from_driver_cache, " compiled");
  if (stats.from_disk > 0) absl::StrAppend(&text, ", ", stats.from_disk, " from disk");
  if (stats.from_driver_cache > 0) {
    absl::StrAppend(&text, ", ", stats.from_driver_cache, " from the driver's cache");
  }
  return text;
}

}  // namespace

absl::StatusOr<TransformerOptions> TransformerOptionsOf(const ModelOptions& options,
                                                        const DeviceProfile& device) {
  TransformerOptions transformer;
  transformer.context = options.context;
  transformer.slots = options.slots;
  transformer.batch = options.batch;
  transformer.kv_type = options.kv_type;
  transformer.activations = options.activations;
  transformer.products = options.products;
  transformer.prompt_weights = options.prompt_weights;
  transformer.logit_rows = options.logit_rows;
  transformer.lowering = options.lowering;
  if (options.gpu_profile.empty()) return transformer;
  size_t ignored = 0;
  PTXSMITH_ASSIGN_OR_RETURN(GpuProfile profile, ReadProfile(options.gpu_profile, device, &ignored));
  if (ignored > 0) {
    std::fprintf(stderr, "profile  %zu choices of %s do not hold for this device or program\n",
                 ignored, options.gpu_profile.c_str());
  }
  transformer.profile = std::make_shared<const GpuProfile>(std::move(profile));
  return transformer;
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
                                                  const std::shared_ptr<Device>& device) {
  const auto start = std::chrono::steady_clock::now();
  auto cache = std::make_unique<ModuleCache>(device, CompilationFor(*device));
  PTXSMITH_ASSIGN_OR_RETURN(TransformerOptions transformer,
                            TransformerOptionsOf(options, device->profile()));
  PTXSMITH_ASSIGN_OR_RETURN(const double compile_ms, CompileAll(file, transformer, *cache));
  std::unique_ptr<Transformer> model;
  {
    constexpr uint64_t kStep = 1 << 20;
    Progress progress("load, MiB", file.size() / kStep);
    uint64_t shown = 0;
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
  std::fprintf(stderr, "kernels  %s in %.1f ms\n", Origins(stats).c_str(), compile_ms);
  std::fprintf(stderr, "load     %.2f s, %.1f MB of weights, context %u\n", seconds,
               static_cast<double>(model->weight_bytes()) / 1e6, model->context());
  return OpenedTransformer{std::move(cache), std::move(model)};
}

}  // namespace ptxsmith

// ptxsmith warm: compiles the kernels of a model into the cache ahead of time, also for a GPU that
// is not there.
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/kernel_list.h"
#include "runtime/dry_device.h"
#include "runtime/module_cache.h"
#include "tools/command.h"
#include "tools/progress.h"

namespace ptxsmith {
namespace {

struct Options {
  std::string model;
  std::string arch;  // empty: of the first GPU here
  uint32_t context = 0;
  int threads = 0;
};

absl::StatusOr<DeviceProfile> ProfileFor(const std::string& arch) {
  if (!arch.empty()) return DryProfile(arch);
  const absl::StatusOr<std::shared_ptr<Device>> gpu = Device::Open("cuda:0");
  if (gpu.ok()) return (*gpu)->profile();
  return absl::Status(gpu.status().code(), absl::StrCat(gpu.status().message(),
                                                        "; name the GPU to compile for, such as "
                                                        "--arch sm_90"));
}

absl::Status Warm(const Options& options) {
  PTXSMITH_ASSIGN_OR_RETURN(const DebugFlags flags, DebugFlags::FromEnvironment());
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(options.model));
  PTXSMITH_ASSIGN_OR_RETURN(const DeviceProfile profile, ProfileFor(options.arch));
  Compilation compilation;
  PTXSMITH_ASSIGN_OR_RETURN(compilation.compiler,
                            OpenPtxCompiler({profile.driver_version, flags.cuda_home}));
  DiskCache::Options disk;
  disk.folder = flags.cache_dir;
  PTXSMITH_ASSIGN_OR_RETURN(compilation.disk, DiskCache::Open(std::move(disk)));

  const auto start = std::chrono::steady_clock::now();
  TransformerOptions transformer;
  transformer.context = options.context;
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<KernelSpec> kernels,
                            KernelsOf(file, profile, transformer));
  ModuleCache cache(OpenDryDevice(profile), compilation);
  Progress progress("compile", kernels.size());
  PTXSMITH_RETURN_IF_ERROR(
      cache.Prefetch(kernels, options.threads, [&](size_t, size_t) { progress.Advance(); }));
  const DiskCacheStats stats = compilation.disk->stats();
  if (stats.hits + stats.stored < kernels.size()) {
    return absl::UnavailableError(absl::StrCat("of ", kernels.size(), " kernels only ",
                                               stats.hits + stats.stored, " are in ",
                                               compilation.disk->folder()));
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("%zu kernels for %s: %llu compiled by %s, %llu were there, %.3f s\n%s\n",
              kernels.size(), ArchFor(*cache.device()).c_str(),
              static_cast<unsigned long long>(stats.stored), compilation.compiler->id().c_str(),
              static_cast<unsigned long long>(stats.hits), seconds,
              compilation.disk->folder().c_str());
  return absl::OkStatus();
}

}  // namespace

void AddWarmCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("warm", "Compile the kernels of a model into the cache ahead of time");
  command->add_option("-m,--model", options->model, "GGUF file")->required();
  command->add_option("--arch", options->arch,
                      "GPU to compile for, such as sm_90; left out: the first one here");
  command->add_option("-c,--ctx-size", options->context,
                      "Positions of the context, as `run` will have it");
  command->add_option("-t,--threads", options->threads, "Compilations at a time; 0: all cores")
      ->check(CLI::Range(0, 1024));
  command->callback([options, &result] { result = Warm(*options); });
}

}  // namespace ptxsmith

// ptxsmith warm: compiles the kernels of a model into the cache ahead of time, also for a GPU that
// is not there.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/kernel_list.h"
#include "model/sampler.h"
#include "runtime/dry_device.h"
#include "runtime/module_cache.h"
#include "tools/command.h"
#include "tools/open_model.h"
#include "tools/progress.h"

namespace ptxsmith {
namespace {

struct Options {
  ModelOptions model;
  std::string arch;  // empty: of the device
  int threads = 0;
  // What `run --temp` takes unless told otherwise; the numbers themselves are no part of kernels.
  SamplerOptions sampling = {.temperature = 1, .penalty = 1.1f};
};

absl::StatusOr<DeviceProfile> ProfileFor(const Options& options) {
  if (!options.arch.empty()) return DryProfile(options.arch);
  PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<Device> device, OpenDevice(options.model.device));
  if (!device->profile().emulated) return device->profile();
  return absl::FailedPreconditionError(
      "there is no GPU here; name the one to compile for, such as --arch sm_90");
}

absl::Status Warm(const Options& options) {
  PTXSMITH_ASSIGN_OR_RETURN(const DebugFlags flags, DebugFlags::FromEnvironment());
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(options.model.model));
  PTXSMITH_ASSIGN_OR_RETURN(const DeviceProfile profile, ProfileFor(options));
  Compilation compilation;
  PTXSMITH_ASSIGN_OR_RETURN(compilation.compiler,
                            OpenPtxCompiler({profile.driver_version, flags.cuda_home}));
  DiskCache::Options disk;
  disk.folder = flags.cache_dir;
  PTXSMITH_ASSIGN_OR_RETURN(compilation.disk, DiskCache::Open(std::move(disk)));

  const auto start = std::chrono::steady_clock::now();
  PTXSMITH_ASSIGN_OR_RETURN(const TransformerOptions transformer,
                            TransformerOptionsOf(options.model, profile));
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<KernelSpec> kernels,
                            KernelsOf(file, profile, transformer, options.sampling));
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
              kernels.size(), ArchFor(*cache.device(), profile.target).c_str(),
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
  AddModelFlags(*command, options->model);
  command->add_option("--arch", options->arch,
                      "GPU to compile for, such as sm_90; left out: the device");
  command->add_option("-t,--threads", options->threads, "Compilations at a time; 0: all cores")
      ->check(CLI::Range(0, 1024));
  command
      ->add_option("--top-k", options->sampling.top_k,
                   "Of `run --temp T`: sample among the k likeliest")
      ->capture_default_str();
  command->callback([options, &result] { result = Warm(*options); });
}

}  // namespace ptxsmith

// ptxsmith bench-jit: what it costs to come from a model to loaded kernels, beside NVRTC.
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/kernel_list.h"
#include "model/synthetic.h"
#include "ptx_templates/registry.h"
#include "runtime/dry_device.h"
#include "runtime/module_cache.h"
#include "runtime/nvrtc.h"
#include "tools/command.h"
#include "tools/cuda_equivalents.h"

namespace ptxsmith {
namespace {

struct Options {
  std::string model;
  std::string synthetic = "llama3-8b:q4_k_m";
  std::string device = "cuda:0";
  uint32_t context = 4096;
  int repeats = 5;
};

using Kernels = std::vector<KernelSpec>;

void Row(const char* what, double milliseconds, const std::string& note) {
  std::printf("%-44s %10.3f ms  %s\n", what, milliseconds, note.c_str());
}

// The median time of `run`, which is first run once so that libraries are there.
absl::StatusOr<double> Milliseconds(int repeats, absl::FunctionRef<absl::Status()> run) {
  std::vector<double> times;
  for (int i = 0; i <= repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    PTXSMITH_RETURN_IF_ERROR(run());
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - start;
    if (i > 0) times.push_back(time.count());
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

// `work(i)` for every i below `count`, on several threads; the first failure in order.
absl::Status OnThreads(int threads, size_t count, const std::function<absl::Status(size_t)>& work) {
  std::vector<absl::Status> results(count);
  std::vector<std::thread> pool;
  pool.reserve(static_cast<size_t>(threads));
  for (int t = 0; t < threads; ++t) {
    pool.emplace_back([&, t] {
      for (size_t i = static_cast<size_t>(t); i < count; i += static_cast<size_t>(threads)) {
        results[i] = work(i);
      }
    });
  }
  for (std::thread& thread : pool) thread.join();
  for (const absl::Status& result : results) PTXSMITH_RETURN_IF_ERROR(result);
  return absl::OkStatus();
}

absl::Status PrefetchWith(const std::shared_ptr<Device>& device, const Compilation& compilation,
                          const Kernels& kernels, int threads) {
  ModuleCache cache(device, compilation);
  return cache.Prefetch(kernels, threads, [](size_t, size_t) {});
}

// Removed with everything in it when it goes out of scope.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    path_ = (std::filesystem::temp_directory_path() / absl::StrCat("ptxsmith-bench-jit-", getpid()))
                .string();
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// The GPU; without one a device on which loading costs nothing.
absl::StatusOr<std::shared_ptr<Device>> OpenBenchDevice(const Options& options) {
  // The driver must not know these kernels from an earlier run. It reads this when it starts.
  setenv("CUDA_CACHE_DISABLE", "1", /*overwrite=*/1);
  PTXSMITH_ASSIGN_OR_RETURN(const DebugFlags flags, DebugFlags::FromEnvironment());
  absl::StatusOr<std::shared_ptr<Device>> device = Device::Open(options.device, flags);
  if (device.ok() && (*device)->profile().emulated) {
    return absl::InvalidArgumentError("the emulator compiles nothing");
  }
  if (device.ok() || !absl::IsUnavailable(device.status())) return device;
  std::printf("%s: kernels are compiled for sm_90 and not loaded\n",
              std::string(device.status().message()).c_str());
  PTXSMITH_ASSIGN_OR_RETURN(DeviceProfile profile, DryProfile("sm_90"));
  const std::shared_ptr<Device> dry = OpenDryDevice(std::move(profile));
  dry->SetDebug(flags);
  return dry;
}

absl::Status BenchColdAndWarm(const Options& options, const std::shared_ptr<Device>& device,
                              const Kernels& kernels, double text_ms) {
  Compilation compilation;
  const DeviceProfile& profile = device->profile();
  PTXSMITH_ASSIGN_OR_RETURN(compilation.compiler,
                            OpenPtxCompiler({profile.driver_version, device->debug().cuda_home}));
  std::printf("compiler: %s of %s\n", compilation.compiler->id().c_str(),
              compilation.compiler->library().c_str());
  for (const int threads : {1, 2, 4, 8}) {
    PTXSMITH_ASSIGN_OR_RETURN(const double ms, Milliseconds(1, [&] {
                                return PrefetchWith(device, compilation, kernels, threads);
                              }));
    Row(absl::StrCat("cold, compiled and loaded, threads: ", threads).c_str(), ms, "");
  }
  if (!profile.dry) {
    PTXSMITH_ASSIGN_OR_RETURN(
        const double ms, Milliseconds(1, [&] { return PrefetchWith(device, {}, kernels, 8); }));
    Row("cold, by the driver's loader, threads: 8", ms, "its cache off");
  }

  const TemporaryFolder folder;
  PTXSMITH_ASSIGN_OR_RETURN(compilation.disk, DiskCache::Open({folder.path()}));
  PTXSMITH_RETURN_IF_ERROR(PrefetchWith(device, compilation, kernels, 8));
  for (const int threads : {1, 8}) {
    PTXSMITH_ASSIGN_OR_RETURN(const double ms, Milliseconds(options.repeats, [&] {
                                return PrefetchWith(device, compilation, kernels, threads);
                              }));
    Row(absl::StrCat("warm, from disk and loaded, threads: ", threads).c_str(), ms,
        absl::StrCat(static_cast<int>(1e3 * ms / static_cast<double>(kernels.size())),
                     " us a kernel; with the text ", static_cast<int>(1e3 * (ms + text_ms)),
                     " us the model"));
  }
  return absl::OkStatus();
}

absl::Status BenchLookup(const std::shared_ptr<Device>& device, const Kernels& kernels) {
  constexpr int kLookups = 1 << 20;
  const std::shared_ptr<DryDevice> dry = OpenDryDevice(device->profile());
  ModuleCache cache(dry);
  PTXSMITH_RETURN_IF_ERROR(cache.Prefetch(kernels, 1, [](size_t, size_t) {}));
  PTXSMITH_ASSIGN_OR_RETURN(const double ms, Milliseconds(3, [&]() -> absl::Status {
                              for (int i = 0; i < kLookups; ++i) {
                                const std::string& key = kernels[i % kernels.size()].key;
                                const auto module = cache.GetOrBuild(
                                    key, [] { return absl::InternalError("not in the cache"); });
                                if (!module.ok()) return module.status();
                              }
                              return absl::OkStatus();
                            }));
  std::printf("%-44s %10.1f ns\n", "a kernel that is in memory, by its key", 1e6 * ms / kLookups);
  return absl::OkStatus();
}

absl::Status BenchNvrtc(const std::shared_ptr<Device>& device) {
  const std::vector<CudaEquivalent> pairs = CudaEquivalents();
  const std::string arch = ArchFor(*device, device->profile().target);
  const std::string& cuda_home = device->debug().cuda_home;
  PTXSMITH_ASSIGN_OR_RETURN(const auto compiler,
                            OpenPtxCompiler({device->profile().driver_version, cuda_home}));
  const auto generate = [&](size_t i) -> absl::Status {
    PTXSMITH_ASSIGN_OR_RETURN(const KernelSpec spec,
                              BuildFromKey(pairs[i].key, device->profile().target));
    return compiler->Compile(spec, arch).status();
  };
  std::printf("\n%zu kernels that exist in both, from nothing to machine code\n", pairs.size());
  for (const int threads : {1, 8}) {
    PTXSMITH_ASSIGN_OR_RETURN(const double ms, Milliseconds(1, [&] {
                                return OnThreads(threads, pairs.size(), generate);
                              }));
    Row(absl::StrCat("ptxsmith, threads: ", threads).c_str(), ms, "");
  }
  const absl::StatusOr<std::shared_ptr<const Nvrtc>> nvrtc = Nvrtc::Open(cuda_home);
  if (!nvrtc.ok()) {
    std::printf("no NVRTC: %s\n", std::string(nvrtc.status().message()).c_str());
    return absl::OkStatus();
  }
  const auto compile = [&](size_t i) {
    return (*nvrtc)->CompileToCubin(pairs[i].cuda, arch).status();
  };
  for (const int threads : {1, 8}) {
    PTXSMITH_ASSIGN_OR_RETURN(const double ms, Milliseconds(1, [&] {
                                return OnThreads(threads, pairs.size(), compile);
                              }));
    Row(absl::StrCat((*nvrtc)->id(), " on CUDA C++, threads: ", threads).c_str(), ms, "");
  }
  return absl::OkStatus();
}

absl::Status BenchJit(const Options& options) {
  absl::StatusOr<GgufFile> file =
      options.model.empty() ? SyntheticModel(options.synthetic) : GgufFile::Open(options.model);
  if (!file.ok()) return file.status();
  PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<Device> device, OpenBenchDevice(options));
  std::printf("%s\n", device->profile().ToString().c_str());
  TransformerOptions transformer;
  transformer.context = options.context;
  Kernels kernels;
  PTXSMITH_ASSIGN_OR_RETURN(
      const double text_ms, Milliseconds(options.repeats, [&]() -> absl::Status {
        PTXSMITH_ASSIGN_OR_RETURN(kernels, KernelsOf(*file, device->profile(), transformer));
        return absl::OkStatus();
      }));
  size_t bytes = 0;
  for (const KernelSpec& kernel : kernels) bytes += kernel.ptx.size();
  std::printf("\nthe %zu kernels of %s\n", kernels.size(),
              options.model.empty() ? options.synthetic.c_str() : options.model.c_str());
  for (const int threads : {1, 8}) {
    PTXSMITH_ASSIGN_OR_RETURN(
        const double pure_ms, Milliseconds(options.repeats, [&] {
          return OnThreads(threads, kernels.size(), [&](size_t i) {
            return BuildFromKey(kernels[i].key, device->profile().target).status();
          });
        }));
    Row(absl::StrCat("PTX text of the kernels, threads: ", threads).c_str(), pure_ms,
        absl::StrCat(bytes / 1024, " KiB"));
  }
  Row("the same with all launches of the model", text_ms, "found by loading it on a dry device");
  PTXSMITH_RETURN_IF_ERROR(BenchColdAndWarm(options, device, kernels, text_ms));
  PTXSMITH_RETURN_IF_ERROR(BenchLookup(device, kernels));
  return BenchNvrtc(device);
}

}  // namespace

void AddBenchJitCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "bench-jit", "Time the way from a model to loaded kernels: text, compilation, cache, lookup");
  command->add_option("-m,--model", options->model, "GGUF file instead of a synthetic model");
  command->add_option("--synthetic", options->synthetic, "Shape and types of a well-known model")
      ->capture_default_str();
  command->add_option("--device", options->device, "GPU")->capture_default_str();
  command->add_option("-c,--ctx-size", options->context, "Positions of the context")
      ->capture_default_str();
  command->add_option("-r,--repeats", options->repeats, "Runs of what is quick; the median counts")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->callback([options, &result] { result = BenchJit(*options); });
}

}  // namespace ptxsmith

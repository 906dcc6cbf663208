#include "runtime/module_cache.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

using Clock = std::chrono::steady_clock;

double MsSince(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

absl::Status WriteText(const std::string& folder, std::string name, const std::string& text) {
  std::replace(name.begin(), name.end(), '/', '_');
  const std::filesystem::path path = std::filesystem::path(folder) / name;
  std::error_code ignored;  // what goes wrong here shows when the file is opened
  std::filesystem::create_directories(folder, ignored);
  std::ofstream file(path, std::ios::binary);
  file << text;
  file.close();
  if (file.good()) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write ", path.string()));
}

// The driver does not take this code, as opposed to: something else is wrong.
bool IsRefusal(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status);
}

}  // namespace

std::string CacheStats::ToString() const {
  return absl::StrFormat(
      "kernels: %d built in %.1f ms and loaded in %.1f ms (%d from disk, %d from the driver's "
      "cache), %d failed, %d answered from memory",
      builds, build_ms, compile_ms, from_disk, from_driver_cache, failures, hits);
}

Compilation CompilationFor(const Device& device) {
  const DebugFlags& flags = device.debug();
  Compilation compilation;
  if (device.profile().emulated) return compilation;
  compilation.forbid_build = flags.forbid_build;
  absl::StatusOr<std::shared_ptr<const PtxCompiler>> compiler =
      OpenPtxCompiler({device.profile().driver_version, flags.cuda_home});
  if (!compiler.ok()) {
    flags.log(absl::StrCat(compiler.status().message(), "; the driver compiles, one by one"));
    return compilation;
  }
  compilation.compiler = *std::move(compiler);
  if (flags.cache_dir.empty()) return compilation;
  DiskCache::Options options;
  options.folder = flags.cache_dir;
  options.log = flags.log;
  absl::StatusOr<std::shared_ptr<DiskCache>> disk = DiskCache::Open(std::move(options));
  device.LogFailure(disk.status());
  if (disk.ok()) compilation.disk = *std::move(disk);
  return compilation;
}

std::string ArchFor(const Device& device, const Target& target) {
  return absl::StrCat("sm_", device.profile().capability, target.specific ? "a" : "");
}

ModuleCache::ModuleCache(std::shared_ptr<Device> device, Compilation compilation)
    : device_(std::move(device)), compilation_(std::move(compilation)) {}

ModuleCache::~ModuleCache() {
  if (device_->debug().level >= 1) device_->debug().log(stats().ToString());
}

CacheStats ModuleCache::stats() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return stats_;
}

ModuleCache::Result ModuleCache::GetOrBuild(absl::string_view key,
                                            absl::FunctionRef<absl::StatusOr<KernelSpec>()> build) {
  std::shared_ptr<Slot> slot;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    if (const auto found = slots_.find(key); found != slots_.end()) {
      if (!found->second->result.has_value()) {
        slot = found->second;  // a failure takes it out of the table
        built_.wait(lock, [&] { return slot->result.has_value(); });
        if (slot->result->ok()) ++stats_.hits;
        return *slot->result;
      }
      ++stats_.hits;
      return *found->second->result;
    }
    slot = std::make_shared<Slot>();
    slots_.emplace(key, slot);
  }
  Result result = Build(key, build);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    slot->result = result;
    if (!result.ok()) {
      ++stats_.failures;
      slots_.erase(key);  // those who wait hold the slot
    }
  }
  built_.notify_all();
  return result;
}

absl::Status ModuleCache::Prefetch(absl::Span<const KernelSpec> kernels, int threads,
                                   Progress progress) {
  if (threads <= 0) threads = static_cast<int>(std::thread::hardware_concurrency());
  threads = std::max(1, std::min(threads, static_cast<int>(kernels.size())));
  // The longest texts first: one that takes as long as all others together must not come last.
  std::vector<size_t> order(kernels.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return kernels[a].ptx.size() > kernels[b].ptx.size();
  });
  std::vector<absl::Status> results(kernels.size());
  std::atomic<size_t> next = 0;
  std::mutex progress_mutex;
  size_t done = 0;
  const auto work = [&] {
    for (size_t n = next.fetch_add(1); n < order.size(); n = next.fetch_add(1)) {
      const size_t i = order[n];
      results[i] = GetOrBuild(kernels[i].key, [&] { return kernels[i]; }).status();
      const std::lock_guard<std::mutex> lock(progress_mutex);
      progress(++done, kernels.size());
    }
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(work);
  work();
  for (std::thread& thread : others) thread.join();
  for (const absl::Status& result : results) PTXSMITH_RETURN_IF_ERROR(result);
  return absl::OkStatus();
}

ModuleCache::Result ModuleCache::Build(absl::string_view key,
                                       absl::FunctionRef<absl::StatusOr<KernelSpec>()> build) {
  const Clock::time_point start = Clock::now();
  PTXSMITH_ASSIGN_OR_RETURN(const KernelSpec spec, build());
  if (spec.key != key) {
    return absl::InternalError(
        absl::StrCat("asked for kernel '", key, "' but '", spec.key, "' was built"));
  }
  const double build_ms = MsSince(start);
  Show(spec);
  const Clock::time_point compile_start = Clock::now();
  bool from_disk = false;
  std::string log;
  PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const Module> module, Load(spec, from_disk, log));
  const double compile_ms = MsSince(compile_start);
  if (device_->debug().level >= 4) {
    const CompileInfo& info = module->info();
    device_->debug().log(absl::StrFormat("%s %s in %.2f ms: %d registers, %d spill bytes\n%s",
                                         from_disk ? "loaded" : "compiled", key, compile_ms,
                                         info.registers, info.spill_bytes, log));
  }
  std::lock_guard<std::mutex> lock(mutex_);
  ++stats_.builds;
  stats_.build_ms += build_ms;
  stats_.compile_ms += compile_ms;
  if (from_disk) ++stats_.from_disk;
  if (module->info().from_driver_cache) ++stats_.from_driver_cache;
  return module;
}

ModuleCache::Result ModuleCache::Load(const KernelSpec& spec, bool& from_disk, std::string& log) {
  const auto& [compiler, disk, forbid_build] = compilation_;
  const std::string arch = ArchFor(*device_, spec.target);
  const std::string compiler_id = compiler == nullptr ? "" : compiler->id();
  const CubinId id = disk == nullptr ? CubinId() : CubinIdOf(spec, compiler_id, arch);
  if (disk != nullptr) {
    if (const std::optional<std::string> cubin = disk->Find(id)) {
      Result module = LoadCode(spec, *cubin);
      from_disk = module.ok();
      if (module.ok() || !IsRefusal(module.status())) return module;
    }
  }
  if (forbid_build) {
    return absl::FailedPreconditionError(
        absl::StrCat("building kernels is forbidden and ", spec.key, " is not in the cache (",
                     disk == nullptr ? "there is none"
                                     : absl::StrCat(disk->folder(), ", ", compiler_id, ", ", arch),
                     ")"));
  }
  if (compiler != nullptr) {
    absl::StatusOr<CompiledPtx> compiled = compiler->Compile(spec, arch);
    // The text is wrong, and every compiler would say so.
    if (absl::IsInvalidArgument(compiled.status())) return compiled.status();
    device_->LogFailure(compiled.status());
    if (compiled.ok()) {
      log = std::move(compiled->log);
      Result module = LoadCode(spec, compiled->cubin);
      if (module.ok() && disk != nullptr) disk->Store(id, compiled->cubin);
      if (module.ok() || !IsRefusal(module.status())) return module;
    }
  }
  Result module = device_->Load(spec);
  if (module.ok()) log = (*module)->info().log;
  return module;
}

// Code that the driver refuses, because it is older than the compiler or for whatever reason, is no
// failure: it can still compile the text itself.
ModuleCache::Result ModuleCache::LoadCode(const KernelSpec& spec, absl::string_view cubin) {
  Result module = device_->LoadCubin(spec, cubin);
  if (IsRefusal(module.status())) device_->LogFailure(module.status());
  return module;
}

// Before the device sees it, so that a text that is refused can be read.
void ModuleCache::Show(const KernelSpec& spec) const {
  const DebugFlags& debug = device_->debug();
  if (debug.level >= 3) debug.log(absl::StrCat(spec.key, "\n", spec.ptx));
  if (debug.dump_dir.empty()) return;
  device_->LogFailure(WriteText(debug.dump_dir, absl::StrCat(spec.key, ".ptx"), spec.ptx));
}

}  // namespace ptxsmith

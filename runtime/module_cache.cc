#include "runtime/module_cache.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <system_error>
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

}  // namespace

std::string CacheStats::ToString() const {
  return absl::StrFormat(
      "kernels: %d built in %.1f ms and compiled in %.1f ms, %d failed, %d answered from the cache",
      builds, build_ms, compile_ms, failures, hits);
}

ModuleCache::ModuleCache(std::shared_ptr<Device> device) : device_(std::move(device)) {}

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
      slot = found->second;
      built_.wait(lock, [&] { return slot->result.has_value(); });
      if (slot->result->ok()) ++stats_.hits;
      return *slot->result;
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

// A cache on disk would answer here, before `build`.
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
  PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const Module> module, device_->Load(spec));
  const double compile_ms = MsSince(compile_start);
  if (device_->debug().level >= 4) {
    const CompileInfo& info = module->info();
    device_->debug().log(absl::StrFormat("compiled %s in %.1f ms: %d registers, %d spill bytes\n%s",
                                         key, compile_ms, info.registers, info.spill_bytes,
                                         info.log));
  }
  std::lock_guard<std::mutex> lock(mutex_);
  ++stats_.builds;
  stats_.build_ms += build_ms;
  stats_.compile_ms += compile_ms;
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

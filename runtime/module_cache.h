// Compiled kernels by key: each is built and compiled once, however many threads ask. One per
// device; everything that runs kernels goes through it.
//
//   ModuleCache cache(device);
//   PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const Module> gemv, cache.GetOrBuild(
//       KeyOf(spec, target), [&] { return BuildGemv(spec, target); }));
//
// Thread-safe. Different keys build in parallel.
#ifndef PTXSMITH_RUNTIME_MODULE_CACHE_H_
#define PTXSMITH_RUNTIME_MODULE_CACHE_H_

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "codegen/kernel_spec.h"
#include "runtime/device.h"

namespace ptxsmith {

struct CacheStats {
  uint64_t hits = 0;      // answers without building, also those that waited for another's build
  uint64_t builds = 0;    // kernels built and compiled
  uint64_t failures = 0;  // builds or compilations that failed
  double build_ms = 0;    // spent generating text
  double compile_ms = 0;  // spent in the device's compiler

  std::string ToString() const;
};

class ModuleCache {
 public:
  explicit ModuleCache(std::shared_ptr<Device> device);
  ModuleCache(const ModuleCache&) = delete;
  ~ModuleCache();

  // The kernel with this key; on a miss what `build` makes, compiled. While one caller builds, the
  // others with the same key wait and share its result. A failure goes to all of them and is then
  // forgotten, so that a later call tries again. Internal if `build` makes a kernel with another
  // key, because whoever asks for that one would get the wrong text. REQUIRES: `build` does not ask
  // this cache for the same key.
  absl::StatusOr<std::shared_ptr<const Module>> GetOrBuild(
      absl::string_view key, absl::FunctionRef<absl::StatusOr<KernelSpec>()> build);

  CacheStats stats() const;
  const std::shared_ptr<Device>& device() const { return device_; }

 private:
  using Result = absl::StatusOr<std::shared_ptr<const Module>>;
  // A key's slot; without a result somebody is building it.
  struct Slot {
    std::optional<Result> result;
  };

  Result Build(absl::string_view key, absl::FunctionRef<absl::StatusOr<KernelSpec>()> build);
  void Show(const KernelSpec& spec) const;

  const std::shared_ptr<Device> device_;
  // Of the standard library rather than of abseil: race detectors see through it even where
  // abseil comes as a prebuilt package.
  mutable std::mutex mutex_;
  std::condition_variable built_;  // some slot got its result
  absl::flat_hash_map<std::string, std::shared_ptr<Slot>> slots_;
  CacheStats stats_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_MODULE_CACHE_H_

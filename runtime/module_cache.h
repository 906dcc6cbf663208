// Compiled kernels by key: each is built and compiled once, however many threads ask. One per
// device; everything that runs kernels goes through it.
//
//   ModuleCache cache(device, CompilationFor(*device));
//   PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const Module> gemv, cache.GetOrBuild(
//       KeyOf(spec, target), [&] { return BuildGemv(spec, target); }));
//
// Where a kernel comes from, in this order: this cache, the disk, the compiler, the device's own
// loader. The text is always generated (tens of microseconds), because only its hash proves that
// what lies on the disk is its code.
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
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codegen/kernel_spec.h"
#include "runtime/device.h"
#include "runtime/disk_cache.h"
#include "runtime/ptx_compiler.h"

namespace ptxsmith {

// What compiles a device's kernels and where they are kept. Both parts may be shared by the caches
// of several devices.
struct Compilation {
  std::shared_ptr<const PtxCompiler> compiler;  // null: the device's own loader
  std::shared_ptr<DiskCache> disk;              // null: nothing outlives the process
  bool forbid_build = false;  // a kernel that is not on the disk is FailedPrecondition
};

// As the environment, the driver and the machine have it (Device::debug). The emulator runs the
// text and compiles nothing. What is missing is logged, and kernels compile in a slower way.
Compilation CompilationFor(const Device& device);

// What a text for `target` is compiled for on this device: "sm_90", "sm_90a".
std::string ArchFor(const Device& device, const Target& target);

struct CacheStats {
  uint64_t hits = 0;       // answers without building, also those that waited for another's build
  uint64_t builds = 0;     // kernels made, from wherever their code came
  uint64_t failures = 0;   // builds or compilations that failed
  uint64_t from_disk = 0;  // of the builds: code from the disk cache
  uint64_t from_driver_cache = 0;  // of the builds: code from the driver's own cache
  double build_ms = 0;             // spent generating text, over all threads
  double compile_ms = 0;           // spent compiling and loading, over all threads

  std::string ToString() const;
};

class ModuleCache {
 public:
  explicit ModuleCache(std::shared_ptr<Device> device, Compilation compilation = {});
  ModuleCache(const ModuleCache&) = delete;
  ~ModuleCache();

  // The kernel with this key; on a miss what `build` makes, compiled. While one caller builds, the
  // others with the same key wait and share its result. A failure goes to all of them and is then
  // forgotten, so that a later call tries again. Internal if `build` makes a kernel with another
  // key, because whoever asks for that one would get the wrong text. REQUIRES: `build` does not ask
  // this cache for the same key.
  absl::StatusOr<std::shared_ptr<const Module>> GetOrBuild(
      absl::string_view key, absl::FunctionRef<absl::StatusOr<KernelSpec>()> build);

  // Called with how many are done and how many there are; by one thread at a time.
  using Progress = absl::FunctionRef<void(size_t done, size_t total)>;

  // Compiles these kernels, so that GetOrBuild finds them: `threads` at a time, on as many as the
  // machine has when 0. Tries all of them and returns the first failure in their order.
  absl::Status Prefetch(absl::Span<const KernelSpec> kernels, int threads, Progress progress);

  CacheStats stats() const;
  const std::shared_ptr<Device>& device() const { return device_; }
  const Compilation& compilation() const { return compilation_; }

 private:
  using Result = absl::StatusOr<std::shared_ptr<const Module>>;
  // A key's slot; without a result somebody is building it.
  struct Slot {
    std::optional<Result> result;
  };

  Result Build(absl::string_view key, absl::FunctionRef<absl::StatusOr<KernelSpec>()> build);
  // `from_disk` and `log` tell how it went.
  Result Load(const KernelSpec& spec, bool& from_disk, std::string& log);
  Result LoadCode(const KernelSpec& spec, absl::string_view cubin);
  void Show(const KernelSpec& spec) const;

  const std::shared_ptr<Device> device_;
  const Compilation compilation_;
  // Of the standard library rather than of abseil: race detectors see through it even where
  // abseil comes as a prebuilt package.
  mutable std::mutex mutex_;
  std::condition_variable built_;  // some slot got its result
  absl::flat_hash_map<std::string, std::shared_ptr<Slot>> slots_;
  CacheStats stats_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_MODULE_CACHE_H_

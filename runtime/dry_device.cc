#include "runtime/dry_device.h"

#include <atomic>
#include <limits>
#include <mutex>
#include <new>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

constexpr uint64_t kAlignment = 256;

class DryModule : public Module {
 public:
  DryModule(std::shared_ptr<Device> device, std::shared_ptr<const KernelSpec> spec)
      : device_(std::move(device)), spec_(std::move(spec)) {}

  const KernelSpec& spec() const override { return *spec_; }
  const CompileInfo& info() const override { return info_; }
  const std::shared_ptr<Device>& device() const override { return device_; }

 private:
  const std::shared_ptr<Device> device_;
  const std::shared_ptr<const KernelSpec> spec_;
  const CompileInfo info_;
};

class DryDeviceImpl : public DryDevice {
 public:
  explicit DryDeviceImpl(DeviceProfile profile) : profile_(std::move(profile)) {
    profile_.dry = true;
  }

  const DeviceProfile& profile() const override { return profile_; }
  std::vector<KernelSpec> kernels() const override {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<KernelSpec> kernels;
    kernels.reserve(kernels_.size());
    for (const std::shared_ptr<const KernelSpec>& kernel : kernels_) kernels.push_back(*kernel);
    return kernels;
  }

  absl::StatusOr<std::shared_ptr<const Module>> Load(const KernelSpec& spec) override {
    const auto kernel = std::make_shared<const KernelSpec>(spec);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (keys_.insert(spec.key).second) kernels_.push_back(kernel);
    return std::make_shared<DryModule>(shared_from_this(), kernel);
  }
  absl::StatusOr<std::shared_ptr<const Module>> LoadCubin(const KernelSpec& spec,
                                                          absl::string_view) override {
    return Load(spec);
  }

  absl::Status RawEnterContext() override {
    return absl::UnavailableError(absl::StrCat(profile_.name, " runs nothing"));
  }
  absl::StatusOr<DevicePtr> RawAllocate(uint64_t bytes, absl::string_view) override {
    return next_address_.fetch_add((bytes + kAlignment - 1) / kAlignment * kAlignment);
  }
  absl::Status RawFree(DevicePtr) override { return absl::OkStatus(); }
  absl::StatusOr<void*> RawAllocateHost(uint64_t bytes) override {
    return ::operator new (bytes, std::align_val_t{kAlignment});
  }
  absl::Status RawFreeHost(void* memory) override {
    ::operator delete (memory, std::align_val_t{kAlignment});
    return absl::OkStatus();
  }

  absl::StatusOr<Handle> RawNewStream() override { return NewHandle(); }
  absl::Status RawDestroyStream(Handle) override { return absl::OkStatus(); }
  absl::Status RawSynchronize(Handle) override { return absl::OkStatus(); }
  absl::Status RawCopyToDevice(Handle, DevicePtr, const void*, uint64_t) override {
    return absl::OkStatus();
  }
  absl::Status RawCopyToHost(Handle, void*, DevicePtr, uint64_t) override {
    return absl::OkStatus();
  }
  absl::Status RawCopyOnDevice(Handle, DevicePtr, DevicePtr, uint64_t) override {
    return absl::OkStatus();
  }
  absl::Status RawFill(Handle, DevicePtr, uint8_t, uint64_t) override { return absl::OkStatus(); }
  absl::Status RawLaunchKernel(Handle, const RawLaunch&) override { return absl::OkStatus(); }

  absl::StatusOr<Handle> RawNewEvent() override { return NewHandle(); }
  absl::Status RawDestroyEvent(Handle) override { return absl::OkStatus(); }
  absl::Status RawRecord(Handle, Handle) override { return absl::OkStatus(); }
  absl::Status RawWait(Handle, Handle) override { return absl::OkStatus(); }
  absl::Status RawAwait(Handle) override { return absl::OkStatus(); }
  absl::StatusOr<double> RawElapsedMs(Handle, Handle) override { return 0.0; }

  absl::Status RawBeginCapture(Handle) override { return absl::OkStatus(); }
  absl::StatusOr<Handle> RawEndCapture(Handle) override { return NewHandle(); }
  absl::StatusOr<Handle> RawBuildGraph(absl::Span<const RawLaunch>) override { return NewHandle(); }
  absl::Status RawDestroyGraph(Handle) override { return absl::OkStatus(); }
  absl::Status RawLaunchGraph(Handle, Handle) override { return absl::OkStatus(); }

 private:
  Handle NewHandle() { return next_handle_.fetch_add(1); }

  DeviceProfile profile_;
  std::atomic<DevicePtr> next_address_ = kAlignment;
  std::atomic<Handle> next_handle_ = 1;
  mutable std::mutex mutex_;
  absl::flat_hash_set<std::string> keys_;
  std::vector<std::shared_ptr<const KernelSpec>> kernels_;
};

// Multiprocessors and L2 of the model of each architecture that is found most in data centres, or
// of the largest where there is none.
struct Typical {
  int sm;
  uint32_t sm_count;
  uint32_t l2_mib;
};
constexpr Typical kTypical[] = {{61, 28, 3},     {70, 80, 6},    {75, 40, 4},   {80, 108, 40},
                                {86, 84, 6},     {89, 142, 96},  {90, 132, 50}, {100, 148, 126},
                                {103, 148, 126}, {120, 188, 128}};

}  // namespace

std::shared_ptr<DryDevice> OpenDryDevice(DeviceProfile profile) {
  return std::make_shared<DryDeviceImpl>(std::move(profile));
}

absl::StatusOr<DeviceProfile> DryProfile(absl::string_view arch) {
  DeviceProfile profile;
  PTXSMITH_ASSIGN_OR_RETURN(profile.target, Target::Parse(arch));
  profile.name = std::string(arch);
  profile.description = "no device";
  profile.capability = profile.target.sm;
  profile.max_ptx = MaxPtxVersionForDriver(std::numeric_limits<int>::max());
  profile.max_shared = profile.target.limits().max_shared;
  for (const Typical& typical : kTypical) {
    if (typical.sm > profile.target.sm) break;
    profile.sm_count = typical.sm_count;
    profile.l2_bytes = uint64_t{typical.l2_mib} << 20;
  }
  return profile;
}

}  // namespace ptxsmith

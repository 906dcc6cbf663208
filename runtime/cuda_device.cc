#include "runtime/cuda_device.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "codegen/negotiate.h"
#include "codegen/status_macros.h"
#include "runtime/cuda_context.h"
#include "runtime/cuda_launch.h"
#include "runtime/cuda_module.h"

namespace ptxsmith {
namespace {

template <class T>
DeviceBackend::Handle ToHandle(T* pointer) {
  return reinterpret_cast<DeviceBackend::Handle>(pointer);
}
CUstream AsStream(DeviceBackend::Handle handle) { return reinterpret_cast<CUstream>(handle); }
CUgraphExec AsGraph(DeviceBackend::Handle handle) { return reinterpret_cast<CUgraphExec>(handle); }
CUevent AsEvent(DeviceBackend::Handle handle) { return reinterpret_cast<CUevent>(handle); }

class CudaDevice : public Device {
 public:
  explicit CudaDevice(std::shared_ptr<const DriverApi> api) { context_.api = std::move(api); }
  ~CudaDevice() override;
  absl::Status Init(int ordinal);
  absl::Status Adopt(CUcontext context);

  const DeviceProfile& profile() const override { return profile_; }
  bool lost() const override { return context_.lost(); }
  absl::StatusOr<std::shared_ptr<const Module>> Load(const KernelSpec& spec) override {
    return CudaModule::Load(shared_from_this(), context_, spec, kOptimizeFully);
  }
  absl::StatusOr<std::shared_ptr<const Module>> LoadUnoptimized(const KernelSpec& spec) override {
    return CudaModule::Load(shared_from_this(), context_, spec, kOptimizeNothing);
  }
  absl::StatusOr<std::shared_ptr<const Module>> LoadCubin(const KernelSpec& spec,
                                                          absl::string_view cubin) override {
    return CudaModule::LoadCubin(shared_from_this(), context_, spec, cubin);
  }

  absl::Status RawEnterContext() override { return context_.MakeCurrent(); }
  absl::StatusOr<DevicePtr> RawAllocate(uint64_t bytes, absl::string_view name) override;
  absl::Status RawFree(DevicePtr ptr) override {
    return context_.Release(api().MemFree, static_cast<CUdeviceptr>(ptr), "cuMemFree");
  }

  absl::StatusOr<void*> RawAllocateHost(uint64_t bytes) override;
  absl::Status RawFreeHost(void* memory) override {
    return context_.Release(api().MemFreeHost, memory, "cuMemFreeHost");
  }

  absl::StatusOr<Handle> RawNewStream() override;
  absl::Status RawDestroyStream(Handle stream) override {
    return context_.Release(api().StreamDestroy, AsStream(stream), "cuStreamDestroy");
  }
  absl::Status RawSynchronize(Handle stream) override {
    return Call("cuStreamSynchronize", api().StreamSynchronize, AsStream(stream));
  }
  // Asynchronous when the host memory is pinned. For pageable memory the driver itself stages the
  // bytes or waits, so that both kinds are correct under the rule of DeviceBackend.
  absl::Status RawCopyToDevice(Handle stream, DevicePtr to, const void* from,
                               uint64_t bytes) override {
    return Call("cuMemcpyHtoDAsync", api().MemcpyHtoDAsync, to, from, bytes, AsStream(stream));
  }
  absl::Status RawCopyToHost(Handle stream, void* to, DevicePtr from, uint64_t bytes) override {
    return Call("cuMemcpyDtoHAsync", api().MemcpyDtoHAsync, to, from, bytes, AsStream(stream));
  }
  absl::Status RawCopyOnDevice(Handle stream, DevicePtr to, DevicePtr from,
                               uint64_t bytes) override {
    return Call("cuMemcpyDtoDAsync", api().MemcpyDtoDAsync, to, from, bytes, AsStream(stream));
  }
  absl::Status RawFill(Handle stream, DevicePtr to, uint8_t value, uint64_t bytes) override {
    return Call("cuMemsetD8Async", api().MemsetD8Async, to, value, bytes, AsStream(stream));
  }
  absl::Status RawLaunchKernel(Handle stream, const RawLaunch& launch) override {
    return LaunchKernel(context_, AsStream(stream), launch);
  }

  absl::StatusOr<Handle> RawNewEvent() override;
  absl::Status RawDestroyEvent(Handle event) override {
    return context_.Release(api().EventDestroy, AsEvent(event), "cuEventDestroy");
  }
  absl::Status RawRecord(Handle event, Handle stream) override {
    return Call("cuEventRecord", api().EventRecord, AsEvent(event), AsStream(stream));
  }
  absl::Status RawWait(Handle stream, Handle event) override {
    return Call("cuStreamWaitEvent", api().StreamWaitEvent, AsStream(stream), AsEvent(event),
                CU_EVENT_WAIT_DEFAULT);
  }
  absl::Status RawAwait(Handle event) override {
    return Call("cuEventSynchronize", api().EventSynchronize, AsEvent(event));
  }
  absl::StatusOr<double> RawElapsedMs(Handle begin, Handle end) override;

  // Only this thread's calls can spoil the capture.
  absl::Status RawBeginCapture(Handle stream) override {
    return Call("cuStreamBeginCapture", api().StreamBeginCapture, AsStream(stream),
                CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  }
  absl::StatusOr<Handle> RawEndCapture(Handle stream) override {
    PTXSMITH_ASSIGN_OR_RETURN(CUgraphExec graph, EndCapture(context_, AsStream(stream)));
    return ToHandle(graph);
  }
  absl::StatusOr<Handle> RawBuildGraph(absl::Span<const RawLaunch> launches) override {
    PTXSMITH_ASSIGN_OR_RETURN(CUgraphExec graph, BuildGraph(context_, launches));
    return ToHandle(graph);
  }
  absl::Status RawDestroyGraph(Handle graph) override {
    return context_.Release(api().GraphExecDestroy, AsGraph(graph), "cuGraphExecDestroy");
  }
  absl::Status RawLaunchGraph(Handle stream, Handle graph) override {
    return Call("cuGraphLaunch", api().GraphLaunch, AsGraph(graph), AsStream(stream));
  }

 private:
  const DriverApi& api() const { return *context_.api; }

  // One driver call on this device's context.
  template <class Function, class... Args>
  absl::Status Call(absl::string_view what, Function function, Args... args) const {
    PTXSMITH_RETURN_IF_ERROR(context_.MakeCurrent());
    return context_.Check(function(args...), what);
  }
  absl::StatusOr<int> Attribute(CUdevice_attribute attribute) const;
  absl::Status FillProfile(int ordinal);

  CudaContext context_;
  bool adopted_ = false;  // the context is the host program's
  DeviceProfile profile_;
};

absl::Status CudaDevice::Init(int ordinal) {
  PTXSMITH_RETURN_IF_ERROR(context_.Check(api().Init(0), "cuInit"));
  int count = 0;
  PTXSMITH_RETURN_IF_ERROR(context_.Check(api().DeviceGetCount(&count), "cuDeviceGetCount"));
  if (ordinal >= count) {
    return absl::UnavailableError(
        absl::StrCat("cuda:", ordinal, " does not exist; GPUs found: ", count));
  }
  PTXSMITH_RETURN_IF_ERROR(
      context_.Check(api().DeviceGet(&context_.device, ordinal), "cuDeviceGet"));
  PTXSMITH_RETURN_IF_ERROR(FillProfile(ordinal));
  return context_.Check(api().DevicePrimaryCtxRetain(&context_.context, context_.device),
                        "cuDevicePrimaryCtxRetain");
}

absl::Status CudaDevice::Adopt(CUcontext context) {
  PTXSMITH_RETURN_IF_ERROR(context_.Check(api().Init(0), "cuInit"));
  adopted_ = true;
  context_.context = context;
  PTXSMITH_RETURN_IF_ERROR(context_.MakeCurrent());
  PTXSMITH_RETURN_IF_ERROR(context_.Check(api().CtxGetDevice(&context_.device), "cuCtxGetDevice"));
  return FillProfile(context_.device);  // the driver's handles of devices are their ordinals
}

CudaDevice::~CudaDevice() {
  if (context_.context == nullptr || adopted_) return;
  LogFailure(
      context_.Check(api().DevicePrimaryCtxRelease(context_.device), "cuDevicePrimaryCtxRelease"));
}

absl::StatusOr<int> CudaDevice::Attribute(CUdevice_attribute attribute) const {
  int value = 0;
  const CUresult result = api().DeviceGetAttribute(&value, attribute, context_.device);
  if (result == CUDA_SUCCESS) return value;
  return context_.Failure(result,
                          absl::StrCat("cuDeviceGetAttribute ", static_cast<int>(attribute)));
}

absl::Status CudaDevice::FillProfile(int ordinal) {
  profile_.name = absl::StrCat("cuda:", ordinal);
  char description[256] = {};
  PTXSMITH_RETURN_IF_ERROR(context_.Check(
      api().DeviceGetName(description, sizeof(description), context_.device), "cuDeviceGetName"));
  profile_.description = description;
  PTXSMITH_RETURN_IF_ERROR(
      context_.Check(api().DriverGetVersion(&profile_.driver_version), "cuDriverGetVersion"));
  profile_.max_ptx = MaxPtxVersionForDriver(profile_.driver_version);
  PTXSMITH_ASSIGN_OR_RETURN(const int major,
                            Attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR));
  PTXSMITH_ASSIGN_OR_RETURN(const int minor,
                            Attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR));
  profile_.capability = major * 10 + minor;
  PTXSMITH_ASSIGN_OR_RETURN(profile_.target, NewestTarget(profile_.platform()));
  PTXSMITH_ASSIGN_OR_RETURN(profile_.sm_count, Attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
  PTXSMITH_ASSIGN_OR_RETURN(profile_.max_shared,
                            Attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN));
  PTXSMITH_ASSIGN_OR_RETURN(profile_.l2_bytes, Attribute(CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE));
  size_t total = 0;
  PTXSMITH_RETURN_IF_ERROR(
      context_.Check(api().DeviceTotalMem(&total, context_.device), "cuDeviceTotalMem"));
  profile_.total_memory = total;
  return absl::OkStatus();
}

absl::StatusOr<DevicePtr> CudaDevice::RawAllocate(uint64_t bytes, absl::string_view name) {
  PTXSMITH_RETURN_IF_ERROR(context_.MakeCurrent());
  CUdeviceptr ptr = 0;
  const CUresult result = api().MemAlloc(&ptr, bytes);
  if (result == CUDA_SUCCESS) return ptr;
  return context_.Failure(
      result, absl::StrCat("cuMemAlloc of ", bytes, " bytes for '", name, "' on ", profile_.name,
                           " (", profile_.total_memory, " bytes in all)"));
}

absl::StatusOr<void*> CudaDevice::RawAllocateHost(uint64_t bytes) {
  PTXSMITH_RETURN_IF_ERROR(context_.MakeCurrent());
  void* memory = nullptr;
  const CUresult result = api().MemHostAlloc(&memory, bytes, CU_MEMHOSTALLOC_PORTABLE);
  if (result == CUDA_SUCCESS) return memory;
  return context_.Failure(result, absl::StrCat("cuMemHostAlloc of ", bytes, " bytes"));
}

absl::StatusOr<DeviceBackend::Handle> CudaDevice::RawNewStream() {
  CUstream stream = nullptr;
  // Not ordered with the legacy stream of other users of the context.
  PTXSMITH_RETURN_IF_ERROR(
      Call("cuStreamCreate", api().StreamCreate, &stream, CU_STREAM_NON_BLOCKING));
  return ToHandle(stream);
}

absl::StatusOr<DeviceBackend::Handle> CudaDevice::RawNewEvent() {
  CUevent event = nullptr;
  PTXSMITH_RETURN_IF_ERROR(Call("cuEventCreate", api().EventCreate, &event, CU_EVENT_DEFAULT));
  return ToHandle(event);
}

absl::StatusOr<double> CudaDevice::RawElapsedMs(Handle begin, Handle end) {
  PTXSMITH_RETURN_IF_ERROR(RawAwait(end));
  float ms = 0;
  PTXSMITH_RETURN_IF_ERROR(context_.Check(api().EventElapsedTime(&ms, AsEvent(begin), AsEvent(end)),
                                          "cuEventElapsedTime"));
  return ms;
}

}  // namespace

absl::StatusOr<std::shared_ptr<Device>> OpenCuda(int ordinal) {
  PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const DriverApi> api, LoadDriverApi());
  return OpenCuda(ordinal, std::move(api));
}

absl::StatusOr<std::shared_ptr<Device>> OpenCuda(int ordinal,
                                                 std::shared_ptr<const DriverApi> api) {
  auto device = std::make_shared<CudaDevice>(std::move(api));
  PTXSMITH_RETURN_IF_ERROR(device->Init(ordinal));
  return device;
}

absl::StatusOr<std::shared_ptr<Device>> AdoptCuda(CUctx_st* context) {
  PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const DriverApi> api, LoadDriverApi());
  return AdoptCuda(context, std::move(api));
}

absl::StatusOr<std::shared_ptr<Device>> AdoptCuda(CUctx_st* context,
                                                  std::shared_ptr<const DriverApi> api) {
  auto device = std::make_shared<CudaDevice>(std::move(api));
  PTXSMITH_RETURN_IF_ERROR(device->Adopt(context));
  return device;
}

}  // namespace ptxsmith

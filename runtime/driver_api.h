// The calls of the CUDA driver that the runtime uses, as a plain table of function pointers. The
// driver is opened at run time, so that one binary runs with and without it; tests fill the table
// with fakes. Only the cuda_*.cc files call through it.
//
//   PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const DriverApi> api, LoadDriverApi());
//   const CUresult result = api->Init(0);
//   if (result != CUDA_SUCCESS) return ToStatus(*api, result, "cuInit");
//
// Immutable after loading; every entry may be called from any thread.
#ifndef PTXSMITH_RUNTIME_DRIVER_API_H_
#define PTXSMITH_RUNTIME_DRIVER_API_H_

#include <cuda.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ptxsmith {

// X(member, symbol of the library). Symbols with a version are the ones every driver since
// CUDA 11.0 exports. Kernels are loaded per context (cuModule...) rather than per process
// (cuLibrary...), which needs a driver for CUDA 12 and gains nothing with one context per device.
#define PTXSMITH_DRIVER_CALLS(X)                           \
  X(Init, cuInit)                                          \
  X(DriverGetVersion, cuDriverGetVersion)                  \
  X(GetErrorName, cuGetErrorName)                          \
  X(GetErrorString, cuGetErrorString)                      \
  X(DeviceGetCount, cuDeviceGetCount)                      \
  X(DeviceGet, cuDeviceGet)                                \
  X(DeviceGetName, cuDeviceGetName)                        \
  X(DeviceGetAttribute, cuDeviceGetAttribute)              \
  X(DeviceTotalMem, cuDeviceTotalMem_v2)                   \
  X(DevicePrimaryCtxRetain, cuDevicePrimaryCtxRetain)      \
  X(DevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2) \
  X(CtxSetCurrent, cuCtxSetCurrent)                        \
  X(CtxGetDevice, cuCtxGetDevice)                          \
  X(ModuleLoadDataEx, cuModuleLoadDataEx)                  \
  X(ModuleUnload, cuModuleUnload)                          \
  X(ModuleGetFunction, cuModuleGetFunction)                \
  X(FuncGetAttribute, cuFuncGetAttribute)                  \
  X(FuncSetAttribute, cuFuncSetAttribute)                  \
  X(MemAlloc, cuMemAlloc_v2)                               \
  X(MemFree, cuMemFree_v2)                                 \
  X(MemcpyHtoDAsync, cuMemcpyHtoDAsync_v2)                 \
  X(MemcpyDtoHAsync, cuMemcpyDtoHAsync_v2)                 \
  X(MemcpyDtoDAsync, cuMemcpyDtoDAsync_v2)                 \
  X(MemsetD8Async, cuMemsetD8Async)                        \
  X(StreamCreate, cuStreamCreate)                          \
  X(StreamDestroy, cuStreamDestroy_v2)                     \
  X(StreamSynchronize, cuStreamSynchronize)                \
  X(StreamWaitEvent, cuStreamWaitEvent)                    \
  X(EventCreate, cuEventCreate)                            \
  X(EventDestroy, cuEventDestroy_v2)                       \
  X(EventRecord, cuEventRecord)                            \
  X(EventSynchronize, cuEventSynchronize)                  \
  X(EventElapsedTime, cuEventElapsedTime)                  \
  X(MemHostAlloc, cuMemHostAlloc)                          \
  X(MemFreeHost, cuMemFreeHost)                            \
  X(StreamBeginCapture, cuStreamBeginCapture_v2)           \
  X(StreamEndCapture, cuStreamEndCapture)                  \
  X(GraphCreate, cuGraphCreate)                            \
  X(GraphDestroy, cuGraphDestroy)                          \
  X(GraphExecDestroy, cuGraphExecDestroy)                  \
  X(GraphLaunch, cuGraphLaunch)                            \
  X(LaunchKernel, cuLaunchKernel)

// The same of calls that came with a later CUDA than 11.0: null where the driver is older.
#define PTXSMITH_NEWER_DRIVER_CALLS(X)                          \
  X(GraphInstantiate, cuGraphInstantiateWithFlags) /* 11.4 */   \
  X(LaunchKernelEx, cuLaunchKernelEx)              /* 11.8 */   \
  X(GraphAddKernelNode, cuGraphAddKernelNode_v2)   /* 12.0 */   \
  X(GraphKernelNodeSetAttribute, cuGraphKernelNodeSetAttribute) \
  X(GraphAddDependencies, cuGraphAddDependencies_v2) /* 12.3 */

struct DriverApi {
#define PTXSMITH_DRIVER_MEMBER(member, symbol) decltype(&::symbol) member = nullptr;
  PTXSMITH_DRIVER_CALLS(PTXSMITH_DRIVER_MEMBER)
  PTXSMITH_NEWER_DRIVER_CALLS(PTXSMITH_DRIVER_MEMBER)
#undef PTXSMITH_DRIVER_MEMBER
};

// Opens the driver of this machine. Unavailable says in one line what is missing.
absl::StatusOr<std::shared_ptr<const DriverApi>> LoadDriverApi(
    const char* library = "libcuda.so.1");

// A failed call as a Status: "WHAT: CUDA_ERROR_OUT_OF_MEMORY (2): out of memory". Memory becomes
// ResourceExhausted, a missing or unusable driver or GPU Unavailable, a refused kernel text
// InvalidArgument, a lack of the driver or GPU FailedPrecondition, the rest Internal.
// REQUIRES: result != CUDA_SUCCESS.
absl::Status ToStatus(const DriverApi& api, CUresult result, absl::string_view what);

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_DRIVER_API_H_

// A GPU behind the CUDA driver API, on the primary context of its device, which it shares with
// other users of CUDA in the process (cudart, PyTorch), or on a context of the host program. Named
// by Device::Open, tests, and host programs that bring their own context.
//
//   PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<Device> device, OpenCuda(0));
//   device->profile().ToString();
//   device->profile().max_ptx;
//
// Thread-safety: as Device.
#ifndef PTXSMITH_RUNTIME_CUDA_DEVICE_H_
#define PTXSMITH_RUNTIME_CUDA_DEVICE_H_

#include <memory>

#include "absl/status/statusor.h"
#include "runtime/device.h"

struct CUctx_st;  // a CUcontext points to it; named here so that cuda.h is not needed

namespace ptxsmith {

struct DriverApi;

// Unavailable without a driver or without a GPU of this number.
absl::StatusOr<std::shared_ptr<Device>> OpenCuda(int ordinal);
// The same through a given table of driver calls.
absl::StatusOr<std::shared_ptr<Device>> OpenCuda(int ordinal, std::shared_ptr<const DriverApi> api);

// On a context of the host program, which must outlive the device and all its handles. Calls make
// it current on the calling thread and leave it so; a Stream of the host's is Stream::Borrow.
absl::StatusOr<std::shared_ptr<Device>> AdoptCuda(CUctx_st* context);
absl::StatusOr<std::shared_ptr<Device>> AdoptCuda(CUctx_st* context,
                                                  std::shared_ptr<const DriverApi> api);

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_CUDA_DEVICE_H_

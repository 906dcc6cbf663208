// One retained primary context of a GPU: what CudaDevice and its modules share. Internal to the
// cuda_*.cc files.
//
//   PTXSMITH_RETURN_IF_ERROR(context.MakeCurrent());
//   const CUresult result = context.api->StreamSynchronize(stream);
//   PTXSMITH_RETURN_IF_ERROR(context.Check(result, "cuStreamSynchronize"));
//
// Immutable once filled by OpenCuda; usable from any thread.
#ifndef PTXSMITH_RUNTIME_CUDA_CONTEXT_H_
#define PTXSMITH_RUNTIME_CUDA_CONTEXT_H_

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/driver_api.h"

namespace ptxsmith {

struct CudaContext {
  std::shared_ptr<const DriverApi> api;
  CUdevice device = 0;
  CUcontext context = nullptr;  // null: not retained

  // The driver works on the context current on the calling thread. Setting the one that is already
  // set costs nanoseconds, so that every call does it and callers may come from any thread.
  absl::Status MakeCurrent() const { return Check(api->CtxSetCurrent(context), "cuCtxSetCurrent"); }

  absl::Status Check(CUresult result, absl::string_view what) const {
    return result == CUDA_SUCCESS ? absl::OkStatus() : ToStatus(*api, result, what);
  }

  // For handles that are given up: releases whatever happens, because a context that cannot be made
  // current is a reason to report and none to leak.
  template <class Call, class Handle>
  absl::Status Release(Call call, Handle handle, absl::string_view what) const {
    absl::Status current = MakeCurrent();
    absl::Status released = Check(call(handle), what);
    return current.ok() ? released : current;
  }
};

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_CUDA_CONTEXT_H_

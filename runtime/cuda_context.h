// One retained primary context of a GPU: what CudaDevice and its modules share. Internal to the
// cuda_*.cc files.
//
//   PTXSMITH_RETURN_IF_ERROR(context.MakeCurrent());
//   const CUresult result = context.api->StreamSynchronize(stream);
//   PTXSMITH_RETURN_IF_ERROR(context.Check(result, "cuStreamSynchronize"));
//
// Some faults end a context: the driver then answers everything with an error. The first of them is
// kept and returned by every later MakeCurrent, without asking the driver again.
//
// Usable from any thread once filled by OpenCuda.
#ifndef PTXSMITH_RUNTIME_CUDA_CONTEXT_H_
#define PTXSMITH_RUNTIME_CUDA_CONTEXT_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

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
  absl::Status MakeCurrent() const {
    if (lost()) return LostStatus();
    return Check(api->CtxSetCurrent(context), "cuCtxSetCurrent");
  }

  absl::Status Check(CUresult result, absl::string_view what) const {
    return result == CUDA_SUCCESS ? absl::OkStatus() : Failure(result, what);
  }

  // A failed call as a Status. REQUIRES: result != CUDA_SUCCESS.
  absl::Status Failure(CUresult result, absl::string_view what) const;

  // Whether a fault has ended the context.
  bool lost() const { return lost_.load(std::memory_order_acquire); }

  // For handles that are given up: releases whatever happens, because a context that cannot be made
  // current is a reason to report and none to leak.
  template <class Call, class Handle>
  absl::Status Release(Call call, Handle handle, absl::string_view what) const {
    absl::Status current = MakeCurrent();
    absl::Status released = Check(call(handle), what);
    return current.ok() ? released : current;
  }

 private:
  absl::Status LostStatus() const;

  mutable std::atomic<bool> lost_ = false;
  mutable std::mutex mutex_;
  mutable absl::Status first_fault_;  // under mutex_
};

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_CUDA_CONTEXT_H_

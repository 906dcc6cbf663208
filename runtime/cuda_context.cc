#include "runtime/cuda_context.h"

#include "absl/strings/str_cat.h"

namespace ptxsmith {
namespace {

// After these the driver refuses every call on the context until the last user has released it.
bool EndsContext(CUresult result) {
  switch (result) {
    case CUDA_ERROR_DEINITIALIZED:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
      return true;
    default:
      return false;
  }
}

}  // namespace

absl::Status CudaContext::Failure(CUresult result, absl::string_view what) const {
  absl::Status status = ToStatus(*api, result, what);
  if (!EndsContext(result)) return status;
  const std::lock_guard<std::mutex> lock(mutex_);
  if (first_fault_.ok()) first_fault_ = status;
  lost_.store(true, std::memory_order_release);
  return status;
}

absl::Status CudaContext::LostStatus() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return absl::Status(first_fault_.code(),
                      absl::StrCat("the device was lost: ", first_fault_.message()));
}

}  // namespace ptxsmith

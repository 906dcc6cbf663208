#include "runtime/driver_api.h"

#include <dlfcn.h>

#include "absl/strings/str_cat.h"

namespace ptxsmith {
namespace {

absl::StatusCode CodeOf(CUresult result) {
  switch (result) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      return absl::StatusCode::kResourceExhausted;
    case CUDA_ERROR_NOT_INITIALIZED:
    case CUDA_ERROR_DEINITIALIZED:
    case CUDA_ERROR_STUB_LIBRARY:
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_INVALID_DEVICE:
    case CUDA_ERROR_SYSTEM_NOT_READY:
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
    case CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE:
      return absl::StatusCode::kUnavailable;
    case CUDA_ERROR_INVALID_IMAGE:
    case CUDA_ERROR_INVALID_PTX:
    case CUDA_ERROR_INVALID_SOURCE:
      return absl::StatusCode::kInvalidArgument;
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
    case CUDA_ERROR_JIT_COMPILER_NOT_FOUND:
    case CUDA_ERROR_JIT_COMPILATION_DISABLED:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
    case CUDA_ERROR_NOT_SUPPORTED:
      return absl::StatusCode::kFailedPrecondition;
    case CUDA_ERROR_NOT_FOUND:
      return absl::StatusCode::kNotFound;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<const DriverApi>> LoadDriverApi(const char* library) {
  // Never closed again: the driver keeps threads of its own, which do not survive an unload.
  void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    return absl::UnavailableError(absl::StrCat("no NVIDIA driver: cannot open ", library));
  }
  auto api = std::make_shared<DriverApi>();
#define PTXSMITH_DRIVER_LOAD(member, symbol)                                                  \
  api->member = reinterpret_cast<decltype(api->member)>(dlsym(handle, #symbol));              \
  if (api->member == nullptr) {                                                               \
    return absl::UnavailableError(absl::StrCat("the NVIDIA driver is too old: ", library,     \
                                               " has no ", #symbol, " (CUDA 11 is needed)")); \
  }
  PTXSMITH_DRIVER_CALLS(PTXSMITH_DRIVER_LOAD)
#undef PTXSMITH_DRIVER_LOAD
#define PTXSMITH_DRIVER_LOAD_IF_THERE(member, symbol) \
  api->member = reinterpret_cast<decltype(api->member)>(dlsym(handle, #symbol));
  PTXSMITH_NEWER_DRIVER_CALLS(PTXSMITH_DRIVER_LOAD_IF_THERE)
#undef PTXSMITH_DRIVER_LOAD_IF_THERE
  return api;
}

absl::Status ToStatus(const DriverApi& api, CUresult result, absl::string_view what) {
  if (result == CUDA_ERROR_STUB_LIBRARY) {
    // The stub refuses to name its errors too.
    return absl::UnavailableError(absl::StrCat(
        what,
        ": CUDA_ERROR_STUB_LIBRARY (34): the libcuda found is the stub for linking that "
        "comes with the toolkit, not a driver"));
  }
  const char* name = nullptr;
  const char* text = nullptr;
  if (api.GetErrorName(result, &name) != CUDA_SUCCESS) name = "unknown error";
  if (api.GetErrorString(result, &text) != CUDA_SUCCESS) text = "no description";
  return absl::Status(CodeOf(result),
                      absl::StrCat(what, ": ", name, " (", static_cast<int>(result), "): ", text));
}

}  // namespace ptxsmith

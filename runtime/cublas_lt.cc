#include "runtime/cublas_lt.h"

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/shared_library.h"

namespace ptxsmith {
namespace {

absl::StatusCode CodeOf(int result) {
  switch (result) {
    case 1:  // NOT_INITIALIZED: also without a GPU or a driver new enough
      return absl::StatusCode::kUnavailable;
    case 3:  // ALLOC_FAILED
      return absl::StatusCode::kResourceExhausted;
    case 7:   // INVALID_VALUE: what newer libraries know and this one does not
    case 8:   // ARCH_MISMATCH
    case 15:  // NOT_SUPPORTED
      return absl::StatusCode::kUnimplemented;
    default:
      return absl::StatusCode::kInternal;
  }
}

}  // namespace

absl::StatusOr<std::shared_ptr<const CublasLtApi>> LoadCublasLt(const std::string& cuda_home) {
  PTXSMITH_ASSIGN_OR_RETURN(
      const SharedLibrary library,
      SharedLibrary::Open({"libcublasLt.so.13", "libcublasLt.so.12"}, ToolkitFolders(cuda_home)));
  auto api = std::make_shared<CublasLtApi>();
#define PTXSMITH_CUBLAS_LT_FIND(member, symbol, arguments)                           \
  api->member = library.Find<decltype(api->member)>(#symbol);                        \
  if (api->member == nullptr) {                                                      \
    return absl::UnavailableError(absl::StrCat(library.path(), " has no " #symbol)); \
  }
  PTXSMITH_CUBLAS_LT_CALLS(PTXSMITH_CUBLAS_LT_FIND)
#undef PTXSMITH_CUBLAS_LT_FIND
  api->GetStatusName = library.Find<const char* (*)(int)>("cublasLtGetStatusName");
  return api;
}

absl::Status ToStatus(const CublasLtApi& api, int result, absl::string_view what) {
  const char* name = api.GetStatusName != nullptr ? api.GetStatusName(result) : nullptr;
  return absl::Status(CodeOf(result), absl::StrCat(what, ": ", name != nullptr ? name : "status",
                                                   " (", result, ")"));
}

}  // namespace ptxsmith

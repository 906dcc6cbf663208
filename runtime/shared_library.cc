#include "runtime/shared_library.h"

#include <dlfcn.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace ptxsmith {

std::vector<std::string> ToolkitFolders(const std::string& cuda_home) {
  const std::string root = cuda_home.empty() ? "/usr/local/cuda" : cuda_home;
  return {absl::StrCat(root, "/lib64"), absl::StrCat(root, "/targets/x86_64-linux/lib")};
}

absl::StatusOr<SharedLibrary> SharedLibrary::Open(absl::Span<const char* const> names,
                                                  absl::Span<const std::string> folders) {
  std::vector<std::string> paths(names.begin(), names.end());
  for (const std::string& folder : folders) {
    for (const char* name : names) paths.push_back(absl::StrCat(folder, "/", name));
  }
  std::string first_reason;
  for (std::string& path : paths) {
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) return SharedLibrary(handle, std::move(path));
    const char* reason = dlerror();
    if (first_reason.empty() && reason != nullptr) first_reason = reason;
  }
  return absl::UnavailableError(absl::StrCat("cannot open ", names[0], ": ", first_reason));
}

void* SharedLibrary::FindSymbol(const char* symbol) const { return dlsym(handle_, symbol); }

absl::Status Symbols::status() const {
  if (missing_ == nullptr) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(library_.path(), " has no ", missing_));
}

}  // namespace ptxsmith

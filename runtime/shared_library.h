// A library of NVIDIA's that is opened at run time when it is there: the driver, its compiler,
// nvJitLink, NVRTC, cuBLAS. Nothing links against any of them.
//
//   PTXSMITH_ASSIGN_OR_RETURN(const SharedLibrary library,
//                             SharedLibrary::Open({"libnvJitLink.so.13"}, ToolkitFolders("")));
//   auto create = library.Find<int (*)(void**)>("nvJitLinkCreate");   // null: not exported
//
// A value. The library is never closed again: NVIDIA's keep threads and exit handlers of their own,
// which do not survive an unload.
#ifndef PTXSMITH_RUNTIME_SHARED_LIBRARY_H_
#define PTXSMITH_RUNTIME_SHARED_LIBRARY_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace ptxsmith {

// Where a CUDA toolkit keeps its libraries: below `cuda_home` when it is not empty, else at the
// usual place.
std::vector<std::string> ToolkitFolders(const std::string& cuda_home);

class SharedLibrary {
 public:
  // The first that opens of `names`, each as the dynamic linker finds it, then in `folders`.
  // Unavailable names the first and what the linker said about it.
  static absl::StatusOr<SharedLibrary> Open(absl::Span<const char* const> names,
                                            absl::Span<const std::string> folders = {});

  template <class Function>
  Function Find(const char* symbol) const {
    return reinterpret_cast<Function>(FindSymbol(symbol));
  }
  const std::string& path() const { return path_; }  // as it was opened

 private:
  SharedLibrary(void* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  void* FindSymbol(const char* symbol) const;

  void* handle_;
  std::string path_;
};

// Fills a table of functions; remembers the first one that the library lacks.
class Symbols {
 public:
  // `library` must outlive this.
  explicit Symbols(const SharedLibrary& library) : library_(library) {}

  template <class Function>
  void Load(Function*& function, const char* symbol) {
    function = library_.Find<Function*>(symbol);
    if (function == nullptr && missing_ == nullptr) missing_ = symbol;
  }
  absl::Status status() const;  // Unavailable names the library and what it lacks

 private:
  const SharedLibrary& library_;
  const char* missing_ = nullptr;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_SHARED_LIBRARY_H_

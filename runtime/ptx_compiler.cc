#include "runtime/ptx_compiler.h"

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "codegen/status_macros.h"
#include "runtime/jit_log.h"
#include "runtime/shared_library.h"

namespace ptxsmith {
namespace {

// Neither library's header is where only a cuda.h is installed, so the few functions are declared
// here. Their signatures have not changed since CUDA 11.1 and 12.0.
using Handle = void*;
using GetSize = int(Handle, size_t*);
using GetText = int(Handle, char*);
using GetCode = int(Handle, void*);
using GetRelease = int(unsigned*, unsigned*);

std::string Text(GetSize* get_size, GetText* get_text, Handle handle) {
  size_t size = 0;
  if (get_size(handle, &size) != 0 || size == 0) return "";
  std::string text(size, '\0');
  if (get_text(handle, text.data()) != 0) return "";
  text.resize(text.find('\0') == std::string::npos ? size : text.find('\0'));
  return text;
}

absl::StatusOr<std::string> Code(GetSize* get_size, GetCode* get_code, Handle handle,
                                 absl::string_view key) {
  size_t size = 0;
  std::string code;
  if (get_size(handle, &size) == 0) {
    code.resize(size);
    if (get_code(handle, code.data()) == 0 && size > 0) return code;
  }
  return absl::InternalError(absl::StrCat(key, ": the compiler kept its code to itself"));
}

absl::StatusOr<int> Release(GetRelease* get_release, const std::string& library) {
  unsigned major_release = 0;
  unsigned minor_release = 0;
  if (get_release(&major_release, &minor_release) == 0) {
    return static_cast<int>(major_release * 1000 + minor_release * 10);
  }
  return absl::UnavailableError(absl::StrCat(library, " does not tell its version"));
}

absl::Status Refusal(const KernelSpec& spec, absl::StatusCode code, const std::string& compiler,
                     int result, const std::string& log) {
  return absl::Status(code, absl::StrCat(compiler, " on ", spec.key, ": error ", result,
                                         log.empty() ? "" : "\n", AnnotateLog(log, spec)));
}

// nvPTXCompiler.h
struct DriverCompilerApi {
  static constexpr int kCompilationFailure = 3;
  static constexpr int kUnsupportedPtxVersion = 7;

  int (*create)(Handle*, size_t, const char*);
  int (*destroy)(Handle*);
  int (*compile)(Handle, int, const char* const*);
  GetSize *get_code_size, *get_error_size, *get_info_size;
  GetCode* get_code;
  GetText *get_error, *get_info;
  GetRelease* get_release;

  absl::Status Load(const SharedLibrary& library) {
    Symbols symbols(library);
    symbols.Load(create, "nvPTXCompilerCreate");
    symbols.Load(destroy, "nvPTXCompilerDestroy");
    symbols.Load(compile, "nvPTXCompilerCompile");
    symbols.Load(get_code_size, "nvPTXCompilerGetCompiledProgramSize");
    symbols.Load(get_code, "nvPTXCompilerGetCompiledProgram");
    symbols.Load(get_error_size, "nvPTXCompilerGetErrorLogSize");
    symbols.Load(get_error, "nvPTXCompilerGetErrorLog");
    symbols.Load(get_info_size, "nvPTXCompilerGetInfoLogSize");
    symbols.Load(get_info, "nvPTXCompilerGetInfoLog");
    symbols.Load(get_release, "nvPTXCompilerGetVersion");
    return symbols.status();
  }
};

class DriverCompiler : public PtxCompiler {
 public:
  DriverCompiler(int release, std::string library, const DriverCompilerApi& api)
      : PtxCompiler(release, std::move(library)), api_(api) {}

  absl::StatusOr<CompiledPtx> Compile(const KernelSpec& spec,
                                      absl::string_view arch) const override {
    Handle handle = nullptr;
    if (const int result = api_.create(&handle, spec.ptx.size(), spec.ptx.c_str()); result != 0) {
      return Refusal(spec, absl::StatusCode::kInternal, id(), result, "");
    }
    absl::StatusOr<CompiledPtx> compiled = CompileWith(handle, spec, arch);
    api_.destroy(&handle);
    return compiled;
  }

 private:
  absl::StatusOr<CompiledPtx> CompileWith(Handle handle, const KernelSpec& spec,
                                          absl::string_view arch) const {
    const std::string gpu = absl::StrCat("--gpu-name=", arch);
    const char* const options[] = {gpu.c_str(), "--verbose"};
    const int result = api_.compile(handle, std::size(options), options);
    if (result != 0) {
      const auto code = result == DriverCompilerApi::kCompilationFailure
                            ? absl::StatusCode::kInvalidArgument
                        : result == DriverCompilerApi::kUnsupportedPtxVersion
                            ? absl::StatusCode::kFailedPrecondition
                            : absl::StatusCode::kInternal;
      return Refusal(spec, code, id(), result, Text(api_.get_error_size, api_.get_error, handle));
    }
    CompiledPtx compiled;
    PTXSMITH_ASSIGN_OR_RETURN(compiled.cubin,
                              Code(api_.get_code_size, api_.get_code, handle, spec.key));
    compiled.log = Text(api_.get_info_size, api_.get_info, handle);
    return compiled;
  }

  const DriverCompilerApi api_;
};

// nvJitLink.h
struct NvJitLinkApi {
  static constexpr int kPtxInput = 2;
  static constexpr int kPtxCompileError = 4;
  static constexpr int kUnsupportedArch = 17;

  int (*create)(Handle*, uint32_t, const char**);
  int (*destroy)(Handle*);
  int (*add_data)(Handle, int, const void*, size_t, const char*);
  int (*complete)(Handle);
  GetSize *get_code_size, *get_error_size, *get_info_size;
  GetCode* get_code;
  GetText *get_error, *get_info;
  GetRelease* get_release;

  absl::Status Load(const SharedLibrary& library) {
    Symbols symbols(library);
    symbols.Load(create, "nvJitLinkCreate");
    symbols.Load(destroy, "nvJitLinkDestroy");
    symbols.Load(add_data, "nvJitLinkAddData");
    symbols.Load(complete, "nvJitLinkComplete");
    symbols.Load(get_code_size, "nvJitLinkGetLinkedCubinSize");
    symbols.Load(get_code, "nvJitLinkGetLinkedCubin");
    symbols.Load(get_error_size, "nvJitLinkGetErrorLogSize");
    symbols.Load(get_error, "nvJitLinkGetErrorLog");
    symbols.Load(get_info_size, "nvJitLinkGetInfoLogSize");
    symbols.Load(get_info, "nvJitLinkGetInfoLog");
    symbols.Load(get_release, "nvJitLinkVersion");
    return symbols.status();
  }
};

class NvJitLink : public PtxCompiler {
 public:
  NvJitLink(int release, std::string library, const NvJitLinkApi& api)
      : PtxCompiler(release, std::move(library)), api_(api) {}

  absl::StatusOr<CompiledPtx> Compile(const KernelSpec& spec,
                                      absl::string_view arch) const override {
    const std::string gpu = absl::StrCat("-arch=", arch);
    const char* options[] = {gpu.c_str(), "-verbose"};
    Handle handle = nullptr;
    const int result = api_.create(&handle, std::size(options), options);
    absl::StatusOr<CompiledPtx> compiled =
        result == 0 ? CompileWith(handle, spec) : Failure(handle, spec, result);
    // Also a creation that failed leaves a handle, with the log in it.
    if (handle != nullptr) api_.destroy(&handle);
    return compiled;
  }

 private:
  absl::StatusOr<CompiledPtx> CompileWith(Handle handle, const KernelSpec& spec) const {
    // The size counts the NUL. A text with a mistake fails here, not in `complete`.
    int result = api_.add_data(handle, NvJitLinkApi::kPtxInput, spec.ptx.c_str(),
                               spec.ptx.size() + 1, spec.entry.c_str());
    if (result == 0) result = api_.complete(handle);
    if (result != 0) return Failure(handle, spec, result);
    CompiledPtx compiled;
    PTXSMITH_ASSIGN_OR_RETURN(compiled.cubin,
                              Code(api_.get_code_size, api_.get_code, handle, spec.key));
    compiled.log = Text(api_.get_info_size, api_.get_info, handle);
    return compiled;
  }

  absl::Status Failure(Handle handle, const KernelSpec& spec, int result) const {
    const auto code = result == NvJitLinkApi::kPtxCompileError ? absl::StatusCode::kInvalidArgument
                      : result == NvJitLinkApi::kUnsupportedArch
                          ? absl::StatusCode::kFailedPrecondition
                          : absl::StatusCode::kInternal;
    return Refusal(spec, code, id(), result,
                   handle == nullptr ? "" : Text(api_.get_error_size, api_.get_error, handle));
  }

  const NvJitLinkApi api_;
};

template <class Compiler, class Api>
absl::StatusOr<std::shared_ptr<const PtxCompiler>> OpenWith(const SharedLibrary& library) {
  Api api;
  PTXSMITH_RETURN_IF_ERROR(api.Load(library));
  PTXSMITH_ASSIGN_OR_RETURN(const int release, Release(api.get_release, library.path()));
  return std::make_shared<Compiler>(release, library.path(), api);
}

}  // namespace

PtxCompiler::PtxCompiler(int release, std::string library)
    : release_(release),
      id_(absl::StrFormat("ptxas %d.%d", release / 1000, release % 1000 / 10)),
      library_(std::move(library)) {}

absl::StatusOr<std::shared_ptr<const PtxCompiler>> OpenDriverCompiler(const char* library) {
  PTXSMITH_ASSIGN_OR_RETURN(const SharedLibrary opened, SharedLibrary::Open({library}));
  return OpenWith<DriverCompiler, DriverCompilerApi>(opened);
}

absl::StatusOr<std::shared_ptr<const PtxCompiler>> OpenNvJitLink(const std::string& cuda_home) {
  PTXSMITH_ASSIGN_OR_RETURN(
      const SharedLibrary opened,
      SharedLibrary::Open({"libnvJitLink.so.13", "libnvJitLink.so.12"}, ToolkitFolders(cuda_home)));
  return OpenWith<NvJitLink, NvJitLinkApi>(opened);
}

absl::StatusOr<std::shared_ptr<const PtxCompiler>> OpenPtxCompiler(
    const PtxCompilerOptions& options) {
  absl::StatusOr<std::shared_ptr<const PtxCompiler>> of_driver = OpenDriverCompiler();
  if (of_driver.ok()) return of_driver;
  absl::StatusOr<std::shared_ptr<const PtxCompiler>> of_toolkit = OpenNvJitLink(options.cuda_home);
  if (!of_toolkit.ok()) {
    return absl::UnavailableError(absl::StrCat("no PTX compiler: ", of_driver.status().message(),
                                               "; ", of_toolkit.status().message()));
  }
  if (options.driver_version == 0 || (*of_toolkit)->release() <= options.driver_version) {
    return of_toolkit;
  }
  return absl::UnavailableError(absl::StrCat("no PTX compiler: ", of_driver.status().message(),
                                             "; ", (*of_toolkit)->library(), " (",
                                             (*of_toolkit)->id(), ") is newer than the driver"));
}

}  // namespace ptxsmith

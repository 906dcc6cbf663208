#include "runtime/nvrtc.h"

#include <optional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "codegen/status_macros.h"
#include "runtime/shared_library.h"

namespace ptxsmith {

// nvrtc.h, which is not where only a cuda.h is installed; unchanged since CUDA 11.1.
struct Nvrtc::Api {
  using Program = void*;
  using GetSize = int(Program, size_t*);
  using GetText = int(Program, char*);
  static constexpr int kCompilationError = 6;

  int (*create)(Program*, const char*, const char*, int, const char* const*, const char* const*);
  int (*destroy)(Program*);
  int (*compile)(Program, int, const char* const*);
  GetSize *get_log_size, *get_ptx_size, *get_cubin_size;
  GetText *get_log, *get_ptx, *get_cubin;
  int (*version)(int*, int*);
  const char* (*error_string)(int);

  absl::Status Load(const SharedLibrary& library) {
    Symbols symbols(library);
    symbols.Load(create, "nvrtcCreateProgram");
    symbols.Load(destroy, "nvrtcDestroyProgram");
    symbols.Load(compile, "nvrtcCompileProgram");
    symbols.Load(get_log_size, "nvrtcGetProgramLogSize");
    symbols.Load(get_log, "nvrtcGetProgramLog");
    symbols.Load(get_ptx_size, "nvrtcGetPTXSize");
    symbols.Load(get_ptx, "nvrtcGetPTX");
    symbols.Load(get_cubin_size, "nvrtcGetCUBINSize");
    symbols.Load(get_cubin, "nvrtcGetCUBIN");
    symbols.Load(version, "nvrtcVersion");
    symbols.Load(error_string, "nvrtcGetErrorString");
    return symbols.status();
  }

  static std::string Text(GetSize* get_size, GetText* get_text, Program program) {
    size_t size = 0;
    if (get_size(program, &size) != 0) return "";
    std::string text(size, '\0');
    return get_text(program, text.data()) == 0 ? text : "";
  }
};

namespace {

// The `.version` that a text starts with.
absl::StatusOr<PtxVersion> VersionOf(absl::string_view ptx, absl::string_view key) {
  constexpr absl::string_view kDirective = ".version ";
  const size_t at = ptx.find(kDirective);
  PtxVersion version;
  if (at != absl::string_view::npos) {
    const absl::string_view text = ptx.substr(at + kDirective.size(), 8);
    const size_t dot = text.find('.');
    const size_t end = text.find_first_of("\r\n ");
    if (dot < end && end != absl::string_view::npos &&
        absl::SimpleAtoi(text.substr(0, dot), &version.major) &&
        absl::SimpleAtoi(text.substr(dot + 1, end - dot - 1), &version.minor)) {
      return version;
    }
  }
  return absl::InternalError(absl::StrCat(key, ": NVRTC made a text without .version"));
}

Hash128 SourceHash(const CudaKernel& kernel) {
  // No option holds a line break.
  return HashOf(absl::StrCat(absl::StrJoin(kernel.options, "\n"), "\n\n", kernel.source));
}

}  // namespace

std::string CudaKey(const CudaKernel& kernel, const Target& target) {
  return absl::StrCat(kernel.key, ":source=", ToHex(SourceHash(kernel)), "@", target.ToString());
}

absl::StatusOr<std::shared_ptr<const Nvrtc>> Nvrtc::Open(const std::string& cuda_home) {
  PTXSMITH_ASSIGN_OR_RETURN(
      const SharedLibrary library,
      SharedLibrary::Open({"libnvrtc.so.13", "libnvrtc.so.12"}, ToolkitFolders(cuda_home)));
  auto api = std::make_shared<Api>();
  PTXSMITH_RETURN_IF_ERROR(api->Load(library));
  int major_release = 0;
  int minor_release = 0;
  if (api->version(&major_release, &minor_release) != 0) {
    return absl::UnavailableError(absl::StrCat(library.path(), " does not tell its version"));
  }
  return std::shared_ptr<const Nvrtc>(
      new Nvrtc(absl::StrFormat("nvrtc %d.%d", major_release, minor_release), std::move(api)));
}

absl::StatusOr<std::string> Nvrtc::Compile(const CudaKernel& kernel, const std::string& arch_option,
                                           bool to_cubin) const {
  Api::Program program = nullptr;
  int result =
      api_->create(&program, kernel.source.c_str(), kernel.key.c_str(), 0, nullptr, nullptr);
  if (result == 0) {
    std::vector<const char*> options = {arch_option.c_str()};
    for (const std::string& option : kernel.options) options.push_back(option.c_str());
    result = api_->compile(program, static_cast<int>(options.size()), options.data());
  }
  std::string text;
  if (program != nullptr) {
    text = result != 0 ? Api::Text(api_->get_log_size, api_->get_log, program)
           : to_cubin  ? Api::Text(api_->get_cubin_size, api_->get_cubin, program)
                       : Api::Text(api_->get_ptx_size, api_->get_ptx, program);
    api_->destroy(&program);
  }
  if (result == 0 && !text.empty()) return text;
  return absl::Status(
      result == Api::kCompilationError ? absl::StatusCode::kInvalidArgument
                                       : absl::StatusCode::kInternal,
      absl::StrCat(id_, " on ", kernel.key, ": ", api_->error_string(result), "\n", text));
}

absl::StatusOr<std::string> Nvrtc::CompileToCubin(const CudaKernel& kernel,
                                                  absl::string_view arch) const {
  return Compile(kernel, absl::StrCat("--gpu-architecture=", arch), /*to_cubin=*/true);
}

absl::StatusOr<KernelSpec> Nvrtc::Build(const CudaKernel& kernel, const Target& target,
                                        DiskCache* disk) const {
  KernelSpec spec;
  spec.key = CudaKey(kernel, target);
  const std::string arch = absl::StrCat("compute_", absl::StripPrefix(target.sm_name(), "sm_"));
  const CubinId id = {spec.key, SourceHash(kernel), id_, arch};
  std::optional<std::string> ptx = disk == nullptr ? std::nullopt : disk->Find(id);
  if (!ptx.has_value()) {
    PTXSMITH_ASSIGN_OR_RETURN(
        std::string text,
        Compile(kernel, absl::StrCat("--gpu-architecture=", arch), /*to_cubin=*/false));
    text.resize(text.find('\0') == std::string::npos ? text.size() : text.find('\0'));
    if (disk != nullptr) disk->Store(id, text);
    ptx = std::move(text);
  }
  spec.entry = kernel.entry;
  spec.ptx = *std::move(ptx);
  spec.target = target;
  PTXSMITH_ASSIGN_OR_RETURN(spec.version, VersionOf(spec.ptx, spec.key));
  spec.version_needed_by = id_;
  spec.params = kernel.params;
  spec.launch = kernel.launch;
  spec.dynamic_shared = kernel.dynamic_shared;
  spec.cost = kernel.cost;
  return spec;
}

}  // namespace ptxsmith

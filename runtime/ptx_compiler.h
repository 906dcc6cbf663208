// Compiles PTX text to machine code (a cubin) without the driver's module loader, which compiles
// under one lock: 16 kernels took it 1.1 s on 1 to 16 threads, these compilers 0.11 s on 16 (H200,
// 2026-11). Two libraries hold the same compiler: the one that comes with the driver, and nvJitLink
// of a CUDA toolkit, which needs neither driver nor GPU.
//
//   PTXSMITH_ASSIGN_OR_RETURN(auto compiler, OpenPtxCompiler({.driver_version = 13000}));
//   PTXSMITH_ASSIGN_OR_RETURN(CompiledPtx code, compiler->Compile(spec, "sm_90"));
//   PTXSMITH_ASSIGN_OR_RETURN(auto module, device->LoadCubin(spec, code.cubin));
//
// Immutable; Compile may run in any number of threads at once.
//
// Errors: no such library Unavailable; a text that the compiler refuses InvalidArgument with the
// compiler's words, each line they name shown with the C++ that emitted it; an architecture or PTX
// version that it does not know FailedPrecondition; the rest Internal.
#ifndef PTXSMITH_RUNTIME_PTX_COMPILER_H_
#define PTXSMITH_RUNTIME_PTX_COMPILER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "codegen/kernel_spec.h"

namespace ptxsmith {

struct CompiledPtx {
  std::string cubin;
  std::string log;  // the compiler's own words: registers, shared memory, spills
};

class PtxCompiler {
 public:
  virtual ~PtxCompiler() = default;

  // The compiler and its release, "ptxas 13.0". Equal ids give equal code, whichever library they
  // come from.
  const std::string& id() const { return id_; }
  int release() const { return release_; }  // as cuDriverGetVersion counts: 13000 for 13.0
  const std::string& library() const { return library_; }  // the file it was opened from

  // `arch` is the GPU to compile for, "sm_90"; it may be newer than the target of the text.
  virtual absl::StatusOr<CompiledPtx> Compile(const KernelSpec& spec,
                                              absl::string_view arch) const = 0;

 protected:
  PtxCompiler(int release, std::string library);

 private:
  const int release_;
  const std::string id_;
  const std::string library_;
};

// The compiler that comes with the driver.
absl::StatusOr<std::shared_ptr<const PtxCompiler>> OpenDriverCompiler(
    const char* library = "libnvidia-ptxjitcompiler.so.1");

// nvJitLink of a CUDA toolkit; `cuda_home` as in ToolkitFolders.
absl::StatusOr<std::shared_ptr<const PtxCompiler>> OpenNvJitLink(const std::string& cuda_home);

struct PtxCompilerOptions {
  int driver_version =
      0;  // of the driver that will load the code; 0: unknown, any compiler will do
  std::string cuda_home;
};

// The driver's compiler, else an nvJitLink that is not newer than the driver, because an older
// driver may refuse its code.
absl::StatusOr<std::shared_ptr<const PtxCompiler>> OpenPtxCompiler(
    const PtxCompilerOptions& options);

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_PTX_COMPILER_H_

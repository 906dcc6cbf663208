// CUDA C++ kernels of the user's own, through NVRTC into the same cache, binding and launch path as
// generated ones: NVRTC makes a KernelSpec of the source and what the caller says about it, and
// from there on nobody sees a difference.
//
//   PTXSMITH_ASSIGN_OR_RETURN(const auto nvrtc, Nvrtc::Open(""));
//   const CudaKernel scale = {.key = "scale", .source = text, .entry = "scale", .params = ...};
//   PTXSMITH_ASSIGN_OR_RETURN(auto module, cache.GetOrBuild(CudaKey(scale, target), [&] {
//       return nvrtc->Build(scale, target, cache.compilation().disk.get()); }));
//
// Immutable; may be used from any thread. The functions of the source must be `extern "C"`. Errors:
// no library Unavailable; a source that does not compile InvalidArgument with NVRTC's words.
#ifndef PTXSMITH_RUNTIME_NVRTC_H_
#define PTXSMITH_RUNTIME_NVRTC_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "codegen/kernel_spec.h"
#include "runtime/disk_cache.h"

namespace ptxsmith {

// A kernel in CUDA C++. Parameters, geometry and cost mean what they do in KernelSpec; the block
// must be what the source expects.
struct CudaKernel {
  std::string key;  // names the kernel; with a hash of the source and the target it is unique
  std::string source;
  std::string entry;                 // the function, extern "C" __global__
  std::vector<std::string> options;  // further options of NVRTC: "--use_fast_math", "-DN=4"
  std::vector<ParamDesc> params;
  LaunchRule launch;
  uint32_t dynamic_shared = 0;  // bytes to ask for at launch
  Cost cost;
};

// The key of its KernelSpec: "scale:source=0123456789abcdef0123456789abcdef@sm_90.ptx78".
std::string CudaKey(const CudaKernel& kernel, const Target& target);

class Nvrtc {
 public:
  // `cuda_home` as in ToolkitFolders.
  static absl::StatusOr<std::shared_ptr<const Nvrtc>> Open(const std::string& cuda_home);

  const std::string& id() const { return id_; }  // "nvrtc 13.0"

  // The kernel with NVRTC's PTX. With a `disk`, an unchanged source is compiled once for all
  // processes.
  absl::StatusOr<KernelSpec> Build(const CudaKernel& kernel, const Target& target,
                                   DiskCache* disk) const;

  // Machine code for "sm_90", as a program has it that uses nothing of this project.
  absl::StatusOr<std::string> CompileToCubin(const CudaKernel& kernel,
                                             absl::string_view arch) const;

 private:
  struct Api;
  Nvrtc(std::string id, std::shared_ptr<const Api> api)
      : id_(std::move(id)), api_(std::move(api)) {}
  absl::StatusOr<std::string> Compile(const CudaKernel& kernel, const std::string& arch_option,
                                      bool to_cubin) const;

  const std::string id_;
  const std::shared_ptr<const Api> api_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_NVRTC_H_

// A kernel compiled by the CUDA driver. Made by CudaDevice::Load, launched by CudaDevice.
//
//   PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const CudaModule> module,
//                             CudaModule::Load(device, context, spec, kOptimizeFully));
//   context.api->LaunchKernel(module->function(), ...);
//
// Immutable; usable from any thread.
#ifndef PTXSMITH_RUNTIME_CUDA_MODULE_H_
#define PTXSMITH_RUNTIME_CUDA_MODULE_H_

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/cuda_context.h"
#include "runtime/device.h"

namespace ptxsmith {

// CU_JIT_OPTIMIZATION_LEVEL.
constexpr int kOptimizeNothing = 0;
constexpr int kOptimizeFully = 4;

class CudaModule : public Module {
 public:
  // `device` owns `context` and is kept alive by the module. The driver's loader is not called for
  // a kernel the device cannot take: FailedPrecondition names the kernel, its need and the limit.
  static absl::StatusOr<std::shared_ptr<const CudaModule>> Load(std::shared_ptr<Device> device,
                                                                const CudaContext& context,
                                                                const KernelSpec& spec,
                                                                int optimization);
  // The same from the code of a PtxCompiler.
  static absl::StatusOr<std::shared_ptr<const CudaModule>> LoadCubin(std::shared_ptr<Device> device,
                                                                     const CudaContext& context,
                                                                     const KernelSpec& spec,
                                                                     absl::string_view cubin);
  CudaModule(std::shared_ptr<Device> device, const CudaContext& context, const KernelSpec& spec)
      : device_(std::move(device)), context_(context), spec_(spec) {}
  CudaModule(const CudaModule&) = delete;
  ~CudaModule() override;

  const KernelSpec& spec() const override { return spec_; }
  const CompileInfo& info() const override { return info_; }
  const std::shared_ptr<Device>& device() const override { return device_; }
  CUfunction function() const { return function_; }

 private:
  static absl::StatusOr<std::shared_ptr<const CudaModule>> LoadWith(
      std::shared_ptr<Device> device, const CudaContext& context, const KernelSpec& spec,
      absl::FunctionRef<absl::Status(CudaModule&)> load);
  absl::Status CompileText(int optimization);
  absl::Status LoadCode(absl::string_view cubin);
  absl::Status PrepareFunction();

  const std::shared_ptr<Device> device_;
  const CudaContext& context_;  // inside *device_
  const KernelSpec spec_;
  CompileInfo info_;
  CUmodule module_ = nullptr;
  CUfunction function_ = nullptr;  // looked up once: a launch must not
};

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_CUDA_MODULE_H_

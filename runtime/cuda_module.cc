#include "runtime/cuda_module.h"

#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/jit_log.h"

namespace ptxsmith {
namespace {

// Bytes for each of the two logs; the driver cuts what is longer.
constexpr size_t kLogBytes = 16 * 1024;

// The driver takes and returns numbers by value in the pointers' bits.
void* OptionValue(uintptr_t number) { return reinterpret_cast<void*>(number); }

}  // namespace

absl::StatusOr<std::shared_ptr<const CudaModule>> CudaModule::Load(std::shared_ptr<Device> device,
                                                                   const CudaContext& context,
                                                                   const KernelSpec& spec,
                                                                   int optimization) {
  return LoadWith(std::move(device), context, spec,
                  [&](CudaModule& m) { return m.CompileText(optimization); });
}

absl::StatusOr<std::shared_ptr<const CudaModule>> CudaModule::LoadCubin(
    std::shared_ptr<Device> device, const CudaContext& context, const KernelSpec& spec,
    absl::string_view cubin) {
  return LoadWith(std::move(device), context, spec,
                  [&](CudaModule& m) { return m.LoadCode(cubin); });
}

absl::StatusOr<std::shared_ptr<const CudaModule>> CudaModule::LoadWith(
    std::shared_ptr<Device> device, const CudaContext& context, const KernelSpec& spec,
    absl::FunctionRef<absl::Status(CudaModule&)> load) {
  PTXSMITH_RETURN_IF_ERROR(device->profile().Fits(spec));
  PTXSMITH_RETURN_IF_ERROR(context.MakeCurrent());
  const auto start = std::chrono::steady_clock::now();
  auto module = std::make_shared<CudaModule>(std::move(device), context, spec);
  PTXSMITH_RETURN_IF_ERROR(load(*module));
  PTXSMITH_RETURN_IF_ERROR(module->PrepareFunction());
  module->info_.milliseconds =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return module;
}

CudaModule::~CudaModule() {
  if (module_ == nullptr) return;
  device_->LogFailure(context_.Release(context_.api->ModuleUnload, module_, "cuModuleUnload"));
}

absl::Status CudaModule::LoadCode(absl::string_view cubin) {
  // No log: there is no compiler behind this.
  const CUresult result =
      context_.api->ModuleLoadDataEx(&module_, cubin.data(), 0, nullptr, nullptr);
  if (result == CUDA_SUCCESS) return absl::OkStatus();
  module_ = nullptr;
  return context_.Check(result, absl::StrCat("cuModuleLoadDataEx of the code of ", spec_.key));
}

absl::Status CudaModule::CompileText(int optimization) {
  std::string info(kLogBytes, '\0');
  std::string error(kLogBytes, '\0');
  CUjit_option options[] = {CU_JIT_INFO_LOG_BUFFER,  CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES,
                            CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES,
                            CU_JIT_LOG_VERBOSE,      CU_JIT_OPTIMIZATION_LEVEL};
  void* values[] = {info.data(),    OptionValue(info.size()),
                    error.data(),   OptionValue(error.size()),
                    OptionValue(1), OptionValue(static_cast<uintptr_t>(optimization))};
  const CUresult result = context_.api->ModuleLoadDataEx(&module_, spec_.ptx.c_str(),
                                                         std::size(options), options, values);
  // The sizes that come back are unreliable across drivers; both texts end at their NUL.
  info.resize(info.find('\0') == std::string::npos ? info.size() : info.find('\0'));
  error.resize(error.find('\0') == std::string::npos ? error.size() : error.find('\0'));
  // The verbose compiler always says something; the driver's cache says nothing.
  info_.from_driver_cache = info.empty();
  info_.log = std::move(info);
  if (result == CUDA_SUCCESS) return absl::OkStatus();
  module_ = nullptr;
  absl::Status status = context_.Check(result, absl::StrCat("cuModuleLoadDataEx of ", spec_.key));
  if (error.empty()) return status;
  return absl::Status(status.code(),
                      absl::StrCat(status.message(), "\n", AnnotateLog(error, spec_)));
}

absl::Status CudaModule::PrepareFunction() {
  const DriverApi& api = *context_.api;
  PTXSMITH_RETURN_IF_ERROR(
      context_.Check(api.ModuleGetFunction(&function_, module_, spec_.entry.c_str()),
                     absl::StrCat("cuModuleGetFunction of ", spec_.entry, " in ", spec_.key)));
  const auto what = [&](absl::string_view call) { return absl::StrCat(call, " of ", spec_.key); };
  PTXSMITH_RETURN_IF_ERROR(
      context_.Check(api.FuncGetAttribute(&info_.registers, CU_FUNC_ATTRIBUTE_NUM_REGS, function_),
                     what("cuFuncGetAttribute(NUM_REGS)")));
  PTXSMITH_RETURN_IF_ERROR(context_.Check(
      api.FuncGetAttribute(&info_.spill_bytes, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, function_),
      what("cuFuncGetAttribute(LOCAL_SIZE_BYTES)")));
  if (spec_.dynamic_shared == 0) return absl::OkStatus();
  // Without the opt-in a launch that asks for more than 48 KiB fails as an "invalid value".
  return context_.Check(
      api.FuncSetAttribute(function_, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES,
                           static_cast<int>(spec_.dynamic_shared)),
      what("cuFuncSetAttribute(MAX_DYNAMIC_SHARED_SIZE_BYTES)"));
}

}  // namespace ptxsmith

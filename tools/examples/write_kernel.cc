// A kernel of one's own: written in C++, generated as PTX for the device that is there, launched.
//
//   write_kernel [DEVICE]      auto, cuda:0, emu:sm90
#include <cstdio>
#include <optional>
#include <utility>
#include <vector>

#include "codegen/kernel_builder.h"
#include "codegen/ops.h"
#include "codegen/status_macros.h"
#include "runtime/launch.h"
#include "runtime/module_cache.h"

namespace {

using namespace ptxsmith;  // NOLINT: an example

constexpr char kKey[] = "saxpy:a=3";

// y[i] = 3 x[i] + y[i]: the factor is part of the text, the size is known when it is launched.
absl::StatusOr<KernelSpec> BuildSaxpy(const Target& target) {
  KernelBuilder k(kKey, "saxpy", target);
  const SizeExpr count = SizeExpr::Param(2);  // the third parameter
  const auto y = k.Param<InOut<F32>>("y", {.count = count});
  const auto x = k.Param<In<F32>>("x", {.count = count});
  const Dim n = k.ParamDim("n", std::nullopt);
  k.Launch({.block = {256, 1, 1}, .grid = {CeilDiv(count, 256), 1, 1}});
  const Val<U32> i = k.GlobalThread();
  k.If(i < n, [&] { y.Store(i, Fma(x.Load(i), 3.0F, y.Load(i))); });
  return std::move(k).Finish();
}

absl::Status Run(const char* device_name) {
  PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<Device> device, Device::Open(device_name));
  const Target& target = device->profile().target;
  ModuleCache cache(device, CompilationFor(*device));
  PTXSMITH_ASSIGN_OR_RETURN(const auto module,
                            cache.GetOrBuild(kKey, [&] { return BuildSaxpy(target); }));

  const std::vector<float> x(1000, 2.0F);
  std::vector<float> y(1000, 1.0F);
  const uint64_t bytes = x.size() * sizeof(float);
  PTXSMITH_ASSIGN_OR_RETURN(const Buffer device_x, device->Allocate(bytes, "x"));
  PTXSMITH_ASSIGN_OR_RETURN(const Buffer device_y, device->Allocate(bytes, "y"));
  PTXSMITH_ASSIGN_OR_RETURN(Stream stream, device->NewStream());
  PTXSMITH_RETURN_IF_ERROR(stream.CopyToDevice(device_x, x.data(), bytes));
  PTXSMITH_RETURN_IF_ERROR(stream.CopyToDevice(device_y, y.data(), bytes));
  PTXSMITH_ASSIGN_OR_RETURN(const BoundLaunch saxpy, Bind(module, {device_y, device_x, 1000U}));
  PTXSMITH_RETURN_IF_ERROR(Enqueue(saxpy, stream));
  PTXSMITH_RETURN_IF_ERROR(stream.CopyToHost(y.data(), device_y, bytes));
  PTXSMITH_RETURN_IF_ERROR(stream.Synchronize());
  std::printf("%s: 3 * 2 + 1 = %g\n", device->profile().name.c_str(), y[999]);
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Run(argc > 1 ? argv[1] : "auto");
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return status.ok() ? 0 : 1;
}

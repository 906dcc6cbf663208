// A host program with a CUDA context, a stream and memory of its own lets the library put a kernel
// between its own work. Exits with 77 where there is no GPU.
#include <cuda.h>
#include <dlfcn.h>

#include <cstdio>
#include <vector>

#include "codegen/status_macros.h"
#include "ptx_templates/elementwise.h"
#include "runtime/cuda_device.h"
#include "runtime/launch.h"
#include "runtime/module_cache.h"

namespace {

using namespace ptxsmith;  // NOLINT: an example

constexpr uint32_t kCount = 4096;
constexpr uint64_t kBytes = kCount * sizeof(float);

// The driver as the host program uses it. One that links against libcuda calls it directly.
struct Driver {
  decltype(&cuInit) init;
  CUresult (*create_context)(CUcontext*, unsigned, CUdevice);  // cuCtxCreate_v2
  decltype(&cuCtxDestroy_v2) destroy_context;
  decltype(&cuStreamCreate) create_stream;
  decltype(&cuStreamDestroy_v2) destroy_stream;
  decltype(&cuMemAlloc_v2) allocate;
  decltype(&cuMemFree_v2) free;
  decltype(&cuMemcpyHtoDAsync_v2) copy_in;
  decltype(&cuMemcpyDtoHAsync_v2) copy_out;
  decltype(&cuStreamSynchronize) synchronize;
};

// What the library does in it: x += y on the host's stream, in the host's memory.
absl::Status Add(CUcontext context, CUstream host_stream, CUdeviceptr x, CUdeviceptr y) {
  PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<Device> device, AdoptCuda(context));
  const Target& target = device->profile().target;
  ModuleCache cache(device, CompilationFor(*device));
  ResidualAddSpec spec;
  spec.n = kCount;
  PTXSMITH_ASSIGN_OR_RETURN(const auto module, cache.GetOrBuild(KeyOf(spec, target), [&] {
    return BuildResidualAdd(spec, target);
  }));
  PTXSMITH_ASSIGN_OR_RETURN(const BoundLaunch add,
                            Bind(module, {BufferView(x, kBytes), BufferView(y, kBytes)}));
  const Stream stream =
      Stream::Borrow(device, reinterpret_cast<DeviceBackend::Handle>(host_stream));
  PTXSMITH_RETURN_IF_ERROR(Enqueue(add, stream));
  // The kernel's code must live until it has run, and so must `module`.
  return device->RawSynchronize(stream.handle());
}

template <class Function>
bool Load(void* library, const char* symbol, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, symbol));
  return function != nullptr;
}

}  // namespace

int main() {
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  Driver cuda = {};
  const bool loaded = library != nullptr && Load(library, "cuInit", cuda.init) &&
                      Load(library, "cuCtxCreate_v2", cuda.create_context) &&
                      Load(library, "cuCtxDestroy_v2", cuda.destroy_context) &&
                      Load(library, "cuStreamCreate", cuda.create_stream) &&
                      Load(library, "cuStreamDestroy_v2", cuda.destroy_stream) &&
                      Load(library, "cuMemAlloc_v2", cuda.allocate) &&
                      Load(library, "cuMemFree_v2", cuda.free) &&
                      Load(library, "cuMemcpyHtoDAsync_v2", cuda.copy_in) &&
                      Load(library, "cuMemcpyDtoHAsync_v2", cuda.copy_out) &&
                      Load(library, "cuStreamSynchronize", cuda.synchronize);
  CUcontext context = nullptr;
  if (!loaded || cuda.init(0) != CUDA_SUCCESS ||
      cuda.create_context(&context, 0, 0) != CUDA_SUCCESS) {
    std::printf("no GPU\n");
    return 77;
  }
  CUstream stream = nullptr;
  CUdeviceptr x = 0;
  CUdeviceptr y = 0;
  cuda.create_stream(&stream, CU_STREAM_NON_BLOCKING);
  cuda.allocate(&x, kBytes);
  cuda.allocate(&y, kBytes);
  std::vector<float> host_x(kCount, 1.0F);
  const std::vector<float> host_y(kCount, 2.0F);
  cuda.copy_in(x, host_x.data(), kBytes, stream);
  cuda.copy_in(y, host_y.data(), kBytes, stream);
  const absl::Status status = Add(context, stream, x, y);
  cuda.copy_out(host_x.data(), x, kBytes, stream);
  const CUresult result = cuda.synchronize(stream);
  std::printf("1 + 2 = %g, %s, the host's calls: %d\n", host_x[kCount - 1],
              status.ToString().c_str(), static_cast<int>(result));
  cuda.free(x);
  cuda.free(y);
  cuda.destroy_stream(stream);
  cuda.destroy_context(context);
  return status.ok() && result == CUDA_SUCCESS && host_x[kCount - 1] == 3.0F ? 0 : 1;
}

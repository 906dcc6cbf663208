#include "tests/runtime/fake_driver.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace ptxsmith {
namespace {

FakeDriver* current = nullptr;

FakeDriver& Fake() { return FakeDriver::Current(); }

// The start of every fake call.
#define ENTER(call) \
  if (const CUresult failure = Fake().Enter(call); failure != CUDA_SUCCESS) return failure

// Handles are addresses of small blocks of the heap, so that a double release or a leak also shows
// in the address sanitizer.
template <class Handle>
CUresult Make(const char* kind, Handle* handle) {
  *handle = reinterpret_cast<Handle>(std::malloc(1));
  Fake().Adjust(kind, 1);
  return CUDA_SUCCESS;
}

// Like the real driver, gives the thing back even when it reports an earlier fault.
template <class Handle>
CUresult Unmake(const char* call, const char* kind, Handle handle) {
  const CUresult result = Fake().Enter(call);
  std::free(reinterpret_cast<void*>(handle));
  Fake().Adjust(kind, -1);
  return result;
}

CUresult Init(unsigned) {
  ENTER("cuInit");
  return CUDA_SUCCESS;
}
CUresult DriverGetVersion(int* version) {
  ENTER("cuDriverGetVersion");
  *version = Fake().driver_version;
  return CUDA_SUCCESS;
}
CUresult GetErrorName(CUresult error, const char** name) {
  switch (error) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      *name = "CUDA_ERROR_OUT_OF_MEMORY";
      return CUDA_SUCCESS;
    case CUDA_ERROR_INVALID_PTX:
      *name = "CUDA_ERROR_INVALID_PTX";
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_INVALID_VALUE;  // an error it does not know
  }
}
CUresult GetErrorString(CUresult error, const char** text) {
  const char* name = nullptr;
  const CUresult result = GetErrorName(error, &name);
  if (result == CUDA_SUCCESS) *text = "as told to";
  return result;
}
CUresult DeviceGetCount(int* count) {
  ENTER("cuDeviceGetCount");
  *count = Fake().device_count;
  return CUDA_SUCCESS;
}
CUresult DeviceGet(CUdevice* device, int ordinal) {
  ENTER("cuDeviceGet");
  *device = ordinal;
  return CUDA_SUCCESS;
}
CUresult DeviceGetName(char* name, int length, CUdevice) {
  ENTER("cuDeviceGetName");
  std::strncpy(name, "fake GPU", static_cast<size_t>(length));
  return CUDA_SUCCESS;
}
CUresult DeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice) {
  ENTER("cuDeviceGetAttribute");
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      *value = Fake().sm_major;
      break;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      *value = Fake().sm_minor;
      break;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      *value = 132;
      break;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      *value = 227 * 1024;
      break;
    case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
      *value = 50 << 20;
      break;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  return CUDA_SUCCESS;
}
CUresult DeviceTotalMem(size_t* bytes, CUdevice) {
  ENTER("cuDeviceTotalMem");
  *bytes = size_t{1} << 30;
  return CUDA_SUCCESS;
}
CUresult DevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
  ENTER("cuDevicePrimaryCtxRetain");
  *context = reinterpret_cast<CUcontext>(0x1000);
  Fake().Adjust("context", 1);
  return CUDA_SUCCESS;
}
CUresult DevicePrimaryCtxRelease(CUdevice) {
  Fake().Adjust("context", -1);
  return Fake().Enter("cuDevicePrimaryCtxRelease");
}
CUresult CtxGetDevice(CUdevice* device) {
  ENTER("cuCtxGetDevice");
  *device = 1;
  return CUDA_SUCCESS;
}
CUresult CtxSetCurrent(CUcontext context) {
  ENTER("cuCtxSetCurrent");
  return context == nullptr ? CUDA_ERROR_INVALID_CONTEXT : CUDA_SUCCESS;
}

CUresult ModuleLoadDataEx(CUmodule* module, const void* image, unsigned count,
                          CUjit_option* options, void** values) {
  ENTER("cuModuleLoadDataEx");
  FakeDriver& fake = Fake();
  if (std::memcmp(image,
                  "\x7f"
                  "ELF",
                  4) == 0) {
    if (count != 0) fake.jit_problem = "code needs no compiler";
    ++fake.codes_loaded;
    return fake.code_result != CUDA_SUCCESS ? fake.code_result : Make("module", module);
  }
  char* buffers[2] = {};
  uintptr_t sizes[2] = {};
  for (unsigned i = 0; i < count; ++i) {
    const auto number = reinterpret_cast<uintptr_t>(values[i]);
    switch (options[i]) {
      case CU_JIT_INFO_LOG_BUFFER:
        buffers[0] = static_cast<char*>(values[i]);
        break;
      case CU_JIT_ERROR_LOG_BUFFER:
        buffers[1] = static_cast<char*>(values[i]);
        break;
      // Numbers travel in the pointer's bits; the address of a variable would be far larger.
      case CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES:
        sizes[0] = number;
        break;
      case CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
        sizes[1] = number;
        break;
      case CU_JIT_LOG_VERBOSE:
        if (number != 1) fake.jit_problem = "CU_JIT_LOG_VERBOSE is not 1";
        break;
      case CU_JIT_OPTIMIZATION_LEVEL:
        if (number > 4) fake.jit_problem = "CU_JIT_OPTIMIZATION_LEVEL is beyond 4";
        break;
      default:
        fake.jit_problem = "unknown option " + std::to_string(options[i]);
    }
  }
  const std::string texts[] = {fake.info_log, fake.error_log};
  for (int i = 0; i < 2; ++i) {
    if (buffers[i] == nullptr || sizes[i] < 1024 || sizes[i] > (1 << 20)) {
      fake.jit_problem = "log of " + std::to_string(sizes[i]) + " bytes";
      continue;
    }
    // The whole buffer is the driver's to write.
    std::memset(buffers[i], 0, sizes[i]);
    std::memcpy(buffers[i], texts[i].c_str(), std::min(texts[i].size(), sizes[i] - 1));
  }
  if (std::strlen(static_cast<const char*>(image)) == 0) fake.jit_problem = "no text";
  return fake.jit_result != CUDA_SUCCESS ? fake.jit_result : Make("module", module);
}
CUresult ModuleUnload(CUmodule module) { return Unmake("cuModuleUnload", "module", module); }
CUresult ModuleGetFunction(CUfunction* function, CUmodule module, const char*) {
  ENTER("cuModuleGetFunction");
  *function = reinterpret_cast<CUfunction>(module);
  return CUDA_SUCCESS;
}
CUresult FuncGetAttribute(int* value, CUfunction_attribute attribute, CUfunction) {
  ENTER("cuFuncGetAttribute");
  *value = attribute == CU_FUNC_ATTRIBUTE_NUM_REGS ? 40 : 16;
  return CUDA_SUCCESS;
}
CUresult FuncSetAttribute(CUfunction, CUfunction_attribute attribute, int value) {
  ENTER("cuFuncSetAttribute");
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES) return CUDA_ERROR_INVALID_VALUE;
  Fake().opted_in_shared = value;
  return CUDA_SUCCESS;
}

CUresult MemAlloc(CUdeviceptr* ptr, size_t bytes) {
  ENTER("cuMemAlloc");
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  *ptr = reinterpret_cast<CUdeviceptr>(std::aligned_alloc(256, (bytes + 255) / 256 * 256));
  Fake().Adjust("memory", 1);
  return CUDA_SUCCESS;
}
CUresult MemFree(CUdeviceptr ptr) { return Unmake("cuMemFree", "memory", ptr); }
CUresult MemcpyHtoDAsync(CUdeviceptr to, const void* from, size_t bytes, CUstream) {
  ENTER("cuMemcpyHtoDAsync");
  std::memcpy(reinterpret_cast<void*>(to), from, bytes);
  return CUDA_SUCCESS;
}
CUresult MemcpyDtoHAsync(void* to, CUdeviceptr from, size_t bytes, CUstream) {
  ENTER("cuMemcpyDtoHAsync");
  std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
  return CUDA_SUCCESS;
}
CUresult MemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream) {
  ENTER("cuMemcpyDtoDAsync");
  std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  return CUDA_SUCCESS;
}
CUresult MemsetD8Async(CUdeviceptr to, unsigned char value, size_t bytes, CUstream) {
  ENTER("cuMemsetD8Async");
  std::memset(reinterpret_cast<void*>(to), value, bytes);
  return CUDA_SUCCESS;
}

CUresult StreamCreate(CUstream* stream, unsigned flags) {
  ENTER("cuStreamCreate");
  if (flags != CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
  return Make("stream", stream);
}
CUresult StreamDestroy(CUstream stream) { return Unmake("cuStreamDestroy", "stream", stream); }
CUresult StreamSynchronize(CUstream) {
  ENTER("cuStreamSynchronize");
  return CUDA_SUCCESS;
}
CUresult StreamWaitEvent(CUstream, CUevent, unsigned) {
  ENTER("cuStreamWaitEvent");
  return CUDA_SUCCESS;
}
CUresult EventCreate(CUevent* event, unsigned) {
  ENTER("cuEventCreate");
  return Make("event", event);
}
CUresult EventDestroy(CUevent event) { return Unmake("cuEventDestroy", "event", event); }
CUresult EventRecord(CUevent, CUstream) {
  ENTER("cuEventRecord");
  return CUDA_SUCCESS;
}
CUresult EventSynchronize(CUevent) {
  ENTER("cuEventSynchronize");
  return CUDA_SUCCESS;
}
CUresult EventElapsedTime(float* ms, CUevent, CUevent) {
  ENTER("cuEventElapsedTime");
  *ms = 1.5f;
  return CUDA_SUCCESS;
}

void NoteLaunch(unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                unsigned shared, void** params) {
  FakeDriver& fake = Fake();
  const unsigned grid[] = {gx, gy, gz};
  const unsigned block[] = {bx, by, bz};
  std::copy(grid, grid + 3, fake.grid);
  std::copy(block, block + 3, fake.block);
  fake.dynamic_shared = shared;
  fake.params = params;
}

CUresult LaunchKernel(CUfunction, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                      unsigned bz, unsigned shared, CUstream, void** params, void** extra) {
  ENTER("cuLaunchKernel");
  NoteLaunch(gx, gy, gz, bx, by, bz, shared, params);
  return extra == nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult LaunchKernelEx(const CUlaunchConfig* config, CUfunction function, void** params,
                        void** extra) {
  ENTER("cuLaunchKernelEx");
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    const CUlaunchAttribute& attribute = config->attrs[i];
    if (attribute.id == CU_LAUNCH_ATTRIBUTE_COOPERATIVE && attribute.value.cooperative == 1) {
      Fake().attributes.emplace_back("cooperative");
    } else if (attribute.id == CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION &&
               attribute.value.programmaticStreamSerializationAllowed == 1) {
      Fake().attributes.emplace_back("programmatic");
    } else {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  NoteLaunch(config->gridDimX, config->gridDimY, config->gridDimZ, config->blockDimX,
             config->blockDimY, config->blockDimZ, config->sharedMemBytes, params);
  return extra == nullptr && function != nullptr ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult MemHostAlloc(void** memory, size_t bytes, unsigned) {
  ENTER("cuMemHostAlloc");
  *memory = std::malloc(bytes);
  Fake().Adjust("pinned", 1);
  return CUDA_SUCCESS;
}
CUresult MemFreeHost(void* memory) { return Unmake("cuMemFreeHost", "pinned", memory); }

CUresult StreamBeginCapture(CUstream, CUstreamCaptureMode mode) {
  ENTER("cuStreamBeginCapture");
  return mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult StreamEndCapture(CUstream, CUgraph* graph) {
  ENTER("cuStreamEndCapture");
  return Make("graph", graph);
}
CUresult GraphCreate(CUgraph* graph, unsigned) {
  ENTER("cuGraphCreate");
  return Make("graph", graph);
}
CUresult GraphDestroy(CUgraph graph) { return Unmake("cuGraphDestroy", "graph", graph); }
CUresult GraphInstantiate(CUgraphExec* executable, CUgraph, unsigned long long) {
  ENTER("cuGraphInstantiateWithFlags");
  return Make("executable", executable);
}
CUresult GraphExecDestroy(CUgraphExec executable) {
  return Unmake("cuGraphExecDestroy", "executable", executable);
}
CUresult GraphLaunch(CUgraphExec, CUstream) {
  ENTER("cuGraphLaunch");
  return CUDA_SUCCESS;
}
CUresult GraphAddKernelNode(CUgraphNode* node, CUgraph, const CUgraphNode*, size_t dependencies,
                            const CUDA_KERNEL_NODE_PARAMS* params) {
  ENTER("cuGraphAddKernelNode");
  NoteLaunch(params->gridDimX, params->gridDimY, params->gridDimZ, params->blockDimX,
             params->blockDimY, params->blockDimZ, params->sharedMemBytes, params->kernelParams);
  *node = reinterpret_cast<CUgraphNode>(params->func);
  return dependencies == 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}
CUresult GraphKernelNodeSetAttribute(CUgraphNode, CUkernelNodeAttrID id,
                                     const CUkernelNodeAttrValue* value) {
  ENTER("cuGraphKernelNodeSetAttribute");
  if (id != CU_LAUNCH_ATTRIBUTE_COOPERATIVE || value->cooperative != 1) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  Fake().attributes.emplace_back("cooperative");
  return CUDA_SUCCESS;
}
CUresult GraphAddDependencies(CUgraph, const CUgraphNode*, const CUgraphNode*,
                              const CUgraphEdgeData* data, size_t count) {
  ENTER("cuGraphAddDependencies");
  const bool programmatic = data->type == CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC &&
                            data->from_port == CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
  Fake().attributes.emplace_back(programmatic ? "programmatic" : "edge");
  return count == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

}  // namespace

FakeDriver::FakeDriver() {
  current = this;
  auto api = std::make_shared<DriverApi>();
#define FILL(member, symbol) api->member = member;
  PTXSMITH_DRIVER_CALLS(FILL)
  PTXSMITH_NEWER_DRIVER_CALLS(FILL)
#undef FILL
  api_ = std::move(api);
}

void FakeDriver::ForgetNewerCalls() {
  auto api = std::make_shared<DriverApi>(*api_);
#define FORGET(member, symbol) api->member = nullptr;
  PTXSMITH_NEWER_DRIVER_CALLS(FORGET)
#undef FORGET
  api_ = std::move(api);
}

FakeDriver::~FakeDriver() { current = nullptr; }

FakeDriver& FakeDriver::Current() { return *current; }

void FakeDriver::FailAt(size_t index, CUresult error, bool forever) {
  fail_index_ = index;
  error_ = error;
  forever_ = forever;
}

CUresult FakeDriver::Enter(const char* call) {
  std::lock_guard<std::mutex> lock(mutex_);
  const size_t index = calls_.size();
  calls_.push_back(call);
  return index == fail_index_ || (forever_ && index > fail_index_) ? error_ : CUDA_SUCCESS;
}

void FakeDriver::Adjust(const char* kind, int by) {
  std::lock_guard<std::mutex> lock(mutex_);
  live_[kind] += by;
}

size_t FakeDriver::Count(const std::string& call) const {
  return static_cast<size_t>(std::count(calls_.begin(), calls_.end(), call));
}

std::map<std::string, int> FakeDriver::Live() const {
  std::map<std::string, int> live;
  for (const auto& [kind, count] : live_) {
    if (count != 0) live[kind] = count;
  }
  return live;
}

}  // namespace ptxsmith

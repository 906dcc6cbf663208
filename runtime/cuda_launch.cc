#include "runtime/cuda_launch.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/cuda_module.h"

namespace ptxsmith {
namespace {

const CudaModule& ModuleOf(const RawLaunch& launch) {
  return static_cast<const CudaModule&>(*launch.module);
}

// Checks the result of a call about one launch. Text is made for failures only.
absl::Status CheckLaunch(const CudaContext& context, CUresult result, absl::string_view call,
                         const RawLaunch& launch) {
  if (result == CUDA_SUCCESS) return absl::OkStatus();
  return context.Failure(
      result, absl::StrCat(call, " of ", launch.module->spec().key, ", grid ", launch.grid[0], "x",
                           launch.grid[1], "x", launch.grid[2]));
}

absl::Status TooOld(absl::string_view what, absl::string_view version) {
  return absl::FailedPreconditionError(
      absl::StrCat(what, " needs a driver for CUDA ", version, " or later"));
}

// Makes the graph launchable unless filling it failed, and gives it up in any case.
absl::StatusOr<CUgraphExec> Instantiate(const CudaContext& context, CUgraph graph,
                                        absl::Status status) {
  const DriverApi& api = *context.api;
  CUgraphExec executable = nullptr;
  if (status.ok()) {
    status = api.GraphInstantiate == nullptr
                 ? TooOld("a graph", "11.4")
                 : context.Check(api.GraphInstantiate(&executable, graph, 0),
                                 "cuGraphInstantiateWithFlags");
  }
  status.Update(context.Check(api.GraphDestroy(graph), "cuGraphDestroy"));
  if (status.ok()) return executable;
  if (executable != nullptr) api.GraphExecDestroy(executable);
  return status;
}

absl::Status AddNode(const CudaContext& context, CUgraph graph, const RawLaunch& launch,
                     CUgraphNode* node) {
  const auto& block = launch.module->spec().launch.block;
  CUDA_KERNEL_NODE_PARAMS params = {};
  params.func = ModuleOf(launch).function();
  params.gridDimX = launch.grid[0];
  params.gridDimY = launch.grid[1];
  params.gridDimZ = launch.grid[2];
  params.blockDimX = block[0];
  params.blockDimY = block[1];
  params.blockDimZ = block[2];
  params.sharedMemBytes = launch.dynamic_shared;
  params.kernelParams = const_cast<void**>(launch.params);
  PTXSMITH_RETURN_IF_ERROR(
      CheckLaunch(context, context.api->GraphAddKernelNode(node, graph, nullptr, 0, &params),
                  "cuGraphAddKernelNode", launch));
  if (!launch.module->spec().launch.cooperative) return absl::OkStatus();
  CUlaunchAttributeValue value = {};
  value.cooperative = 1;
  return CheckLaunch(
      context,
      context.api->GraphKernelNodeSetAttribute(*node, CU_LAUNCH_ATTRIBUTE_COOPERATIVE, &value),
      "cuGraphKernelNodeSetAttribute(COOPERATIVE)", launch);
}

absl::Status AddChain(const CudaContext& context, CUgraph graph,
                      absl::Span<const RawLaunch> launches) {
  CUgraphNode last = nullptr;
  for (const RawLaunch& launch : launches) {
    CUgraphNode node = nullptr;
    PTXSMITH_RETURN_IF_ERROR(AddNode(context, graph, launch, &node));
    if (last != nullptr) {
      CUgraphEdgeData edge = {};
      if (launch.module->spec().launch.programmatic) {
        edge.from_port = CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC;
        edge.type = CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC;
      }
      PTXSMITH_RETURN_IF_ERROR(
          CheckLaunch(context, context.api->GraphAddDependencies(graph, &last, &node, &edge, 1),
                      "cuGraphAddDependencies", launch));
    }
    last = node;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LaunchKernel(const CudaContext& context, CUstream stream, const RawLaunch& launch) {
  PTXSMITH_RETURN_IF_ERROR(context.MakeCurrent());
  const DriverApi& api = *context.api;
  const LaunchRule& rule = launch.module->spec().launch;
  const auto& block = rule.block;
  const auto& grid = launch.grid;
  void** const params = const_cast<void**>(launch.params);
  const CUfunction function = ModuleOf(launch).function();
  CUlaunchAttribute attributes[2] = {};
  unsigned count = 0;
  if (rule.cooperative) {
    if (api.LaunchKernelEx == nullptr) return TooOld("a cooperative launch", "11.8");
    attributes[count].id = CU_LAUNCH_ATTRIBUTE_COOPERATIVE;
    attributes[count++].value.cooperative = 1;
  }
  // An older driver starts the kernel when the one before it has ended, which is always right.
  if (rule.programmatic && api.LaunchKernelEx != nullptr) {
    attributes[count].id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attributes[count++].value.programmaticStreamSerializationAllowed = 1;
  }
  if (count == 0) {
    return CheckLaunch(context,
                       api.LaunchKernel(function, grid[0], grid[1], grid[2], block[0], block[1],
                                        block[2], launch.dynamic_shared, stream, params, nullptr),
                       "cuLaunchKernel", launch);
  }
  CUlaunchConfig config = {};
  config.gridDimX = grid[0];
  config.gridDimY = grid[1];
  config.gridDimZ = grid[2];
  config.blockDimX = block[0];
  config.blockDimY = block[1];
  config.blockDimZ = block[2];
  config.sharedMemBytes = launch.dynamic_shared;
  config.hStream = stream;
  config.attrs = attributes;
  config.numAttrs = count;
  return CheckLaunch(context, api.LaunchKernelEx(&config, function, params, nullptr),
                     "cuLaunchKernelEx", launch);
}

absl::StatusOr<CUgraphExec> EndCapture(const CudaContext& context, CUstream stream) {
  PTXSMITH_RETURN_IF_ERROR(context.MakeCurrent());
  CUgraph graph = nullptr;
  PTXSMITH_RETURN_IF_ERROR(
      context.Check(context.api->StreamEndCapture(stream, &graph), "cuStreamEndCapture"));
  return Instantiate(context, graph, absl::OkStatus());
}

absl::StatusOr<CUgraphExec> BuildGraph(const CudaContext& context,
                                       absl::Span<const RawLaunch> launches) {
  if (context.api->GraphAddDependencies == nullptr) {
    return TooOld("a graph of kernel nodes", "12.3");
  }
  PTXSMITH_RETURN_IF_ERROR(context.MakeCurrent());
  CUgraph graph = nullptr;
  PTXSMITH_RETURN_IF_ERROR(context.Check(context.api->GraphCreate(&graph, 0), "cuGraphCreate"));
  return Instantiate(context, graph, AddChain(context, graph, launches));
}

}  // namespace ptxsmith

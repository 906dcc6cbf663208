// Launches through the CUDA driver, one by one and as graphs. Internal to the cuda_*.cc files.
//
//   PTXSMITH_RETURN_IF_ERROR(LaunchKernel(context, stream, launch));
//   PTXSMITH_ASSIGN_OR_RETURN(CUgraphExec graph, BuildGraph(context, launches));
//
// Thread-safety: that of the context. The caller owns the graphs. Errors: what the driver said,
// with the kernel; FailedPrecondition when it is too old for what was asked.
#ifndef PTXSMITH_RUNTIME_CUDA_LAUNCH_H_
#define PTXSMITH_RUNTIME_CUDA_LAUNCH_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/cuda_context.h"
#include "runtime/device.h"

namespace ptxsmith {

absl::Status LaunchKernel(const CudaContext& context, CUstream stream, const RawLaunch& launch);

// Ends the capture on the stream, also when it fails, and makes what was captured launchable.
absl::StatusOr<CUgraphExec> EndCapture(const CudaContext& context, CUstream stream);

// The launches as kernel nodes in a chain. Where a kernel is programmatic, its edge lets it start
// when the one before it allows that rather than when it has ended.
absl::StatusOr<CUgraphExec> BuildGraph(const CudaContext& context,
                                       absl::Span<const RawLaunch> launches);

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_CUDA_LAUNCH_H_

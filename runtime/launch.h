// Binding and launching. Bind checks everything once; Enqueue then only launches.
//
//   PTXSMITH_ASSIGN_OR_RETURN(BoundLaunch gemv, Bind(module, {y, w, x}));
//   PTXSMITH_RETURN_IF_ERROR(Enqueue(gemv, stream));
//
// Neither looks at what the kernel is: programmatic and cooperative launches come from its
// LaunchRule.
//
// A BoundLaunch holds addresses: the buffers must outlive it. It is move-only, may be enqueued any
// number of times and from any thread (one at a time per stream).
#ifndef PTXSMITH_RUNTIME_LAUNCH_H_
#define PTXSMITH_RUNTIME_LAUNCH_H_

#include <cstdint>
#include <memory>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/device.h"

namespace ptxsmith {

// One kernel argument: a buffer for a pointer parameter, a number for a scalar one.
using Arg = std::variant<BufferView, uint32_t, float>;

class BoundLaunch {
 public:
  BoundLaunch() = default;
  BoundLaunch(BoundLaunch&&) = default;
  BoundLaunch& operator=(BoundLaunch&&) = default;

  const Module& module() const { return *module_; }
  const std::shared_ptr<const Module>& shared_module() const { return module_; }
  const std::array<uint32_t, 3>& grid() const { return raw_.grid; }
  // Global memory moved and operations done by one launch, from KernelSpec::cost.
  uint64_t bytes() const { return bytes_; }
  uint64_t flops() const { return flops_; }

 private:
  friend absl::StatusOr<BoundLaunch> Bind(std::shared_ptr<const Module> module,
                                          absl::Span<const Arg> args);
  friend absl::Status Enqueue(const BoundLaunch& launch, const Stream& stream);

  std::shared_ptr<const Module> module_;
  std::vector<uint64_t> values_;  // one per parameter
  std::vector<void*> pointers_;   // into values_
  RawLaunch raw_;
  uint64_t bytes_ = 0;
  uint64_t flops_ = 0;
};

// Checks the number, type, size and alignment of the arguments and evaluates the grid.
// InvalidArgument names the kernel, the parameter, the value and the limit. A launch with an empty
// grid is valid and does nothing.
absl::StatusOr<BoundLaunch> Bind(std::shared_ptr<const Module> module, absl::Span<const Arg> args);

// Puts the launch on the stream, or into the graph that is recorded from it: the one place where
// kernels are launched. REQUIRES: same device.
absl::Status Enqueue(const BoundLaunch& launch, const Stream& stream);

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_LAUNCH_H_

// Times matrix-vector kernels as a model runs them: one after the other in a graph, each over
// weights that no cache holds. Used by `ptxsmith tune`.
//
//   PTXSMITH_ASSIGN_OR_RETURN(ColdTimer timer, ColdTimer::Create(device));
//   PTXSMITH_ASSIGN_OR_RETURN(const double us, timer.Microseconds(module, problem, /*repeats=*/5));
//
// Thread-safety: belongs to one thread. Errors: those of the device.
#ifndef PTXSMITH_TOOLS_COLD_TIMER_H_
#define PTXSMITH_TOOLS_COLD_TIMER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "ptx_templates/candidates.h"
#include "runtime/device.h"

namespace ptxsmith {

class ColdTimer {
 public:
  static absl::StatusOr<ColdTimer> Create(const std::shared_ptr<Device>& device);

  // The median time of a launch of `module`, a gemv with arguments y, w and x, over so many graphs.
  absl::StatusOr<double> Microseconds(const std::shared_ptr<const Module>& module,
                                      const GemvProblem& problem, uint32_t repeats);

 private:
  std::shared_ptr<Device> device_;
  Stream stream_;
  Buffer weights_;  // several times the L2: many copies of a matrix
  Buffer x_, y_;
  Event begin_, end_;
};

// Bytes of the weights of a problem.
uint64_t WeightBytes(const GemvProblem& problem);

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_COLD_TIMER_H_

#include "tools/cold_timer.h"

#include <algorithm>

#include "codegen/status_macros.h"
#include "runtime/graph.h"
#include "runtime/launch.h"

namespace ptxsmith {
namespace {

constexpr uint64_t kWeightBytes = uint64_t{1} << 30;
constexpr uint64_t kVectorBytes = uint64_t{1} << 20;  // rows and activations of the largest models
constexpr uint32_t kMinLaunches = 4;
constexpr uint32_t kMaxLaunches = 128;

}  // namespace

uint64_t WeightBytes(const GemvProblem& problem) {
  const QuantTypeInfo& info = Info(problem.quant);
  return uint64_t{problem.n} * (problem.k / info.block_weights) * info.block_bytes;
}

absl::StatusOr<ColdTimer> ColdTimer::Create(const std::shared_ptr<Device>& device) {
  ColdTimer timer;
  timer.device_ = device;
  PTXSMITH_ASSIGN_OR_RETURN(timer.stream_, device->NewStream());
  PTXSMITH_ASSIGN_OR_RETURN(timer.weights_, device->Allocate(kWeightBytes, "weights"));
  PTXSMITH_ASSIGN_OR_RETURN(timer.x_, device->Allocate(kVectorBytes, "x"));
  PTXSMITH_ASSIGN_OR_RETURN(timer.y_, device->Allocate(kVectorBytes, "y"));
  PTXSMITH_ASSIGN_OR_RETURN(timer.begin_, device->NewEvent());
  PTXSMITH_ASSIGN_OR_RETURN(timer.end_, device->NewEvent());
  // Some bits set everywhere: numbers of about 1 in f32, small ones in f16.
  PTXSMITH_RETURN_IF_ERROR(timer.stream_.Fill(timer.weights_, 0x25));
  PTXSMITH_RETURN_IF_ERROR(timer.stream_.Fill(timer.x_, 0x3f));
  PTXSMITH_RETURN_IF_ERROR(timer.stream_.Synchronize());
  return timer;
}

absl::StatusOr<double> ColdTimer::Microseconds(const std::shared_ptr<const Module>& module,
                                               const GemvProblem& problem, uint32_t repeats) {
  const uint64_t bytes = WeightBytes(problem);
  const uint64_t stride = (bytes + 255) / 256 * 256;
  const uint64_t copies = std::max<uint64_t>(1, weights_.bytes() / stride);
  const uint64_t launches = std::clamp<uint64_t>(copies, kMinLaunches, kMaxLaunches);
  std::vector<BoundLaunch> bound;
  for (uint64_t i = 0; i < launches; ++i) {
    if (bytes > weights_.bytes()) {
      PTXSMITH_ASSIGN_OR_RETURN(weights_, device_->Allocate(stride, "weights"));
      PTXSMITH_RETURN_IF_ERROR(stream_.Fill(weights_, 0x25));
    }
    const BufferView w = BufferView(weights_).Slice(i % copies * stride, bytes);
    PTXSMITH_ASSIGN_OR_RETURN(BoundLaunch launch, Bind(module, {y_, w, x_}));
    bound.push_back(std::move(launch));
  }
  PTXSMITH_ASSIGN_OR_RETURN(const Graph graph, Graph::Record(stream_, Graph::Method::kNodes, [&] {
                              for (const BoundLaunch& launch : bound) {
                                PTXSMITH_RETURN_IF_ERROR(Enqueue(launch, stream_));
                              }
                              return absl::OkStatus();
                            }));
  std::vector<double> times;
  for (uint32_t i = 0; i <= repeats; ++i) {
    PTXSMITH_RETURN_IF_ERROR(begin_.Record(stream_));
    PTXSMITH_RETURN_IF_ERROR(graph.Launch(stream_));
    PTXSMITH_RETURN_IF_ERROR(end_.Record(stream_));
    PTXSMITH_ASSIGN_OR_RETURN(const double ms, end_.MsSince(begin_));
    if (i > 0) times.push_back(ms * 1e3 / static_cast<double>(launches));  // the first warms up
  }
  std::nth_element(times.begin(), times.begin() + repeats / 2, times.end());
  return times[repeats / 2];
}

}  // namespace ptxsmith

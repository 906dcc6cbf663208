#include "runtime/graph.h"

#include "codegen/status_macros.h"

namespace ptxsmith {

absl::StatusOr<Graph> Graph::Record(Stream& stream, Method method,
                                    absl::FunctionRef<absl::Status()> enqueue) {
  Device& device = *stream.device();
  const bool capturing = method == Method::kCapture;
  GraphRecorder recorder(capturing);
  if (capturing) PTXSMITH_RETURN_IF_ERROR(device.RawBeginCapture(stream.handle()));
  stream.recorder_ = &recorder;
  const absl::Status enqueued = enqueue();
  stream.recorder_ = nullptr;
  absl::StatusOr<DeviceBackend::Handle> graph =
      capturing       ? device.RawEndCapture(stream.handle())
      : enqueued.ok() ? device.RawBuildGraph(recorder.launches_)
                      : absl::StatusOr<DeviceBackend::Handle>(enqueued);
  if (!enqueued.ok()) {
    // The call that broke the recording says more than the failure to end it.
    if (graph.ok()) device.LogFailure(device.RawDestroyGraph(*graph));
    return enqueued;
  }
  PTXSMITH_RETURN_IF_ERROR(graph.status());
  return Graph(stream.device(), *graph, std::move(recorder.modules_));
}

Graph::Graph(Graph&& other) noexcept = default;

Graph& Graph::operator=(Graph&& other) noexcept {
  Graph taken(std::move(other));
  std::swap(device_, taken.device_);
  std::swap(handle_, taken.handle_);
  std::swap(modules_, taken.modules_);
  return *this;
}

Graph::~Graph() {
  if (device_ != nullptr) device_->LogFailure(device_->RawDestroyGraph(handle_));
}

absl::Status Graph::Launch(const Stream& stream) const {
  return device_->RawLaunchGraph(stream.handle(), handle_);
}

}  // namespace ptxsmith

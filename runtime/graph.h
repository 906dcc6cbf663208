// A sequence of launches that is recorded once and then launched as one: what a decode step is.
//
//   PTXSMITH_ASSIGN_OR_RETURN(Graph graph, Graph::Record(stream, Graph::Method::kCapture, [&] {
//     return Enqueue(gemv, stream);
//   }));
//   PTXSMITH_RETURN_IF_ERROR(graph.Launch(stream));
//
// What a graph holds is decided where it was recorded: addresses, grids and scalars are those of
// then. It gives the same bits as the launches one by one.
//
// Lifetime: keeps the device and the kernels alive, not the buffers. Thread-safety: as BoundLaunch.
#ifndef PTXSMITH_RUNTIME_GRAPH_H_
#define PTXSMITH_RUNTIME_GRAPH_H_

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/device.h"

namespace ptxsmith {

class Graph {
 public:
  enum class Method {
    kCapture,  // the driver records the stream: kernels, fills and copies on the device
    kNodes,    // a node for each launch: kernels only, and the driver is not in between
  };

  // Runs `enqueue`, whose launches on `stream` become the graph instead of running. Its error is
  // returned as it is, and the stream is as before. FailedPrecondition when it waits for the stream
  // or copies from or to the host, which no graph can hold. REQUIRES: what it enqueues lives until
  // Record returns; no graph is being recorded from `stream`.
  static absl::StatusOr<Graph> Record(Stream& stream, Method method,
                                      absl::FunctionRef<absl::Status()> enqueue);

  Graph() = default;
  Graph(Graph&& other) noexcept;
  Graph& operator=(Graph&& other) noexcept;
  ~Graph();

  // Puts all of it on the stream, with one call of the driver. REQUIRES: recorded.
  absl::Status Launch(const Stream& stream) const;

  size_t kernels() const { return modules_.size(); }

 private:
  Graph(std::shared_ptr<Device> device, DeviceBackend::Handle handle,
        std::vector<std::shared_ptr<const Module>> modules)
      : device_(std::move(device)), handle_(handle), modules_(std::move(modules)) {}

  std::shared_ptr<Device> device_;  // null: empty
  DeviceBackend::Handle handle_ = 0;
  std::vector<std::shared_ptr<const Module>> modules_;  // one per launch
};

// What a stream holds while a graph is recorded from it. Filled by Enqueue alone.
class GraphRecorder {
 public:
  explicit GraphRecorder(bool capturing) : capturing_(capturing) {}

  bool capturing() const { return capturing_; }
  void Add(std::shared_ptr<const Module> module, const RawLaunch& launch) {
    modules_.push_back(std::move(module));
    launches_.push_back(launch);
  }

 private:
  friend class Graph;

  const bool capturing_;
  std::vector<std::shared_ptr<const Module>> modules_;
  std::vector<RawLaunch> launches_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_GRAPH_H_

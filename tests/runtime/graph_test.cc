// Recording and launching graphs: on the emulator and the first GPU what they compute, on a fake
// driver what the driver is asked for.

#include "runtime/graph.h"

#include <functional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/cuda_device.h"
#include "runtime/launch.h"
#include "tests/runtime/fake_driver.h"
#include "tests/runtime/test_kernels.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

constexpr absl::string_view kEmulator = "emu:sm90";
constexpr uint32_t kSize = 1000;

const char* MethodName(Graph::Method method) {
  return method == Graph::Method::kCapture ? "Capture" : "Nodes";
}

class GraphTest : public testing::TestWithParam<std::tuple<const char*, Graph::Method>> {
 protected:
  void SetUp() override {
    const char* name = std::get<0>(GetParam());
    absl::StatusOr<std::shared_ptr<Device>> device = Device::Open(name);
    if (name != kEmulator && absl::IsUnavailable(device.status())) {
      GTEST_SKIP() << device.status().message();
    }
    ASSERT_OK(device);
    device_ = *std::move(device);
    ASSERT_OK_AND_ASSIGN(stream_, device_->NewStream());
    ASSERT_OK_AND_ASSIGN(x_, device_->Allocate(kSize * 4, "x"));
    ASSERT_OK_AND_ASSIGN(y_, device_->Allocate(kSize * 4, "y"));
    const std::vector<float> ones(kSize, 1.0f);
    ASSERT_OK(stream_.CopyToDevice(x_, ones.data(), x_.bytes()));
    ASSERT_OK(stream_.Fill(y_, 0));
    ASSERT_OK(stream_.Synchronize());
    ASSERT_OK_AND_ASSIGN(const auto module, device_->Load(SaxpySpec()));
    ASSERT_OK_AND_ASSIGN(add_one_, Bind(module, {y_, x_, 1.0f, kSize}));
    ASSERT_OK_AND_ASSIGN(add_two_, Bind(module, {y_, x_, 2.0f, kSize}));
  }

  Graph::Method method() const { return std::get<1>(GetParam()); }
  // The one value that all of y has.
  float Y() {
    std::vector<float> values(kSize);
    EXPECT_OK(stream_.CopyToHost(values.data(), y_, y_.bytes()));
    EXPECT_OK(stream_.Synchronize());
    EXPECT_EQ(values, std::vector<float>(kSize, values[0]));
    return values[0];
  }

  std::shared_ptr<Device> device_;
  Stream stream_;
  Buffer x_, y_;
  BoundLaunch add_one_, add_two_;
};

TEST_P(GraphTest, RunsWhatWasRecordedWheneverItIsLaunched) {
  ASSERT_OK_AND_ASSIGN(Graph graph, Graph::Record(stream_, method(), [&] {
                         absl::Status status = Enqueue(add_one_, stream_);
                         status.Update(Enqueue(add_two_, stream_));
                         return status;
                       }));
  EXPECT_EQ(graph.kernels(), 2u);
  EXPECT_EQ(Y(), 0) << "recording runs nothing";
  for (int i = 0; i < 5; ++i) ASSERT_OK(graph.Launch(stream_));
  EXPECT_EQ(Y(), 15);
  ASSERT_OK(Enqueue(add_one_, stream_));
  EXPECT_EQ(Y(), 16) << "launches run again after the recording";
}

TEST_P(GraphTest, OutlivesWhatWasRecorded) {
  Graph graph;
  {
    ASSERT_OK_AND_ASSIGN(const auto module, device_->Load(SaxpySpec()));
    ASSERT_OK_AND_ASSIGN(const BoundLaunch launch, Bind(module, {y_, x_, 3.0f, kSize}));
    ASSERT_OK_AND_ASSIGN(
        graph, Graph::Record(stream_, method(), [&] { return Enqueue(launch, stream_); }));
  }
  ASSERT_OK(graph.Launch(stream_));
  EXPECT_EQ(Y(), 3);
}

TEST_P(GraphTest, NothingIsAGraphToo) {
  ASSERT_OK_AND_ASSIGN(const Graph graph,
                       Graph::Record(stream_, method(), [] { return absl::OkStatus(); }));
  EXPECT_EQ(graph.kernels(), 0u);
  ASSERT_OK(graph.Launch(stream_));
  EXPECT_EQ(Y(), 0);
}

TEST_P(GraphTest, FillsAndCopiesCanBeCaptured) {
  const auto enqueue = [&] {
    absl::Status status = stream_.Fill(y_, 0);
    status.Update(Enqueue(add_two_, stream_));
    status.Update(stream_.CopyOnDevice(x_, y_, y_.bytes()));
    return status;
  };
  absl::StatusOr<Graph> graph = Graph::Record(stream_, method(), enqueue);
  if (method() == Graph::Method::kNodes) {
    EXPECT_THAT(graph, StatusIs(absl::StatusCode::kFailedPrecondition,
                                "fill while a graph of kernels is recorded from this stream"));
    return;
  }
  ASSERT_OK(graph);
  ASSERT_OK(graph->Launch(stream_));
  EXPECT_EQ(Y(), 2);  // x is 2 from here on
  ASSERT_OK(graph->Launch(stream_));
  EXPECT_EQ(Y(), 4);
}

TEST_P(GraphTest, AFailedRecordingSaysWhatBrokeItAndLeavesTheStreamUsable) {
  float host = 0;
  const std::string while_recorded = method() == Graph::Method::kCapture
                                         ? " while a graph is captured from this stream"
                                         : " while a graph of kernels is recorded from this stream";
  const std::pair<std::string, std::function<absl::Status()>> calls[] = {
      {"synchronization", [&] { return stream_.Synchronize(); }},
      {"copy to the device", [&] { return stream_.CopyToDevice(y_, &host, 4); }},
      {"copy to the host", [&] { return stream_.CopyToHost(&host, y_, 4); }}};
  for (const auto& [name, call] : calls) {
    EXPECT_THAT(Graph::Record(stream_, method(),
                              [&, &wait = call] {
                                absl::Status status = Enqueue(add_one_, stream_);
                                status.Update(wait());
                                return status;
                              }),
                StatusIs(absl::StatusCode::kFailedPrecondition, name + while_recorded));
  }
  EXPECT_EQ(Y(), 0);
  ASSERT_OK_AND_ASSIGN(const Graph graph, Graph::Record(stream_, method(), [&] {
                         return Enqueue(add_one_, stream_);
                       }));
  ASSERT_OK(graph.Launch(stream_));
  EXPECT_EQ(Y(), 1);
}

INSTANTIATE_TEST_SUITE_P(, GraphTest,
                         testing::Combine(testing::Values("emu:sm90", "cuda:0"),
                                          testing::Values(Graph::Method::kCapture,
                                                          Graph::Method::kNodes)),
                         [](const auto& info) {
                           return std::string(std::get<0>(info.param)).substr(0, 3) +
                                  MethodName(std::get<1>(info.param));
                         });

class FakeGraphTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(device_, OpenCuda(0, fake_.api()));
    ASSERT_OK_AND_ASSIGN(y_, device_->Allocate(4096, "y"));
    ASSERT_OK_AND_ASSIGN(x_, device_->Allocate(4096, "x"));
    ASSERT_OK_AND_ASSIGN(stream_, device_->NewStream());
  }

  absl::StatusOr<BoundLaunch> Saxpy(bool programmatic, bool cooperative) {
    KernelSpec spec = SaxpySpec();
    spec.launch.programmatic = programmatic;
    spec.launch.cooperative = cooperative;
    PTXSMITH_ASSIGN_OR_RETURN(const auto module, device_->Load(spec));
    return Bind(module, {y_, x_, 2.0f, 1000u});
  }

  FakeDriver fake_;
  std::shared_ptr<Device> device_;
  Buffer y_, x_;
  Stream stream_;
};

TEST_F(FakeGraphTest, LaunchesCarryTheirAttributes) {
  ASSERT_OK_AND_ASSIGN(const BoundLaunch programmatic, Saxpy(true, false));
  ASSERT_OK_AND_ASSIGN(const BoundLaunch cooperative, Saxpy(false, true));
  ASSERT_OK_AND_ASSIGN(const BoundLaunch both, Saxpy(true, true));
  ASSERT_OK(Enqueue(programmatic, stream_));
  ASSERT_OK(Enqueue(cooperative, stream_));
  ASSERT_OK(Enqueue(both, stream_));
  EXPECT_EQ(fake_.attributes, (std::vector<std::string>{"programmatic", "cooperative",
                                                        "cooperative", "programmatic"}));
  EXPECT_EQ(fake_.grid[0], 8u);
  EXPECT_EQ(fake_.block[0], 128u);
  EXPECT_EQ(*static_cast<uint32_t*>(fake_.params[3]), 1000u);
  EXPECT_EQ(fake_.Count("cuLaunchKernel"), 0u);
}

TEST_F(FakeGraphTest, EdgesAreProgrammaticWhereTheKernelIs) {
  ASSERT_OK_AND_ASSIGN(const BoundLaunch plain, Saxpy(false, false));
  ASSERT_OK_AND_ASSIGN(const BoundLaunch programmatic, Saxpy(true, false));
  ASSERT_OK_AND_ASSIGN(const BoundLaunch cooperative, Saxpy(false, true));
  ASSERT_OK(Graph::Record(stream_, Graph::Method::kNodes, [&] {
    absl::Status status = Enqueue(programmatic, stream_);  // nothing before it
    status.Update(Enqueue(programmatic, stream_));
    status.Update(Enqueue(plain, stream_));
    status.Update(Enqueue(cooperative, stream_));
    return status;
  }));
  EXPECT_EQ(fake_.attributes,
            (std::vector<std::string>{"programmatic", "edge", "cooperative", "edge"}));
  EXPECT_EQ(fake_.Count("cuGraphAddKernelNode"), 4u);
  EXPECT_EQ(fake_.Count("cuLaunchKernel") + fake_.Count("cuLaunchKernelEx"), 0u);
}

TEST_F(FakeGraphTest, ACaptureThatTheDriverBreaksNamesTheCall) {
  ASSERT_OK_AND_ASSIGN(const BoundLaunch plain, Saxpy(false, false));
  // Capture, launch and end of the capture make the context current first.
  fake_.FailAt(fake_.calls().size() + 3, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  EXPECT_THAT(
      Graph::Record(stream_, Graph::Method::kCapture, [&] { return Enqueue(plain, stream_); }),
      StatusIs(absl::StatusCode::kInternal,
               HasSubstr("cuLaunchKernel of saxpy:test@sm_75.ptx63, grid 8x1x1")));
  EXPECT_EQ(fake_.Count("cuStreamEndCapture"), 1u);
  const auto live = fake_.Live();
  EXPECT_EQ(live.count("graph") + live.count("executable"), 0u);
}

TEST(OldDriverTest, GraphsAndCooperativeLaunchesNameTheDriverTheyNeed) {
  FakeDriver fake;
  fake.ForgetNewerCalls();
  ASSERT_OK_AND_ASSIGN(const auto device, OpenCuda(0, fake.api()));
  ASSERT_OK_AND_ASSIGN(Stream stream, device->NewStream());
  ASSERT_OK_AND_ASSIGN(const Buffer y, device->Allocate(4096, "y"));
  KernelSpec spec = SaxpySpec();
  spec.launch.programmatic = true;
  ASSERT_OK_AND_ASSIGN(const auto programmatic, device->Load(spec));
  ASSERT_OK_AND_ASSIGN(const BoundLaunch launch, Bind(programmatic, {y, y, 2.0f, 1000u}));
  ASSERT_OK(Enqueue(launch, stream));
  EXPECT_EQ(fake.Count("cuLaunchKernel"), 1u) << "one after the other is always right";

  spec.launch.cooperative = true;
  ASSERT_OK_AND_ASSIGN(const auto cooperative, device->Load(spec));
  ASSERT_OK_AND_ASSIGN(const BoundLaunch together, Bind(cooperative, {y, y, 2.0f, 1000u}));
  EXPECT_THAT(Enqueue(together, stream),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "a cooperative launch needs a driver for CUDA 11.8 or later"));
  const auto record = [&](Graph::Method method) {
    return Graph::Record(stream, method, [&] { return Enqueue(launch, stream); }).status();
  };
  EXPECT_THAT(record(Graph::Method::kCapture),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "a graph needs a driver for CUDA 11.4 or later"));
  EXPECT_THAT(record(Graph::Method::kNodes),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "a graph of kernel nodes needs a driver for CUDA 12.3 or later"));
  EXPECT_EQ(fake.Live().count("graph"), 0u);
}

}  // namespace
}  // namespace ptxsmith

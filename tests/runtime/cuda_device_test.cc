// CudaDevice on a fake driver: what it tells the driver, and what becomes of every failure.

#include "runtime/cuda_device.h"

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/graph.h"
#include "runtime/launch.h"
#include "tests/runtime/fake_driver.h"
#include "tests/runtime/test_kernels.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

TEST(CudaDeviceTest, ProfileIsTheDrivers) {
  FakeDriver fake;
  ASSERT_OK_AND_ASSIGN(const auto device, OpenCuda(0, fake.api()));
  const DeviceProfile& profile = device->profile();
  EXPECT_EQ(profile.name, "cuda:0");
  EXPECT_EQ(profile.description, "fake GPU");
  EXPECT_EQ(profile.target.ToString(), "sm_90.ptx78");
  EXPECT_EQ(profile.max_ptx.ToString(), "9.0");
  EXPECT_EQ(profile.sm_count, 132u);
  EXPECT_EQ(profile.max_shared, 227u * 1024);
  EXPECT_EQ(profile.l2_bytes, 50u << 20);
  EXPECT_EQ(profile.total_memory, 1u << 30);
  EXPECT_FALSE(profile.emulated);
  EXPECT_EQ(profile.ToString(),
            "cuda:0: fake GPU, sm_90, 132 SMs, 1.0 GiB, driver for CUDA 13.0 (PTX up to 9.0)");
}

TEST(CudaDeviceTest, ANewerGpuOrAnOlderDriverGetsTheNewestTargetBothKnow) {
  FakeDriver fake;
  fake.sm_major = 99;
  ASSERT_OK_AND_ASSIGN(auto device, OpenCuda(0, fake.api()));
  EXPECT_EQ(device->profile().target.sm_name(), "sm_121");
  fake.sm_major = 9;
  fake.driver_version = 11040;  // before sm_90
  ASSERT_OK_AND_ASSIGN(device, OpenCuda(0, fake.api()));
  EXPECT_EQ(device->profile().target.sm_name(), "sm_87");
  fake.driver_version = 7000;
  EXPECT_THAT(OpenCuda(0, fake.api()),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("cuda:0 is sm_90")));
}

TEST(CudaDeviceTest, AGpuThatIsNotThereIsUnavailable) {
  FakeDriver fake;
  EXPECT_THAT(OpenCuda(1, fake.api()),
              StatusIs(absl::StatusCode::kUnavailable, "cuda:1 does not exist; GPUs found: 1"));
}

TEST(CudaDeviceTest, JitOptionsAreNumbersByValueAndLogsAreKept) {
  FakeDriver fake;
  fake.info_log = "40 registers";
  ASSERT_OK_AND_ASSIGN(const auto device, OpenCuda(0, fake.api()));
  ASSERT_OK_AND_ASSIGN(const auto module, device->Load(SaxpySpec()));
  EXPECT_EQ(fake.jit_problem, "");
  EXPECT_EQ(module->info().log, "40 registers");
  EXPECT_EQ(module->info().registers, 40);
  EXPECT_EQ(module->info().spill_bytes, 16);
  EXPECT_EQ(module->spec().entry, "saxpy");
  EXPECT_EQ(module->device(), device);
}

TEST(CudaDeviceTest, ARefusedTextShowsTheLogWithItsSource) {
  FakeDriver fake;
  fake.jit_result = CUDA_ERROR_INVALID_PTX;
  fake.error_log = "ptxas application ptx input, line 2; error: no";
  ASSERT_OK_AND_ASSIGN(const auto device, OpenCuda(0, fake.api()));
  KernelSpec spec = SaxpySpec();
  spec.lines = {{"", 0}, {"a/gemv.cc", 31}};
  const auto module = device->Load(spec);
  EXPECT_THAT(module, StatusIs(absl::StatusCode::kInvalidArgument,
                               HasSubstr("cuModuleLoadDataEx of saxpy:test@sm_75.ptx63: "
                                         "CUDA_ERROR_INVALID_PTX (218)")));
  EXPECT_THAT(std::string(module.status().message()),
              HasSubstr("line 2; error: no\n    2 | .target sm_75   // gemv.cc:31"));
}

TEST(CudaDeviceTest, WhatTheDeviceCannotTakeNeverReachesTheLoader) {
  FakeDriver fake;
  fake.driver_version = 12000;
  ASSERT_OK_AND_ASSIGN(const auto device, OpenCuda(0, fake.api()));

  KernelSpec newer_ptx = SaxpySpec();
  newer_ptx.version = {8, 1};
  newer_ptx.version_needed_by = "saxpy.new";
  EXPECT_THAT(device->Load(newer_ptx),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("saxpy:test@sm_75.ptx63: saxpy.new needs PTX 8.1")));
  KernelSpec newer_sm = SaxpySpec();
  newer_sm.target.sm = 100;
  EXPECT_THAT(device->Load(newer_sm),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("the text is for sm_100; cuda:0 is sm_90")));
  KernelSpec shared = SaxpySpec();
  shared.static_shared = 1024;
  shared.dynamic_shared = 227 * 1024;
  EXPECT_THAT(device->Load(shared),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("needs 233472 bytes of shared memory per block; cuda:0 has "
                                 "232448")));
  EXPECT_EQ(fake.Count("cuModuleLoadDataEx"), 0u);

  newer_ptx.version = {8, 0};
  EXPECT_OK(device->Load(newer_ptx));
  EXPECT_EQ(fake.Count("cuModuleLoadDataEx"), 1u);
}

TEST(CudaDeviceTest, LaunchPassesGeometryAndMakesNoLookup) {
  FakeDriver fake;
  ASSERT_OK_AND_ASSIGN(const auto device, OpenCuda(0, fake.api()));
  KernelSpec spec = SaxpySpec();
  spec.dynamic_shared = 100 * 1024;
  ASSERT_OK_AND_ASSIGN(const auto module, device->Load(spec));
  EXPECT_EQ(fake.opted_in_shared, 100 * 1024);
  ASSERT_OK_AND_ASSIGN(const Buffer y, device->Allocate(4000, "y"));
  ASSERT_OK_AND_ASSIGN(const Buffer x, device->Allocate(4000, "x"));
  ASSERT_OK_AND_ASSIGN(const Stream stream, device->NewStream());
  ASSERT_OK_AND_ASSIGN(const BoundLaunch bound, Bind(module, {y, x, 2.0f, 1000u}));
  const size_t before = fake.calls().size();
  ASSERT_OK(Enqueue(bound, stream));
  EXPECT_EQ(std::vector<std::string>(fake.calls().begin() + before, fake.calls().end()),
            (std::vector<std::string>{"cuCtxSetCurrent", "cuLaunchKernel"}));
  EXPECT_EQ(fake.grid[0], 8u);
  EXPECT_EQ(fake.grid[1], 1u);
  EXPECT_EQ(fake.block[0], 128u);
  EXPECT_EQ(fake.dynamic_shared, 100u * 1024);
  EXPECT_EQ(*static_cast<uint64_t*>(fake.params[0]), y.ptr());
  EXPECT_EQ(*static_cast<uint64_t*>(fake.params[1]), x.ptr());
  EXPECT_EQ(*static_cast<float*>(fake.params[2]), 2.0f);
  EXPECT_EQ(*static_cast<uint32_t*>(fake.params[3]), 1000u);
}

TEST(CudaDeviceTest, HandlesMayDieInAnyOrder) {
  FakeDriver fake;
  {
    ASSERT_OK_AND_ASSIGN(auto device, OpenCuda(0, fake.api()));
    ASSERT_OK_AND_ASSIGN(auto module, device->Load(SaxpySpec()));
    ASSERT_OK_AND_ASSIGN(Buffer buffer, device->Allocate(16, "b"));
    ASSERT_OK_AND_ASSIGN(Stream stream, device->NewStream());
    device.reset();
    Buffer other;
    buffer = std::move(other);  // `other` must not get the old value, which would then live on
    EXPECT_EQ(fake.Live().count("memory"), 0u);  // freed at once
    stream = Stream();
    EXPECT_EQ(fake.Live()["context"], 1);  // the module still needs it
    module.reset();
    EXPECT_EQ(fake.Live().count("context"), 0u);
  }
  EXPECT_THAT(fake.Live(), IsEmpty());
}

// Everything a user does once. Failures of destructors go to `logs`.
absl::Status UseEverything(const FakeDriver& fake, std::vector<std::string>& logs) {
  PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<Device> device, OpenCuda(0, fake.api()));
  DebugFlags flags;
  flags.log = [&](absl::string_view text) { logs.emplace_back(text); };
  device->SetDebug(flags);
  KernelSpec spec = SaxpySpec();
  spec.dynamic_shared = 64;
  PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<const Module> module, device->Load(spec));
  PTXSMITH_ASSIGN_OR_RETURN(const Buffer y, device->Allocate(64, "y"));
  PTXSMITH_ASSIGN_OR_RETURN(const Buffer x, device->Allocate(64, "x"));
  PTXSMITH_ASSIGN_OR_RETURN(Stream stream, device->NewStream());
  PTXSMITH_ASSIGN_OR_RETURN(Stream other, device->NewStream());
  PTXSMITH_ASSIGN_OR_RETURN(Event begin, device->NewEvent());
  PTXSMITH_ASSIGN_OR_RETURN(Event end, device->NewEvent());
  float host[16] = {};
  PTXSMITH_RETURN_IF_ERROR(stream.CopyToDevice(y, host, sizeof(host)));
  PTXSMITH_RETURN_IF_ERROR(stream.Fill(x, 0));
  PTXSMITH_ASSIGN_OR_RETURN(const BoundLaunch bound, Bind(module, {y, x, 2.0f, 16u}));
  PTXSMITH_RETURN_IF_ERROR(begin.Record(stream));
  PTXSMITH_RETURN_IF_ERROR(Enqueue(bound, stream));
  PTXSMITH_RETURN_IF_ERROR(end.Record(stream));
  PTXSMITH_RETURN_IF_ERROR(end.Wait(other));
  PTXSMITH_ASSIGN_OR_RETURN(const double ms, end.MsSince(begin));
  if (ms != 1.5) return absl::UnknownError("wrong time");
  PTXSMITH_RETURN_IF_ERROR(end.Await());
  PTXSMITH_RETURN_IF_ERROR(stream.CopyOnDevice(x, y, 64));
  spec.launch.cooperative = spec.launch.programmatic = true;
  PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<const Module> special, device->Load(spec));
  PTXSMITH_ASSIGN_OR_RETURN(const BoundLaunch cooperative, Bind(special, {y, x, 2.0f, 16u}));
  for (const Graph::Method method : {Graph::Method::kCapture, Graph::Method::kNodes}) {
    PTXSMITH_ASSIGN_OR_RETURN(const Graph graph, Graph::Record(stream, method, [&] {
                                absl::Status status = Enqueue(bound, stream);
                                status.Update(Enqueue(cooperative, stream));
                                return status;
                              }));
    PTXSMITH_RETURN_IF_ERROR(graph.Launch(stream));
  }
  PTXSMITH_ASSIGN_OR_RETURN(const HostBuffer pinned, device->AllocateHost(sizeof(host)));
  PTXSMITH_RETURN_IF_ERROR(stream.CopyToHost(pinned.data(), y, pinned.bytes()));
  PTXSMITH_RETURN_IF_ERROR(stream.CopyToHost(host, y, sizeof(host)));
  return stream.Synchronize();
}

TEST(CudaDeviceTest, ContextsAndStreamsOfTheHostAreNotTaken) {
  FakeDriver fake;
  fake.device_count = 2;
  {
    ASSERT_OK_AND_ASSIGN(const auto device,
                         AdoptCuda(reinterpret_cast<CUcontext>(0x2000), fake.api()));
    EXPECT_EQ(device->profile().name, "cuda:1");
    Stream stream = Stream::Borrow(device, 0x3000);
    Stream moved;
    moved = std::move(stream);
    ASSERT_OK_AND_ASSIGN(const auto module, device->Load(SaxpySpec()));
    ASSERT_OK_AND_ASSIGN(const Buffer y, device->Allocate(64, "y"));
    ASSERT_OK_AND_ASSIGN(const BoundLaunch bound, Bind(module, {y, y, 2.0f, 16u}));
    EXPECT_OK(Enqueue(bound, moved));
  }
  for (const char* call : {"cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease",
                           "cuStreamDestroy", "cuStreamSynchronize"}) {
    EXPECT_EQ(fake.Count(call), 0u) << call;
  }
  EXPECT_THAT(fake.Live(), IsEmpty());
}

// The fake goes on after one fault; the device must not.
TEST(CudaDeviceTest, AFaultEndsItsOwnDeviceAndIsLoggedOnce) {
  FakeDriver fake;
  fake.device_count = 2;
  std::vector<std::string> logs;
  {
    ASSERT_OK_AND_ASSIGN(const auto other, OpenCuda(1, fake.api()));
    ASSERT_OK_AND_ASSIGN(const auto device, OpenCuda(0, fake.api()));
    DebugFlags flags;
    flags.log = [&](absl::string_view text) { logs.emplace_back(text); };
    device->SetDebug(flags);
    ASSERT_OK_AND_ASSIGN(const auto module, device->Load(SaxpySpec()));
    ASSERT_OK_AND_ASSIGN(const Buffer y, device->Allocate(64, "y"));
    ASSERT_OK_AND_ASSIGN(Stream stream, device->NewStream());
    ASSERT_OK_AND_ASSIGN(const BoundLaunch bound, Bind(module, {y, y, 2.0f, 16u}));
    EXPECT_FALSE(device->lost());
    fake.FailAt(fake.calls().size() + 1, CUDA_ERROR_ILLEGAL_ADDRESS);
    EXPECT_THAT(stream.Synchronize(),
                StatusIs(absl::StatusCode::kInternal, HasSubstr("cuStreamSynchronize: ")));
    EXPECT_TRUE(device->lost());
    const size_t before = fake.calls().size();
    const std::string expected = "the device was lost: cuStreamSynchronize: ";
    EXPECT_THAT(Enqueue(bound, stream), StatusIs(absl::StatusCode::kInternal, HasSubstr(expected)));
    EXPECT_THAT(device->Allocate(64, "z"),
                StatusIs(absl::StatusCode::kInternal, HasSubstr(expected)));
    EXPECT_THAT(device->Load(SaxpySpec()),
                StatusIs(absl::StatusCode::kInternal, HasSubstr(expected)));
    EXPECT_EQ(fake.calls().size(), before) << "the driver was asked again";
    EXPECT_FALSE(other->lost());
    EXPECT_OK(other->Allocate(64, "z"));
  }
  EXPECT_THAT(fake.Live(), IsEmpty());
  EXPECT_EQ(logs.size(), 1u);
  EXPECT_OK(OpenCuda(0, fake.api())) << "the GPU can be opened again";
}

struct Failure {
  const char* name;
  CUresult error;
  bool forever;  // such a fault ends the context

  friend void PrintTo(const Failure& failure, std::ostream* out) { *out << failure.name; }
};

class CudaFaultTest : public testing::TestWithParam<Failure> {};

TEST_P(CudaFaultTest, EachCallMayFailWithoutALeak) {
  std::vector<std::string> clean;
  {
    FakeDriver fake;
    std::vector<std::string> logs;
    ASSERT_OK(UseEverything(fake, logs));
    ASSERT_THAT(logs, IsEmpty());
    ASSERT_THAT(fake.Live(), IsEmpty());
    clean = fake.calls();
  }
  const std::string code = "(" + std::to_string(GetParam().error) + ")";
  for (size_t i = 0; i < clean.size(); ++i) {
    SCOPED_TRACE(std::to_string(i) + ": " + clean[i]);
    FakeDriver fake;
    fake.FailAt(i, GetParam().error, GetParam().forever);
    std::vector<std::string> logs;
    const absl::Status status = UseEverything(fake, logs);
    EXPECT_THAT(fake.Live(), IsEmpty());
    // Of a call in a destructor the log tells, first where later calls fail too.
    const std::string message = logs.empty() ? status.ToString() : logs[0] + status.ToString();
    EXPECT_THAT(message, HasSubstr(clean[i]));
    EXPECT_THAT(message, HasSubstr(code));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Errors, CudaFaultTest,
    testing::Values(Failure{"OutOfMemory", CUDA_ERROR_OUT_OF_MEMORY, false},
                    Failure{"InvalidPtx", CUDA_ERROR_INVALID_PTX, false},
                    Failure{"UnsupportedPtxVersion", CUDA_ERROR_UNSUPPORTED_PTX_VERSION, false},
                    Failure{"IllegalAddress", CUDA_ERROR_ILLEGAL_ADDRESS, true},
                    Failure{"NotFound", CUDA_ERROR_NOT_FOUND, false},
                    Failure{"Unknown", CUDA_ERROR_UNKNOWN, false}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ptxsmith

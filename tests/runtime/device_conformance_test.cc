// What every device must do alike, on the emulator and on the first GPU.

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/device.h"
#include "runtime/launch.h"
#include "runtime/module_cache.h"
#include "runtime/staged_upload.h"
#include "tests/runtime/test_kernels.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

constexpr absl::string_view kEmulator = "emu:sm90";

class DeviceConformanceTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Device>> device = Device::Open(GetParam());
    if (GetParam() != kEmulator && absl::IsUnavailable(device.status())) {
      GTEST_SKIP() << device.status().message();
    }
    ASSERT_OK(device);
    device_ = *std::move(device);
    ASSERT_OK_AND_ASSIGN(stream_, device_->NewStream());
  }

  // A buffer with these values.
  absl::StatusOr<Buffer> Upload(const std::vector<float>& values, absl::string_view name) {
    PTXSMITH_ASSIGN_OR_RETURN(Buffer buffer, device_->Allocate(values.size() * 4, name));
    PTXSMITH_RETURN_IF_ERROR(stream_.CopyToDevice(buffer, values.data(), buffer.bytes()));
    PTXSMITH_RETURN_IF_ERROR(stream_.Synchronize());
    return buffer;
  }
  absl::StatusOr<std::vector<float>> Download(const Buffer& buffer) {
    std::vector<float> values(buffer.bytes() / 4);
    PTXSMITH_RETURN_IF_ERROR(stream_.CopyToHost(values.data(), buffer, buffer.bytes()));
    PTXSMITH_RETURN_IF_ERROR(stream_.Synchronize());
    return values;
  }

  std::shared_ptr<Device> device_;
  Stream stream_;
};

std::vector<float> Ramp(size_t n, float start, float step) {
  std::vector<float> values(n);
  for (size_t i = 0; i < n; ++i) values[i] = start + step * static_cast<float>(i);
  return values;
}

TEST_P(DeviceConformanceTest, ProfileIsFilledIn) {
  const DeviceProfile& profile = device_->profile();
  EXPECT_EQ(profile.name.substr(0, 4), std::string(GetParam()).substr(0, 4));
  EXPECT_NE(profile.description, "");
  EXPECT_GE(profile.target.sm, 60);
  EXPECT_GE(profile.max_ptx, profile.target.isa);
  EXPECT_GE(profile.sm_count, 1u);
  EXPECT_GE(profile.max_shared, 48u * 1024);
  EXPECT_GT(profile.total_memory, uint64_t{1} << 26);
  EXPECT_EQ(profile.emulated, profile.driver_version == 0);
}

TEST_P(DeviceConformanceTest, CopiesAndFills) {
  const std::vector<float> values = Ramp(1000, 1.0f, 0.5f);
  ASSERT_OK_AND_ASSIGN(const Buffer a, Upload(values, "a"));
  ASSERT_OK_AND_ASSIGN(const Buffer b, device_->Allocate(4000, "b"));
  EXPECT_EQ(a.ptr() % 256, 0u);
  EXPECT_EQ(b.ptr() % 256, 0u);
  ASSERT_OK(stream_.Fill(b, 0));
  ASSERT_OK(stream_.CopyOnDevice(BufferView(b).Slice(400, 3600), a, 400));
  ASSERT_OK_AND_ASSIGN(const std::vector<float> got, Download(b));
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i], i >= 100 && i < 200 ? values[i - 100] : 0.0f) << i;
  }
}

TEST_P(DeviceConformanceTest, UploadsInPieces) {
  const std::vector<float> values = Ramp(1000, 1.0f, 0.5f);
  ASSERT_OK_AND_ASSIGN(const Buffer x, device_->Allocate(4000, "x"));
  ASSERT_OK_AND_ASSIGN(StagedUpload upload, StagedUpload::Create(*device_, stream_, 64));
  {
    // The source may be gone, or hold something else, once Copy has returned.
    std::vector<float> source = values;
    ASSERT_OK(upload.Copy(x, source.data(), 3996));
    ASSERT_OK(upload.Copy(BufferView(x).Slice(3996, 4), &source[999], 4));
    std::fill(source.begin(), source.end(), -1.0f);
  }
  EXPECT_THAT(Download(x), IsOkAndHolds(values));
  EXPECT_THAT(upload.Copy(BufferView(x).Slice(0, 100), values.data(), 101),
              StatusIs(absl::StatusCode::kInvalidArgument));
}

TEST_P(DeviceConformanceTest, RunsAKernelOverAnUnevenSize) {
  for (const uint32_t n : {1u, 127u, 128u, 129u, 10001u}) {
    const std::vector<float> x = Ramp(n, -3.0f, 0.37f);
    const std::vector<float> y = Ramp(n, 7.0f, -0.11f);
    ASSERT_OK_AND_ASSIGN(const Buffer x_buffer, Upload(x, "x"));
    ASSERT_OK_AND_ASSIGN(const Buffer y_buffer, Upload(y, "y"));
    ASSERT_OK_AND_ASSIGN(const auto module, device_->Load(SaxpySpec()));
    ASSERT_OK_AND_ASSIGN(const BoundLaunch saxpy, Bind(module, {y_buffer, x_buffer, 1.7f, n}));
    ASSERT_OK(Enqueue(saxpy, stream_));
    ASSERT_OK_AND_ASSIGN(const std::vector<float> got, Download(y_buffer));
    for (uint32_t i = 0; i < n; ++i) ASSERT_EQ(got[i], std::fma(1.7f, x[i], y[i])) << i;
  }
}

TEST_P(DeviceConformanceTest, CompileInfoTellsTheTime) {
  ASSERT_OK_AND_ASSIGN(const auto module, device_->Load(SaxpySpec()));
  EXPECT_GT(module->info().milliseconds, 0);
  EXPECT_EQ(module->spec().key, SaxpySpec().key);
  EXPECT_EQ(module->device(), device_);
}

TEST_P(DeviceConformanceTest, WorkOfOneStreamIsOrderedAndEventsOrderStreams) {
  constexpr uint32_t kSize = 5000;
  ASSERT_OK_AND_ASSIGN(const Buffer x, Upload(std::vector<float>(kSize, 1.0f), "x"));
  ASSERT_OK_AND_ASSIGN(const Buffer y, Upload(std::vector<float>(kSize, 0.0f), "y"));
  ASSERT_OK_AND_ASSIGN(Stream other, device_->NewStream());
  ASSERT_OK_AND_ASSIGN(Event begin, device_->NewEvent());
  ASSERT_OK_AND_ASSIGN(Event end, device_->NewEvent());
  ASSERT_OK_AND_ASSIGN(const auto module, device_->Load(SaxpySpec()));
  ASSERT_OK_AND_ASSIGN(const BoundLaunch add_one, Bind(module, {y, x, 1.0f, kSize}));
  ASSERT_OK(begin.Record(stream_));
  for (int i = 0; i < 20; ++i) ASSERT_OK(Enqueue(add_one, stream_));
  ASSERT_OK(end.Record(stream_));
  ASSERT_OK(end.Wait(other));
  std::vector<float> got(kSize);
  ASSERT_OK(other.CopyToHost(got.data(), y, y.bytes()));
  ASSERT_OK(other.Synchronize());
  EXPECT_EQ(got, std::vector<float>(kSize, 20.0f));
  ASSERT_OK_AND_ASSIGN(const double ms, end.MsSince(begin));
  EXPECT_GT(ms, 0);
  EXPECT_LT(ms, 10000);
}

TEST_P(DeviceConformanceTest, ThreadsMayShareTheDevice) {
  constexpr int kThreads = 4;
  constexpr uint32_t kSize = 300;
  ModuleCache cache(device_);
  std::vector<absl::Status> results(kThreads);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  const auto work = [&](float a) -> absl::Status {
    PTXSMITH_ASSIGN_OR_RETURN(const auto module,
                              cache.GetOrBuild(SaxpySpec().key, [] { return SaxpySpec(); }));
    PTXSMITH_ASSIGN_OR_RETURN(Stream stream, device_->NewStream());
    PTXSMITH_ASSIGN_OR_RETURN(const Buffer x, device_->Allocate(kSize * 4, "x"));
    PTXSMITH_ASSIGN_OR_RETURN(const Buffer y, device_->Allocate(kSize * 4, "y"));
    std::vector<float> host(kSize, 1.0f);
    PTXSMITH_RETURN_IF_ERROR(stream.CopyToDevice(x, host.data(), x.bytes()));
    PTXSMITH_RETURN_IF_ERROR(stream.Fill(y, 0));
    PTXSMITH_ASSIGN_OR_RETURN(const BoundLaunch saxpy, Bind(module, {y, x, a, kSize}));
    PTXSMITH_RETURN_IF_ERROR(Enqueue(saxpy, stream));
    PTXSMITH_RETURN_IF_ERROR(stream.CopyToHost(host.data(), y, y.bytes()));
    PTXSMITH_RETURN_IF_ERROR(stream.Synchronize());
    if (host != std::vector<float>(kSize, a)) return absl::DataLossError("wrong result");
    return absl::OkStatus();
  };
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10 && results[t].ok(); ++i) results[t] = work(static_cast<float>(t + i));
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) EXPECT_OK(result);
  EXPECT_EQ(cache.stats().builds, 1u);
}

TEST_P(DeviceConformanceTest, ARefusedTextNamesItsLine) {
  KernelSpec spec = SaxpySpec();
  const std::string good = "fma.rn.f32      %f4, %f1, %f2, %f3;";
  const size_t at = spec.ptx.find(good);
  ASSERT_NE(at, std::string::npos);
  spec.ptx.replace(at, good.size(), "fma.rn.f32      %f4, %f1, %f2, %nobody;");
  spec.lines.assign(60, SourceLoc{"some/saxpy.cc", 77});
  EXPECT_THAT(device_->Load(spec),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::AllOf(HasSubstr("%nobody;   // saxpy.cc:77"), HasSubstr("line "))));
}

TEST_P(DeviceConformanceTest, WhatTheDeviceCannotTakeIsRefused) {
  KernelSpec newer = SaxpySpec();
  newer.version = {99, 0};
  EXPECT_THAT(device_->Load(newer),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("needs PTX 99.0")));
  KernelSpec shared = SaxpySpec();
  shared.dynamic_shared = 1 << 20;
  EXPECT_THAT(device_->Load(shared),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("1048576")));
}

TEST_P(DeviceConformanceTest, TooMuchMemoryIsResourceExhausted) {
  EXPECT_THAT(device_->Allocate(uint64_t{1} << 50, "everything"),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       testing::AllOf(HasSubstr("1125899906842624"), HasSubstr("everything"))));
  EXPECT_OK(device_->Allocate(1024, "something"));  // the device lives on
}

// Runs a faulty kernel to its end.
absl::Status Fault(const char* device_name) {
  PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<Device> device, Device::Open(device_name));
  DebugFlags quiet;
  quiet.log = [](absl::string_view) {};  // what is destroyed after a fault reports it again
  quiet.sync = true;
  device->SetDebug(quiet);
  PTXSMITH_ASSIGN_OR_RETURN(const Stream stream, device->NewStream());
  PTXSMITH_ASSIGN_OR_RETURN(const auto module, device->Load(WildStoreSpec()));
  PTXSMITH_ASSIGN_OR_RETURN(const BoundLaunch bound, Bind(module, {}));
  return Enqueue(bound, stream);
}

// In a process of its own, because a fault ends the context of a GPU for the whole process.
TEST_P(DeviceConformanceTest, AFaultOfAKernelIsInternalAndNamesIt) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const absl::Status status = Fault(GetParam());
        std::fprintf(stderr, "%s\n", status.ToString().c_str());
        std::_Exit(absl::IsInternal(status) ? 0 : 1);
      },
      testing::ExitedWithCode(0), "wild_store:test@sm_75");
}

// The driver repeats the fault of a GPU to the whole process; the emulator starts afresh.
TEST_P(DeviceConformanceTest, AfterAFaultOnlyTheEmulatorCanBeOpenedAgain) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        device_.reset();
        const bool faulted = absl::IsInternal(Fault(GetParam()));
        const auto device = Device::Open(GetParam());
        const auto module = device.ok() ? (*device)->Load(SaxpySpec()) : device.status();
        std::fprintf(stderr, "%s\n", module.status().ToString().c_str());
        const bool afresh = GetParam() == kEmulator;
        std::_Exit(faulted && module.ok() == afresh ? 0 : 1);
      },
      testing::ExitedWithCode(0), GetParam() == kEmulator ? "OK" : "CUDA_ERROR");
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceConformanceTest,
                         testing::Values(kEmulator.data(), "cuda:0"), [](const auto& info) {
                           return info.param == kEmulator ? "Emulator" : "Cuda";
                         });

TEST(DeviceOpenTest, RefusesUnknownNames) {
  for (const char* name : {"", "gpu", "cuda", "cuda:", "cuda:x", "cuda:-1", "emu"}) {
    EXPECT_THAT(Device::Open(name),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("known: auto, cuda:N")))
        << name;
  }
  EXPECT_THAT(Device::Open("emu:sm_1"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sm_1")));
}

TEST(DeviceOpenTest, AutoFollowsTheFlagAndAlwaysFindsADevice) {
  std::vector<std::string> logs;
  DebugFlags flags;
  flags.level = 1;
  flags.device = "emu:sm_80";
  flags.log = [&](absl::string_view text) { logs.emplace_back(text); };
  ASSERT_OK_AND_ASSIGN(auto device, Device::Open("auto", flags));
  EXPECT_EQ(device->profile().target.sm, 80);
  ASSERT_EQ(logs.size(), 1u);
  EXPECT_EQ(logs[0], device->profile().ToString());
  ASSERT_OK_AND_ASSIGN(device, Device::Open("auto"));
  EXPECT_EQ(device->profile().emulated, device->profile().name != "cuda:0");
}

}  // namespace
}  // namespace ptxsmith

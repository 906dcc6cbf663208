// CUDA C++ through NVRTC, where a toolkit is installed, and then on every device.
#include "runtime/nvrtc.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/launch.h"
#include "runtime/module_cache.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// y[i] = a * x[i] + kAdd
CudaKernel Scale() {
  CudaKernel kernel;
  kernel.key = "scale";
  kernel.source = R"(
    extern "C" __global__ void scale(float* y, const float* x, float a, unsigned n) {
      const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
      if (i < n) y[i] = a * x[i] + ADD;
    })";
  kernel.entry = "scale";
  kernel.options = {"-DADD=0.5f"};
  const SizeExpr n = SizeExpr::Param(3);
  kernel.params = {{"y", ParamKind::kOut, ElemType::kF32, 4, n},
                   {"x", ParamKind::kIn, ElemType::kF32, 4, n},
                   {"a", ParamKind::kScalar, ElemType::kF32},
                   {"n", ParamKind::kScalar, ElemType::kU32}};
  kernel.launch.block = {64, 1, 1};
  kernel.launch.grid = {CeilDiv(n, 64), 1, 1};
  return kernel;
}

class NvrtcTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto nvrtc = Nvrtc::Open("");
    if (absl::IsUnavailable(nvrtc.status())) GTEST_SKIP() << nvrtc.status().message();
    ASSERT_OK(nvrtc);
    nvrtc_ = *nvrtc;
    auto device = Device::Open(GetParam());
    if (absl::IsUnavailable(device.status())) GTEST_SKIP() << device.status().message();
    ASSERT_OK(device);
    device_ = *device;
  }

  const Target& target() const { return device_->profile().target; }

  std::shared_ptr<const Nvrtc> nvrtc_;
  std::shared_ptr<Device> device_;
};

TEST_P(NvrtcTest, RunsAsAnyKernel) {
  ModuleCache cache(device_, CompilationFor(*device_));
  ASSERT_OK_AND_ASSIGN(const auto module, cache.GetOrBuild(CudaKey(Scale(), target()), [&] {
    return nvrtc_->Build(Scale(), target(), nullptr);
  }));
  std::vector<float> x(100);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
  ASSERT_OK_AND_ASSIGN(const Buffer device_y, device_->Allocate(400, "y"));
  ASSERT_OK_AND_ASSIGN(const Buffer device_x, device_->Allocate(400, "x"));
  ASSERT_OK_AND_ASSIGN(Stream stream, device_->NewStream());
  ASSERT_OK(stream.CopyToDevice(device_x, x.data(), 400));
  ASSERT_OK_AND_ASSIGN(const BoundLaunch launch, Bind(module, {device_y, device_x, 2.0f, 100u}));
  EXPECT_EQ(launch.grid()[0], 2u);
  ASSERT_OK(Enqueue(launch, stream));
  std::vector<float> y(100);
  ASSERT_OK(stream.CopyToHost(y.data(), device_y, 400));
  ASSERT_OK(stream.Synchronize());
  for (size_t i = 0; i < y.size(); ++i) EXPECT_EQ(y[i], 2.0f * x[i] + 0.5f) << i;
  // Bound by what was said about it.
  EXPECT_THAT(Bind(module, {device_y, device_x, 2.0f, 101u}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("needs 101 elements")));
}

TEST_P(NvrtcTest, AnUnchangedSourceIsCompiledOnce) {
  const std::string folder = testing::TempDir() + "ptxsmith_nvrtc_test";
  std::filesystem::remove_all(folder);
  ASSERT_OK_AND_ASSIGN(const auto disk, DiskCache::Open({folder}));
  ASSERT_OK_AND_ASSIGN(const KernelSpec first, nvrtc_->Build(Scale(), target(), disk.get()));
  ASSERT_OK_AND_ASSIGN(const KernelSpec second, nvrtc_->Build(Scale(), target(), disk.get()));
  EXPECT_EQ(first.ptx, second.ptx);
  EXPECT_EQ(disk->stats().stored, 1u);
  EXPECT_EQ(disk->stats().hits, 1u);
  CudaKernel other = Scale();
  other.options = {"-DADD=1.5f"};
  EXPECT_NE(CudaKey(other, target()), CudaKey(Scale(), target()));
  ASSERT_OK(nvrtc_->Build(other, target(), disk.get()));
  EXPECT_EQ(disk->stats().stored, 2u);
  std::filesystem::remove_all(folder);
}

TEST_P(NvrtcTest, ASourceThatDoesNotCompileShowsWhy) {
  CudaKernel kernel = Scale();
  kernel.options.clear();
  EXPECT_THAT(nvrtc_->Build(kernel, target(), nullptr),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(nvrtc_->id() + " on scale: "),
                             HasSubstr("identifier \"ADD\" is undefined"))));
  ASSERT_OK_AND_ASSIGN(const std::string cubin, nvrtc_->CompileToCubin(Scale(), "sm_90"));
  EXPECT_EQ(cubin.substr(1, 3), "ELF");
}

INSTANTIATE_TEST_SUITE_P(Devices, NvrtcTest, testing::Values("emu:sm90", "cuda:0"),
                         [](const auto& info) {
                           return info.param[0] == 'e' ? "Emulator" : "Cuda";
                         });

}  // namespace
}  // namespace ptxsmith

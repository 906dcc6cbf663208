// Bind and Enqueue on a fake driver: every refusal, and what the debug flags add.

#include "runtime/launch.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/cuda_device.h"
#include "tests/runtime/fake_driver.h"
#include "tests/runtime/test_kernels.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class LaunchTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(device_, OpenCuda(0, fake_.api()));
    ASSERT_OK_AND_ASSIGN(y_, device_->Allocate(4096, "y"));
    ASSERT_OK_AND_ASSIGN(x_, device_->Allocate(4096, "x"));
    ASSERT_OK_AND_ASSIGN(stream_, device_->NewStream());
  }

  absl::StatusOr<BoundLaunch> BindTo(const KernelSpec& spec, const std::vector<Arg>& args) {
    PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const Module> module, device_->Load(spec));
    return Bind(std::move(module), args);
  }

  void ExpectRefused(const KernelSpec& spec, const std::vector<Arg>& args,
                     const std::string& message) {
    EXPECT_THAT(BindTo(spec, args).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, spec.key + ": " + message));
  }

  FakeDriver fake_;
  std::shared_ptr<Device> device_;
  Buffer y_, x_;
  Stream stream_;
};

TEST_F(LaunchTest, EvaluatesGridAndCost) {
  ASSERT_OK_AND_ASSIGN(const BoundLaunch bound, BindTo(SaxpySpec(), {y_, x_, 2.0f, 1000u}));
  EXPECT_EQ(bound.grid(), (std::array<uint32_t, 3>{8, 1, 1}));
  EXPECT_EQ(bound.bytes(), 12000u);
  EXPECT_EQ(bound.flops(), 2000u);
  EXPECT_EQ(bound.module().spec().entry, "saxpy");
}

TEST_F(LaunchTest, RefusesAWrongNumberOfArguments) {
  ExpectRefused(SaxpySpec(), {y_, x_}, "2 arguments for 4 parameters (y, x, a, n)");
  ExpectRefused(SaxpySpec(), {y_, x_, 1.0f, 1u, 1u}, "5 arguments for 4 parameters (y, x, a, n)");
}

TEST_F(LaunchTest, RefusesAWrongKindOfArgument) {
  ExpectRefused(SaxpySpec(), {1u, x_, 1.0f, 1u},
                "parameter 'y' is a buffer, the argument is an integer");
  ExpectRefused(SaxpySpec(), {y_, x_, 1u, 1u},
                "parameter 'a' is a float, the argument is an integer");
  ExpectRefused(SaxpySpec(), {y_, x_, 1.0f, 1.0f},
                "parameter 'n' is an integer, the argument is a float");
  ExpectRefused(SaxpySpec(), {y_, x_, x_, 1u},
                "parameter 'a' is a float, the argument is a buffer");
}

TEST_F(LaunchTest, RefusesABufferThatIsTooSmall) {
  ExpectRefused(SaxpySpec(), {y_, x_, 1.0f, 1025u},
                "parameter 'y' needs 1025 elements of 4 bytes, the buffer has 4096 bytes");
  ExpectRefused(SaxpySpec(), {y_, BufferView(x_).Slice(0, 4095), 1.0f, 1024u},
                "parameter 'x' needs 1024 elements of 4 bytes, the buffer has 4095 bytes");
  EXPECT_OK(BindTo(SaxpySpec(), {y_, x_, 1.0f, 1024u}));
  // 2^62 elements of 4 bytes are 2^64 bytes, which must not look like none.
  KernelSpec huge = SaxpySpec();
  huge.params[0].count = SizeExpr(uint64_t{1} << 62);
  ExpectRefused(huge, {y_, x_, 1.0f, 1u},
                "parameter 'y' needs 4611686018427387904 elements of 4 bytes, the buffer has 4096 "
                "bytes");
}

TEST_F(LaunchTest, RefusesAMisalignedBuffer) {
  const BufferView odd(x_.ptr() + 4, 64);
  ExpectRefused(
      SaxpySpec(), {y_, odd, 1.0f, 1u},
      "parameter 'x' must be aligned to 16 bytes, its address is " + std::to_string(odd.ptr));
}

TEST_F(LaunchTest, RefusesAScalarThatIsNoMultiple) {
  KernelSpec spec = SaxpySpec();
  spec.params[3].multiple_of = 256;
  ExpectRefused(spec, {y_, x_, 1.0f, 1000u},
                "parameter 'n' is 1000, which is not a multiple of 256");
  EXPECT_OK(BindTo(spec, {y_, x_, 1.0f, 1024u}));
}

TEST_F(LaunchTest, RefusesAGridBeyondTheLimits) {
  KernelSpec spec = SaxpySpec();
  spec.launch.grid[0] = SizeExpr(uint64_t{1} << 31);
  ExpectRefused(spec, {y_, x_, 1.0f, 1u}, "grid.x is 2147483648 blocks, the limit is 2147483647");
  spec = SaxpySpec();
  spec.launch.grid[1] = SizeExpr(65536);
  ExpectRefused(spec, {y_, x_, 1.0f, 1u}, "grid.y is 65536 blocks, the limit is 65535");
  spec = SaxpySpec();
  spec.launch.grid[2] = SizeExpr(65536);
  ExpectRefused(spec, {y_, x_, 1.0f, 1u}, "grid.z is 65536 blocks, the limit is 65535");
  spec = SaxpySpec();
  spec.launch.grid = {SizeExpr((uint64_t{1} << 31) - 1), SizeExpr(65535), SizeExpr(65535)};
  EXPECT_OK(BindTo(spec, {y_, x_, 1.0f, 1u}));
}

TEST_F(LaunchTest, RefusesRulesThatCannotBeEvaluated) {
  KernelSpec spec = SaxpySpec();
  spec.launch.grid[0] = CeilDiv(SizeExpr(1), SizeExpr::Param(3));
  ExpectRefused(spec, {y_, x_, 1.0f, 0u}, "grid.x: size expression divides by zero");
  spec = SaxpySpec();
  spec.params[1].count = SizeExpr::Param(9);
  ExpectRefused(spec, {y_, x_, 1.0f, 0u}, "size of 'x': size expression uses parameter 9 of 4");
}

TEST_F(LaunchTest, AnEmptyGridDoesNothing) {
  ASSERT_OK_AND_ASSIGN(const BoundLaunch bound, BindTo(SaxpySpec(), {y_, x_, 2.0f, 0u}));
  ASSERT_OK(Enqueue(bound, stream_));
  EXPECT_EQ(fake_.Count("cuLaunchKernel"), 0u);
}

TEST_F(LaunchTest, MovingABoundLaunchKeepsItsArguments) {
  ASSERT_OK_AND_ASSIGN(BoundLaunch bound, BindTo(SaxpySpec(), {y_, x_, 2.0f, 7u}));
  std::vector<BoundLaunch> launches;
  launches.push_back(std::move(bound));
  launches.emplace_back();  // grows
  ASSERT_OK(Enqueue(launches[0], stream_));
  EXPECT_EQ(*static_cast<uint32_t*>(fake_.params[3]), 7u);
}

TEST_F(LaunchTest, DebugFlagsNameTheLaunchAndTheKernelAtFault) {
  std::vector<std::string> logs;
  DebugFlags flags;
  flags.level = 2;
  flags.sync = true;
  flags.log = [&](absl::string_view text) { logs.emplace_back(text); };
  device_->SetDebug(flags);
  ASSERT_OK_AND_ASSIGN(const BoundLaunch bound, BindTo(SaxpySpec(), {y_, x_, 2.0f, 1000u}));
  const size_t before = fake_.calls().size();
  ASSERT_OK(Enqueue(bound, stream_));
  EXPECT_EQ(logs, std::vector<std::string>{"launch saxpy:test@sm_75.ptx63 grid 8x1x1, 12000 bytes, "
                                           "2000 flops"});
  EXPECT_EQ(fake_.calls().back(), "cuStreamSynchronize");
  // The fault shows where the stream is waited for.
  fake_.FailAt(fake_.calls().size() + (fake_.calls().size() - before) - 1,
               CUDA_ERROR_ILLEGAL_ADDRESS);
  EXPECT_THAT(Enqueue(bound, stream_),
              StatusIs(absl::StatusCode::kInternal,
                       HasSubstr("in saxpy:test@sm_75.ptx63: cuStreamSynchronize")));
}

TEST_F(LaunchTest, CopiesAreBoundsChecked) {
  char host[8192] = {};
  EXPECT_THAT(stream_.CopyToDevice(y_, host, 4097),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "copy to the device of 4097 bytes exceeds the buffer of 4096 bytes"));
  EXPECT_THAT(stream_.CopyToHost(host, y_, 4097),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "copy to the host of 4097 bytes exceeds the buffer of 4096 bytes"));
  EXPECT_THAT(stream_.CopyOnDevice(BufferView(y_).Slice(4, 16), x_, 17),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "copy (target) of 17 bytes exceeds the buffer of 16 bytes"));
  EXPECT_THAT(stream_.CopyOnDevice(y_, BufferView(x_).Slice(4, 16), 17),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "copy (source) of 17 bytes exceeds the buffer of 16 bytes"));
  EXPECT_EQ(fake_.Count("cuMemcpyHtoDAsync") + fake_.Count("cuMemcpyDtoHAsync") +
                fake_.Count("cuMemcpyDtoDAsync"),
            0u);
}

TEST_F(LaunchTest, NothingIsMovedForNoBytes) {
  const size_t before = fake_.calls().size();
  ASSERT_OK_AND_ASSIGN(const Buffer empty, device_->Allocate(0, "empty"));
  ASSERT_OK(stream_.CopyToDevice(empty, nullptr, 0));
  ASSERT_OK(stream_.CopyToHost(nullptr, empty, 0));
  ASSERT_OK(stream_.CopyOnDevice(empty, empty, 0));
  ASSERT_OK(stream_.Fill(empty, 1));
  EXPECT_EQ(fake_.calls().size(), before);
}

}  // namespace
}  // namespace ptxsmith

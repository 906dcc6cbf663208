#include "runtime/dry_device.h"

#include "gtest/gtest.h"
#include "runtime/graph.h"
#include "runtime/launch.h"
#include "runtime/module_cache.h"
#include "tests/runtime/test_kernels.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

TEST(DryDeviceTest, TakesNotesAndRunsNothing) {
  ASSERT_OK_AND_ASSIGN(const DeviceProfile profile, DryProfile("sm_90"));
  const auto device = OpenDryDevice(profile);
  EXPECT_TRUE(device->profile().dry);
  ModuleCache cache(device);
  ASSERT_OK_AND_ASSIGN(const auto module,
                       cache.GetOrBuild(SaxpySpec().key, [] { return SaxpySpec(); }));
  ASSERT_OK(device->Load(SaxpySpec()));
  ASSERT_OK_AND_ASSIGN(const Buffer y, device->Allocate(uint64_t{1} << 50, "more than there is"));
  ASSERT_OK_AND_ASSIGN(const Buffer x, device->Allocate(64, "x"));
  EXPECT_GE(x.ptr(), y.ptr() + y.bytes());
  ASSERT_OK_AND_ASSIGN(Stream stream, device->NewStream());
  ASSERT_OK_AND_ASSIGN(const BoundLaunch launch, Bind(module, {y, x, 2.0f, 16u}));
  EXPECT_OK(Enqueue(launch, stream));
  EXPECT_OK(stream.CopyToDevice(y, nullptr, y.bytes()));
  EXPECT_OK(stream.Synchronize());
  // What does not fit is refused as everywhere.
  EXPECT_FALSE(Bind(module, {y, x, 2.0f, 17u}).ok());
  const std::vector<KernelSpec> kernels = device->kernels();
  ASSERT_EQ(kernels.size(), 1u);
  EXPECT_EQ(kernels[0].key, SaxpySpec().key);
  EXPECT_EQ(kernels[0].ptx, SaxpySpec().ptx);
}

TEST(DryDeviceTest, ProfilesAreThoseOfTheArchitecture) {
  ASSERT_OK_AND_ASSIGN(const DeviceProfile hopper, DryProfile("sm_90"));
  EXPECT_EQ(hopper.target.ToString(), "sm_90.ptx78");
  EXPECT_EQ(hopper.capability, 90);
  EXPECT_EQ(hopper.sm_count, 132u);
  EXPECT_EQ(hopper.max_shared, 227u * 1024);
  ASSERT_OK_AND_ASSIGN(const DeviceProfile other, DryProfile("sm_87"));
  EXPECT_EQ(other.sm_count, 84u);  // of the nearest before it
  EXPECT_THAT(DryProfile("sm_42"),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("sm_42")));
}

}  // namespace
}  // namespace ptxsmith

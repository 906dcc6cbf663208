#include "model/step_memory.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/dry_device.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

struct Parts {
  Workspace workspace;
  BufferView a, none, b;
};

Parts Allocate(Device& device) {
  Parts parts;
  absl::StatusOr<Workspace> workspace = Workspace::Allocate(
      device, "test", {{"a", parts.a, 300}, {"none", parts.none, 0}, {"b", parts.b, 4}});
  EXPECT_OK(workspace.status());
  if (workspace.ok()) parts.workspace = *std::move(workspace);
  return parts;
}

TEST(WorkspaceTest, IsOneAllocationOnAGpu) {
  const auto device = OpenDryDevice(DryProfile("sm_90").value());
  const Parts parts = Allocate(*device);
  EXPECT_EQ(parts.a.ptr % 256, 0u);
  EXPECT_EQ(parts.a.bytes, 300u);
  EXPECT_EQ(parts.none.bytes, 0u);
  EXPECT_EQ(parts.b.ptr, parts.a.ptr + 512);
  EXPECT_EQ(parts.b.bytes, 4u);
}

TEST(WorkspaceTest, HasAnEndOfEveryPartOnTheEmulator) {
  const auto device = Device::Open("emu:sm90");
  ASSERT_OK(device.status());
  const Parts parts = Allocate(**device);
  auto stream = (*device)->NewStream();
  ASSERT_OK(stream.status());
  ASSERT_OK(stream->Fill(parts.a, 1));
  // A byte beyond the part is nobody's.
  EXPECT_FALSE(stream->Fill(BufferView(parts.a.ptr, parts.a.bytes + 1), 1).ok());
}

TEST(WorkspaceTest, ADeviceThatIsTooSmallSaysForWhat) {
  const auto device = Device::Open("emu:sm90");
  ASSERT_OK(device.status());
  BufferView view;
  EXPECT_THAT(Workspace::Allocate(**device, "test", {{"logits", view, uint64_t{1} << 60}}),
              StatusIs(absl::StatusCode::kResourceExhausted, testing::HasSubstr("logits")));
}

}  // namespace
}  // namespace ptxsmith

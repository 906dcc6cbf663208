#include "runtime/debug_flags.h"

#include <map>
#include <string>

#include "gtest/gtest.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

absl::StatusOr<DebugFlags> Read(const std::map<std::string, std::string>& variables) {
  return DebugFlags::Read([&](const char* name) -> const char* {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

TEST(DebugFlagsTest, UnsetMeansQuiet) {
  ASSERT_OK_AND_ASSIGN(const DebugFlags flags, Read({}));
  EXPECT_EQ(flags.level, 0);
  EXPECT_FALSE(flags.sync);
  EXPECT_EQ(flags.dump_dir, "");
  EXPECT_EQ(flags.device, "");
}

TEST(DebugFlagsTest, ReadsEveryVariable) {
  ASSERT_OK_AND_ASSIGN(const DebugFlags flags, Read({{"PTXSMITH_DEBUG", "3"},
                                                     {"PTXSMITH_SYNC", "1"},
                                                     {"PTXSMITH_DUMP_DIR", "/tmp/ptx"},
                                                     {"PTXSMITH_DEVICE", "emu:sm80"}}));
  EXPECT_EQ(flags.level, 3);
  EXPECT_TRUE(flags.sync);
  EXPECT_EQ(flags.dump_dir, "/tmp/ptx");
  EXPECT_EQ(flags.device, "emu:sm80");
}

TEST(DebugFlagsTest, RefusesWhatIsNoSetting) {
  for (const char* value : {"5", "-1", "yes", "1x"}) {
    EXPECT_THAT(Read({{"PTXSMITH_DEBUG", value}}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(std::string("PTXSMITH_DEBUG=") + value + ": expected")));
  }
  EXPECT_THAT(Read({{"PTXSMITH_SYNC", "2"}}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("from 0 to 1")));
}

}  // namespace
}  // namespace ptxsmith

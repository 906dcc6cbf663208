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
  EXPECT_EQ(flags.cache_dir, "");
  EXPECT_FALSE(flags.forbid_build);
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

TEST(DebugFlagsTest, TheCacheIsWhereTheUserOrTheDesktopSays) {
  std::map<std::string, std::string> variables = {{"HOME", "/home/a"}};
  EXPECT_EQ(Read(variables)->cache_dir, "/home/a/.cache/ptxsmith");
  variables["XDG_CACHE_HOME"] = "/fast";
  EXPECT_EQ(Read(variables)->cache_dir, "/fast/ptxsmith");
  variables["PTXSMITH_CACHE_DIR"] = "/mine";
  EXPECT_EQ(Read(variables)->cache_dir, "/mine");
  variables["PTXSMITH_NO_CACHE"] = "1";
  EXPECT_EQ(Read(variables)->cache_dir, "");
}

TEST(DebugFlagsTest, TheToolkitHasTwoNames) {
  EXPECT_EQ(Read({{"CUDA_PATH", "/opt/b"}})->cuda_home, "/opt/b");
  EXPECT_EQ(Read({{"CUDA_PATH", "/opt/b"}, {"CUDA_HOME", "/opt/a"}})->cuda_home, "/opt/a");
}

TEST(DebugFlagsTest, RefusesWhatIsNoSetting) {
  for (const char* value : {"5", "-1", "yes", "1x"}) {
    EXPECT_THAT(Read({{"PTXSMITH_DEBUG", value}}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(std::string("PTXSMITH_DEBUG=") + value + ": expected")));
  }
  for (const char* name : {"PTXSMITH_SYNC", "PTXSMITH_NO_CACHE", "PTXSMITH_FORBID_BUILD"}) {
    EXPECT_THAT(Read({{name, "2"}}),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(std::string(name) + "=2: expected a number from 0 to 1")));
  }
}

}  // namespace
}  // namespace ptxsmith

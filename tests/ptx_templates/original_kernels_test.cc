#include "ptx_templates/original_kernels.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "ptx_templates/registry.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

TEST(OriginalKernelsTest, EveryKeyBuilds) {
  ASSERT_OK_AND_ASSIGN(const Target target, Target::Parse("sm_90"));
  std::set<absl::string_view> names;
  for (const OriginalKernel& kernel : OriginalKernels()) {
    SCOPED_TRACE(std::string(kernel.name));
    EXPECT_TRUE(names.insert(kernel.name).second) << "listed twice";
    if (kernel.keys.empty()) continue;
    for (const absl::string_view key : absl::StrSplit(kernel.keys, " + ")) {
      EXPECT_OK(BuildFromKey(key, target)) << key;
    }
  }
  EXPECT_GT(names.size(), 90u);
}

// What cannot be mapped yet, with a reason each. A kernel that does its work belongs in the table.
TEST(OriginalKernelsTest, OnlyTheseAreMissing) {
  std::vector<std::string> missing;
  for (const OriginalKernel& kernel : OriginalKernels()) {
    if (!kernel.keys.empty()) continue;
    EXPECT_FALSE(kernel.remark.empty()) << kernel.name;
    missing.emplace_back(kernel.name);
  }
  EXPECT_THAT(missing,
              testing::ElementsAre("f16_to_f32_act_scaled", "f32_to_e4m3", "f32_to_e4m3_scaled",
                                   "f32_to_e4m3_device_scaled", "absmax_reduce"));
}

}  // namespace
}  // namespace ptxsmith

#include "ptx_templates/original_kernels.h"

#include <set>
#include <string>

#include "absl/strings/str_split.h"
#include "ptx_templates/registry.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

TEST(OriginalKernelsTest, EveryKernelHasKeysThatBuild) {
  ASSERT_OK_AND_ASSIGN(const Target target, Target::Parse("sm_90"));
  std::set<absl::string_view> names;
  for (const OriginalKernel& kernel : OriginalKernels()) {
    SCOPED_TRACE(std::string(kernel.name));
    EXPECT_TRUE(names.insert(kernel.name).second) << "listed twice";
    EXPECT_FALSE(kernel.keys.empty());
    for (const absl::string_view key : absl::StrSplit(kernel.keys, " + ")) {
      EXPECT_OK(BuildFromKey(key, target)) << key;
    }
  }
  EXPECT_GT(names.size(), 90u);
}

}  // namespace
}  // namespace ptxsmith

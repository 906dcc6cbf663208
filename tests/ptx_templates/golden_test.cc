// The text of some kernels is what it was: a change of the language or of a template shows here as
// a change of PTX to review. UPDATE_GOLDENS=1 writes the files anew.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "ptx_templates/registry.h"
#include "tests/util/files.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

// The kernels of one layer and one token of a small model, and one with open sizes.
constexpr const char* kKernels[] = {
    "gemv:quant=q4_k,k=4096,n=4096",
    "gemv:quant=q6_k,k=4096,n=4096",
    "gemv:quant=q8_0",
    "rms_norm:n=4096",
    "attention:heads=32,kv_heads=8,head_dim=128,context=4096",
    "argmax:n=128256",
};
constexpr const char* kTargets[] = {"sm_75", "sm_90"};

class GoldenTest : public testing::TestWithParam<std::tuple<const char*, const char*>> {};

// "gemv.quant=q4_k,k=4096@sm_90": without the colon, which some file systems refuse.
std::string FileName(const std::string& key) {
  return absl::StrCat("golden/", absl::StrReplaceAll(key, {{":", "."}}), ".ptx");
}

TEST_P(GoldenTest, PtxIsUnchanged) {
#ifdef __clang__
  // C++ leaves open which operand of `a + b` is evaluated, and so emitted, first.
  GTEST_SKIP() << "the golden files hold the order in which GCC evaluates operands";
#endif
  const auto& [kernel, target] = GetParam();
  const std::string key = absl::StrCat(kernel, "@", target);
  ASSERT_OK_AND_ASSIGN(const KernelSpec spec, BuildFromKey(key, Target{}));
  const std::string file = FileName(key);
  if (std::getenv("UPDATE_GOLDENS") != nullptr) {
    std::ofstream(TestPath(file), std::ios::binary) << spec.ptx;
    GTEST_SKIP() << "wrote " << TestPath(file);
  }
  EXPECT_EQ(ReadTestFile(file), spec.ptx)
      << "If the change is meant, run this test with UPDATE_GOLDENS=1 and review the difference.";
}

INSTANTIATE_TEST_SUITE_P(Kernels, GoldenTest,
                         testing::Combine(testing::ValuesIn(kKernels),
                                          testing::ValuesIn(kTargets)));

TEST(GoldenFilesTest, NoneIsLeftOver) {
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TestPath("golden"))) {
    files += entry.path().extension() == ".ptx" ? 1 : 0;
  }
  EXPECT_EQ(files, std::size(kKernels) * std::size(kTargets));
}

}  // namespace
}  // namespace ptxsmith

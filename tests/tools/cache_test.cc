// `ptxsmith warm` and `ptxsmith cache` with a compiler of the machine: nvJitLink of a toolkit or
// the one of the driver. No GPU is needed.
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/kernel_list.h"
#include "runtime/dry_device.h"
#include "runtime/ptx_compiler.h"
#include "tests/tools/program.h"
#include "tests/util/files.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

class CacheCommandTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto compiler = OpenPtxCompiler({});
    if (!compiler.ok()) GTEST_SKIP() << compiler.status().message();
    id_ = (*compiler)->id();
    folder_ = testing::TempDir() + "ptxsmith_cache_test_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  Outcome Run(const std::vector<std::string>& args) const {
    return Program::Run(args, {"", {"PTXSMITH_CACHE_DIR=" + folder_}});
  }
  Outcome Warm() const {
    return Run({"warm", "-m", TestPath("data/sample-q4_k_m.gguf"), "--arch", "sm_90", "-c", "64"});
  }
  // What the model needs, by the library rather than the program.
  static std::vector<KernelSpec> Kernels() {
    const auto file = GgufFile::Open(TestPath("data/sample-q4_k_m.gguf"));
    const auto profile = DryProfile("sm_90");
    TransformerOptions options;
    options.context = 64;
    auto kernels = KernelsOf(*file, *profile, options, {.temperature = 1, .penalty = 1.1f});
    EXPECT_OK(kernels);
    return *std::move(kernels);
  }

  std::string id_;
  std::string folder_;
};

TEST_F(CacheCommandTest, WarmsAndTellsWhatIsThere) {
  const std::vector<KernelSpec> kernels = Kernels();
  ASSERT_GT(kernels.size(), 5u);
  Outcome outcome = Warm();
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              AllOf(StartsWith(absl::StrCat(kernels.size(), " kernels for sm_90: ", kernels.size(),
                                            " compiled by ", id_, ", 0 were there")),
                    HasSubstr(folder_)));
  outcome = Warm();
  EXPECT_THAT(outcome.out, HasSubstr(absl::StrCat(": 0 compiled by ", id_, ", ", kernels.size(),
                                                  " were there")));
  outcome = Run({"cache", "ls"});
  for (const KernelSpec& kernel : kernels) EXPECT_THAT(outcome.out, HasSubstr(kernel.key + "\n"));
  EXPECT_THAT(Run({"cache", "stat"}).out,
              AllOf(StartsWith(folder_ + "\n" + std::to_string(kernels.size()) + " entries, "),
                    HasSubstr("sm_90, " + id_ + ": ")));
  EXPECT_THAT(Run({"cache", "explain", kernels[0].key}).out, StartsWith("hit: " + folder_));
  EXPECT_THAT(Run({"cache", "verify"}).out, StartsWith(absl::StrCat(kernels.size(), " entries, ")));

  const fs::path first = fs::directory_iterator(folder_)->path();
  fs::resize_file(first, fs::file_size(first) - 1);
  outcome = Run({"cache", "verify"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.out, StartsWith(first.string() + ": the entry "));
  EXPECT_THAT(outcome.err, HasSubstr(absl::StrCat("1 of ", kernels.size(), " entries are bad")));

  EXPECT_THAT(Run({"cache", "clear"}).out,
              StartsWith(absl::StrCat("removed ", kernels.size(), " entries, ")));
  EXPECT_THAT(Run({"cache", "ls"}).out, "");
}

TEST_F(CacheCommandTest, ExplainsAMiss) {
  const std::string other = "gemv:quant=q4_k,k=512,n=8,outputs_per_block=4@sm_80";
  EXPECT_THAT(Run({"cache", "explain", other}).out,
              AllOf(StartsWith("miss: gemv:quant=q4_k,k=512,n=8,"),
                    HasSubstr("was never compiled here, nor was any gemv (0 entries)")));
  EXPECT_EQ(Run({"cache", "explain", "no_such:k=1"}).exit_code, 1);
}

TEST_F(CacheCommandTest, RefusesWhatItCannotDo) {
  Outcome outcome = Program::Run({"cache", "ls"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("there is no cache: PTXSMITH_NO_CACHE is set"));
  outcome = Run({"warm", "-m", TestPath("data/sample-q4_k_m.gguf"), "--arch", "sm_42"});
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("unknown target 'sm_42'"));
  EXPECT_EQ(Run({"cache"}).exit_code, 2);
}

// A model runs on every architecture without having been tuned for it: kernels are found for it,
// its compiler takes them, and each can be printed by its name.
class ArchitectureTest : public CacheCommandTest,
                         public testing::WithParamInterface<const char*> {};

TEST_P(ArchitectureTest, EveryKernelOfAModelCompiles) {
  const std::string arch = GetParam();
  Outcome outcome =
      Run({"warm", "-m", TestPath("data/sample-q4_k_m.gguf"), "--arch", arch, "-c", "64"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const std::vector<std::string> lines =
      absl::StrSplit(Run({"cache", "ls"}).out, '\n', absl::SkipEmpty());
  EXPECT_THAT(outcome.out, StartsWith(absl::StrCat(lines.size(), " kernels for ", arch, ": ",
                                                   lines.size(), " compiled by ", id_)));
  ASSERT_GT(lines.size(), 40u);
  for (size_t i = 0; i < lines.size(); i += 5) {
    const std::string key = lines[i].substr(lines[i].rfind(' ') + 1);
    SCOPED_TRACE(key);
    outcome = Run({"dump", key});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    // What needs one architecture alone says so: sm_90a.
    EXPECT_THAT(outcome.out, HasSubstr(absl::StrCat(".target ", arch)));
  }
}

INSTANTIATE_TEST_SUITE_P(, ArchitectureTest,
                         testing::Values("sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100",
                                         "sm_120"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace ptxsmith

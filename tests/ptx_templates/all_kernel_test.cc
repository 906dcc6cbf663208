// Every kernel family over all of its cases: against the references on the emulator and on the
// first GPU, and the two devices against each other bit for bit.

#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "ptx_templates/registry.h"
#include "tests/util/expect_close.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/kernel_runner.h"

namespace ptxsmith {
namespace {

constexpr uint64_t kSeed = 1;
constexpr const char* kEmulator = "emu:sm90";
constexpr const char* kGpu = "cuda:0";
// Larger cases, a second each for the emulator, run on a GPU alone.
constexpr uint64_t kEmulatorWork = 2'000'000;

class KernelTest : public testing::TestWithParam<std::tuple<std::string, CaseFamily>> {};

TEST_P(KernelTest, MatchesTheReference) {
  const auto& [device, family] = GetParam();
  absl::StatusOr<KernelRunner> runner = KernelRunner::Open(device);
  if (device == kGpu && absl::IsUnavailable(runner.status())) {
    GTEST_SKIP() << runner.status().message();
  }
  ASSERT_OK(runner);
  int run = 0;
  for (const CaseMaker& maker : family.cases(kSeed)) {
    if (device == kEmulator && maker.work > kEmulatorWork) continue;
    const KernelCase test = maker.make();
    absl::StatusOr<std::vector<Bytes>> after = runner->Run(test);
    ASSERT_OK(after) << family.name << ":" << test.name;
    ASSERT_TRUE(Passed(test.check(*after))) << family.name << ":" << test.name;
    ++run;
  }
  EXPECT_GT(run, 0);
  RecordProperty("cases", run);
}

std::string NameOf(const testing::TestParamInfo<std::tuple<std::string, CaseFamily>>& info) {
  const auto& [device, family] = info.param;
  return absl::StrCat(family.name, device == kGpu ? "_cuda" : "_emulator");
}

INSTANTIATE_TEST_SUITE_P(Families, KernelTest,
                         testing::Combine(testing::Values(kEmulator, kGpu),
                                          testing::ValuesIn(AllCaseFamilies())),
                         NameOf);

class KernelConformanceTest : public testing::TestWithParam<CaseFamily> {};

// The kernels use exactly rounded operations only, so a GPU and the emulator of its architecture
// must agree in every bit of every buffer; those of the tensor cores within their bound.
TEST_P(KernelConformanceTest, GpuAndEmulatorGiveTheSameBits) {
  absl::StatusOr<KernelRunner> gpu = KernelRunner::Open(kGpu);
  if (absl::IsUnavailable(gpu.status())) GTEST_SKIP() << gpu.status().message();
  ASSERT_OK(gpu);
  ASSERT_OK_AND_ASSIGN(
      KernelRunner emulator,
      KernelRunner::Open(absl::StrCat("emu:", gpu->device()->profile().target.sm_name())));
  for (const CaseMaker& maker : GetParam().cases(kSeed)) {
    if (maker.work > kEmulatorWork) continue;
    const KernelCase test = maker.make();
    ASSERT_OK_AND_ASSIGN(const std::vector<Bytes> want, emulator.Run(test));
    ASSERT_OK_AND_ASSIGN(const std::vector<Bytes> got, gpu->Run(test));
    if (!test.same_bits) {
      ASSERT_TRUE(Passed(test.check(want))) << test.name;
      ASSERT_TRUE(Passed(test.check(got))) << test.name;
      continue;
    }
    for (size_t i = 0; i < want.size(); ++i) {
      ASSERT_TRUE(SameBits(FromBytes<float>(got[i]), FromBytes<float>(want[i])))
          << test.name << ", argument " << i;
      ASSERT_EQ(got[i], want[i]) << test.name << ", argument " << i;  // tails of less than a float
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, KernelConformanceTest, testing::ValuesIn(AllCaseFamilies()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(KernelCasesTest, EveryFamilyOfTheRegistryHasCasesForAllItsVariants) {
  for (const Family& family : AllFamilies()) {
    std::vector<std::string> covered;
    for (const CaseFamily& cases : AllCaseFamilies()) {
      if (cases.name != family.name) continue;
      for (const CaseMaker& maker : cases.cases(kSeed)) covered.push_back(maker.fields);
    }
    for (const std::string& variant : family.variants()) {
      EXPECT_THAT(covered, testing::Contains(variant)) << family.name;
    }
  }
}

}  // namespace
}  // namespace ptxsmith

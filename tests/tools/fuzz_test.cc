// The fuzzer: that it repeats itself, finds a broken kernel and tells it simply.
#include "tools/fuzz/fuzz.h"

#include <signal.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptx_templates/gemv.h"
#include "ptx_templates/registry.h"
#include "tests/tools/program.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using Json = nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;

FuzzOptions OptionsOf(absl::string_view family, uint64_t cases) {
  FuzzOptions options;
  options.cases = cases;
  for (const CaseFamily& each : AllCaseFamilies()) {
    if (family == "all" || each.name == family) options.families.push_back(each);
  }
  return options;
}

TEST(FuzzTest, NoFamilyFails) {
  FuzzOptions options = OptionsOf("all", 5);
  options.random_schedule = true;
  ASSERT_OK_AND_ASSIGN(const FuzzReport report, Fuzz(options));
  EXPECT_EQ(report.families.size(), AllFamilies().size());
  EXPECT_EQ(report.cases(), 5 * AllFamilies().size());
  for (const FuzzFamilyReport& family : report.families) {
    EXPECT_EQ(family.cases, 5u) << family.name;
    EXPECT_GT(family.lane_ops, 0u) << family.name;
    EXPECT_LE(family.worst, 1) << family.name;
    EXPECT_FALSE(family.first) << family.first->problem << "\n" << family.first->command;
  }
}

TEST(FuzzTest, ASeedGivesTheSameCasesWhateverTheJobs) {
  FuzzOptions options = OptionsOf("softmax", 30);
  const auto run = [&](uint64_t seed, int jobs) {
    options.seed = seed;
    options.jobs = jobs;
    return Fuzz(options).value().families[0];
  };
  const FuzzFamilyReport first = run(1, 1), again = run(1, 3), other = run(2, 1);
  EXPECT_EQ(again.lane_ops, first.lane_ops);
  EXPECT_EQ(again.worst, first.worst);
  EXPECT_NE(other.lane_ops, first.lane_ops);
}

TEST(FuzzTest, ABrokenKernelIsShrunkToOneCommand) {
  FuzzOptions options = OptionsOf("gemv", 20);
  options.tamper = [](KernelSpec& kernel) {
    // The last step of the sum over the lanes.
    kernel.ptx = absl::StrReplaceAll(kernel.ptx, {{"add.rn.f32", "sub.rn.f32"}});
  };
  ASSERT_OK_AND_ASSIGN(const FuzzReport report, Fuzz(options));
  ASSERT_GT(report.failures(), 0u);
  ASSERT_TRUE(report.families[0].first);
  const FuzzFailure& failure = *report.families[0].first;
  EXPECT_THAT(failure.problem, HasSubstr("outside the bound"));
  EXPECT_EQ(failure.simplest.fields, FieldsText(*ParseFields<GemvSpec>("")));
  EXPECT_EQ(failure.simplest.sizes, "k=256,n=1");
  EXPECT_EQ(failure.simplest.values, Values::kNormal);
  EXPECT_EQ(failure.command, absl::StrCat("ptxsmith fuzz --case 'gemv:", failure.simplest.fields,
                                          "' --sizes k=256,n=1 --values normal --seed ",
                                          failure.simplest.seed, " --device emu:sm90"));

  ASSERT_OK_AND_ASSIGN(const FuzzResult broken, RunFuzzCase(options, failure.simplest));
  EXPECT_EQ(broken.problem, failure.problem);
  options.tamper = nullptr;
  ASSERT_OK_AND_ASSIGN(const FuzzResult right, RunFuzzCase(options, failure.simplest));
  EXPECT_EQ(right.problem, "");
}

// The emulator reports a race.
TEST(FuzzTest, ADroppedBarrierIsAFault) {
  FuzzOptions options = OptionsOf("layer_norm", 20);
  options.tamper = [](KernelSpec& kernel) {
    kernel.ptx = absl::StrReplaceAll(kernel.ptx, {{"bar.sync 0;", ""}, {"barrier.sync 0;", ""}});
  };
  ASSERT_OK_AND_ASSIGN(const FuzzReport report, Fuzz(options));
  EXPECT_GT(report.failures(), 0u);
}

TEST(FuzzTest, RefusesCasesThatAreNone) {
  const FuzzOptions options;
  EXPECT_THAT(RunFuzzCase(options, {"gemv_v9", "", ""}).status().message(),
              HasSubstr("unknown kernel family 'gemv_v9'"));
  EXPECT_THAT(RunFuzzCase(options, {"gemv", "k=100", ""}).status().message(), HasSubstr("k=100"));
  EXPECT_THAT(RunFuzzCase(options, {"gemv", "", "k=32,n=1"}).status().message(),
              AllOf(HasSubstr("is no case"), HasSubstr("k=256,n=1")));
  EXPECT_THAT(RunFuzzCase(options, {"gemv", "", "depth=1"}).status().message(), HasSubstr("depth"));
}

TEST(FuzzCommandTest, PrintsASummaryAndWritesJson) {
  const std::string file = absl::StrCat(testing::TempDir(), "/ptxsmith_fuzz_", getpid(), ".json");
  const auto run = [&] {
    const Outcome outcome =
        Program::Run({"fuzz", "rope", "--cases", "20", "--seed", "5", "--json", file});
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_THAT(outcome.out, testing::ContainsRegex("rope +20 +0 "));
    EXPECT_EQ(outcome.err, "");
    std::ifstream in(file);
    Json summary = Json::parse(std::string(std::istreambuf_iterator<char>(in), {}));
    EXPECT_TRUE(summary["families"][0]["seconds"].is_number());
    summary["families"][0].erase("seconds");
    return summary;
  };
  const Json summary = run();
  EXPECT_EQ(summary["device"], "emu:sm90");
  EXPECT_EQ(summary["seed"], 5);
  EXPECT_EQ(summary["cases"], 20);
  EXPECT_EQ(summary["failures"], 0);
  ASSERT_EQ(summary["families"].size(), 1u);
  EXPECT_EQ(summary["families"][0]["name"], "rope");
  EXPECT_LE(summary["families"][0]["error_of_bound"], 1.0);
  EXPECT_GT(summary["families"][0]["lane_ops"], 0);
  EXPECT_EQ(run(), summary) << "the same seed";
  std::filesystem::remove(file);
}

TEST(FuzzCommandTest, RunsOneCase) {
  const Outcome right = Program::Run({"fuzz", "--case", "gemv:quant=q6_k,k=512", "--sizes", "n=3",
                                      "--values", "random_bits", "--seed", "9"});
  EXPECT_EQ(right.exit_code, 0) << right.err;
  EXPECT_THAT(right.out, HasSubstr("right, with an error of"));
  const Outcome wrong = Program::Run({"fuzz", "--case", "gemv:k=100"});
  EXPECT_EQ(wrong.exit_code, 1);
  EXPECT_THAT(wrong.err, HasSubstr("k=100"));
  const Outcome values = Program::Run({"fuzz", "--case", "gemv", "--values", "odd"});
  EXPECT_EQ(values.exit_code, 1);
  EXPECT_THAT(values.err, AllOf(HasSubstr("'odd'"), HasSubstr("random_bits")));
  EXPECT_EQ(Program::Run({"fuzz", "--values", "normal"}).exit_code, 2);
  EXPECT_EQ(Program::Run({"fuzz", "--cases", "0"}).exit_code, 2);
  EXPECT_EQ(Program::Run({"fuzz", "--schedule", "wild"}).exit_code, 2);
  EXPECT_EQ(Program::Run({"fuzz", "gemv_v9"}).exit_code, 1);
}

TEST(FuzzCommandTest, CtrlCPrintsTheSummary) {
  Program program({"fuzz", "silu", "--cases", "100000000"});
  std::this_thread::sleep_for(std::chrono::seconds(1));
  program.Signal(SIGINT);
  const Outcome outcome = program.Wait();
  EXPECT_EQ(outcome.exit_code, 130) << "signal " << outcome.signal;
  EXPECT_THAT(outcome.out, testing::ContainsRegex("silu +[1-9]"));
}

TEST(FuzzCommandTest, StopsInTime) {
  const Outcome outcome = Program::Run({"fuzz", "--cases", "100000000", "--minutes", "0.01"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, testing::ContainsRegex("silu +[1-9]"));
}

}  // namespace
}  // namespace ptxsmith

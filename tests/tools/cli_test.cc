// The program as its users meet it: what it prints where, its exit codes and its refusals.
#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "ptx_templates/original_kernels.h"
#include "ptx_templates/registry.h"
#include "tests/model/models.h"
#include "tests/tools/program.h"
#include "tests/util/files.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using Args = std::vector<std::string>;

constexpr char kKey[] = "gemv:quant=q4_k,k=512,n=8";

Args operator+(Args args, const Args& more) {
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

class CliTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / absl::StrCat("ptxsmith_cli_", getpid(), test->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  std::string Path(const std::string& name) const { return (folder_ / name).string(); }

  std::string FileWith(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name), std::ios::binary) << text;
    return Path(name);
  }

  static std::string Contents(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }

  static std::string Sample() { return TestPath("data/sample-q4_k_m.gguf"); }

  // A prompt on the emulator.
  static Args RunArgs(const Args& more) {
    return Args{"run", "-m", Sample(), "--device", "emu:sm90"} + more;
  }

  // The standard output of a command that works, with no word of its progress in a pipe.
  static std::string Out(const Args& args) {
    const Outcome outcome = Program::Run(args);
    EXPECT_EQ(outcome.exit_code, 0) << absl::StrJoin(args, " ") << "\n" << outcome.err;
    EXPECT_THAT(outcome.err, AllOf(Not(HasSubstr("\r")), Not(HasSubstr("\x1b"))));
    return outcome.out;
  }

  // Exit code 1, nothing on stdout, and the last line of stderr the only error.
  static void ExpectError(const Args& args, const testing::Matcher<const std::string&>& message,
                          const ProgramOptions& options = {}) {
    SCOPED_TRACE(absl::StrJoin(args, " "));
    const Outcome outcome = Program::Run(args, options);
    EXPECT_EQ(outcome.exit_code, 1) << "signal " << outcome.signal;
    EXPECT_EQ(outcome.out, "");
    std::vector<std::string> lines = absl::StrSplit(outcome.err, '\n');
    ASSERT_GE(lines.size(), 2u);
    EXPECT_EQ(lines.back(), "") << "the error does not end its line";
    lines.pop_back();
    EXPECT_THAT(lines.back(), AllOf(testing::StartsWith("ptxsmith: error: "), message));
    lines.pop_back();
    EXPECT_THAT(lines, testing::Each(Not(HasSubstr("error"))));
  }

  static void ExpectUsageError(const Args& args, const std::string& message) {
    SCOPED_TRACE(absl::StrJoin(args, " "));
    const Outcome outcome = Program::Run(args);
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_EQ(outcome.out, "");
    EXPECT_THAT(outcome.err, HasSubstr(message));
  }

  fs::path folder_;
};

TEST_F(CliTest, HelpAndVersionArePrintedToStdout) {
  EXPECT_THAT(Out({"--version"}), testing::MatchesRegex("ptxsmith [0-9]+\\.[0-9]+\\.[0-9]+\n"));
  const std::string help = Out({"--help"});
  for (const char* command : {"dump", "fuzz", "inspect", "list", "perplexity", "run", "tokenize"}) {
    EXPECT_THAT(help, HasSubstr(command));
    EXPECT_THAT(Out({command, "--help"}), HasSubstr("-h,--help"));
  }
}

TEST_F(CliTest, UsageErrorsExitWith2) {
  ExpectUsageError({}, "subcommand is required");
  ExpectUsageError({"walk"}, "subcommand is required");
  ExpectUsageError({"dump"}, "key is required");
  ExpectUsageError({"dump", kKey, "--fast"}, "--fast");
  ExpectUsageError({"tokenize", "-p", "x"}, "--model is required");
  ExpectUsageError(RunArgs({}), "-p");
  ExpectUsageError(RunArgs({"-p", "x", "-f", "y"}), "-p");
}

TEST_F(CliTest, BadNumbersAreUsageErrors) {
  for (const Args& flags : std::vector<Args>{{"--predict", "many"},
                                             {"--predict", "-2"},
                                             {"--predict", "3000000000"},
                                             {"--ctx-size", "-1"},
                                             {"--ctx-size", "99999999999"},
                                             {"--temp", "warm"},
                                             {"--top-k", "1.5"},
                                             {"--top-k", "-1"},
                                             {"--seed", "-2"},
                                             {"--seed", "0x"}}) {
    ExpectUsageError(RunArgs({"-p", "x"}) + flags, flags[0]);
  }
}

TEST_F(CliTest, ListNamesEveryFamilyAndField) {
  const std::string text = Out({"list"});
  const Json families = Json::parse(Out({"list", "--json"}));
  ASSERT_EQ(families.size(), AllFamilies().size());
  for (size_t i = 0; i < families.size(); ++i) {
    const Family family = AllFamilies()[i];
    EXPECT_EQ(families[i]["name"], std::string(family.name));
    EXPECT_THAT(text, HasSubstr(std::string(family.name)));
    const std::vector<FieldHelp> fields = family.fields();
    ASSERT_EQ(families[i]["fields"].size(), fields.size());
    for (size_t f = 0; f < fields.size(); ++f) {
      EXPECT_EQ(families[i]["fields"][f]["name"], fields[f].name);
      EXPECT_THAT(text, HasSubstr(fields[f].name));
    }
  }
}

TEST_F(CliTest, ListMapsTheOriginalsKernels) {
  const std::string text = Out({"list", "--original"});
  const Json kernels = Json::parse(Out({"list", "--original", "--json"}));
  ASSERT_EQ(kernels.size(), OriginalKernels().size());
  for (const Json& kernel : kernels) {
    EXPECT_THAT(text, HasSubstr(kernel["name"].get<std::string>()));
    for (const std::string key : kernel["keys"]) EXPECT_THAT(text, HasSubstr(key));
  }
  EXPECT_THAT(text, testing::ContainsRegex("BiasActivation +bias_add \\+ gelu_tanh; or silu"));
}

// Lines that are no comment.
std::string WithoutComments(const std::string& ptx) {
  std::vector<std::string> lines;
  for (absl::string_view line : absl::StrSplit(ptx, '\n')) {
    if (!absl::StartsWith(absl::StripLeadingAsciiWhitespace(line), "//")) {
      lines.emplace_back(line);
    }
  }
  return absl::StrJoin(lines, "\n");
}

TEST_F(CliTest, DumpPrintsThePtxOfTheKey) {
  ASSERT_OK_AND_ASSIGN(const Target target, Target::Parse("sm_90"));
  ASSERT_OK_AND_ASSIGN(const KernelSpec kernel, BuildFromKey(kKey, target));
  EXPECT_EQ(Out({"dump", kKey, "--plain"}), kernel.ptx);
  EXPECT_EQ(Out({"dump", kernel.key, "--plain", "--arch", "sm_80"}), kernel.ptx)
      << "the target in the key counts";
  ASSERT_OK_AND_ASSIGN(const Target older, Target::Parse("sm_80"));
  ASSERT_OK_AND_ASSIGN(const KernelSpec other, BuildFromKey(kKey, older));
  EXPECT_EQ(Out({"dump", kKey, "--plain", "--arch", "sm_80"}), other.ptx);
}

TEST_F(CliTest, DumpShowsTheSourceAboveThePtx) {
  const std::string annotated = Out({"dump", kKey});
  EXPECT_EQ(WithoutComments(annotated), WithoutComments(Out({"dump", kKey, "--plain"})));
  EXPECT_THAT(annotated, AllOf(HasSubstr("// gemv_core.cc:"), HasSubstr("// q4_k.cc:")));
}

TEST_F(CliTest, DumpWritesFilesWholeOrNotAtAll) {
  const std::string file = FileWith("kernel.ptx", "old");
  EXPECT_EQ(Out({"dump", kKey, "--plain", "-o", file}), "");
  std::ifstream in(file);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), Out({"dump", kKey, "--plain"}));
  ExpectError({"dump", "gemv:k=1", "-o", file}, HasSubstr("k=1"));
  EXPECT_GT(fs::file_size(file), 3u) << "a failure destroyed the file";
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_)) ++files;
  EXPECT_EQ(files, 1u) << "temporary files were left";

  ExpectError({"dump", kKey, "-o", Path("no/kernel.ptx")},
              AllOf(HasSubstr("cannot write"), HasSubstr("no/kernel.ptx")));
  ExpectError({"dump", kKey, "-o", folder_.string()}, HasSubstr("Is a directory"));
  ExpectError({"dump", kKey, "-o", "/dev/full"}, HasSubstr("No space left"));
}

TEST_F(CliTest, DumpNamesWhatIsWrongWithAKey) {
  ExpectError({"dump", "gemm_v9:k=1"},
              AllOf(HasSubstr("unknown kernel family 'gemm_v9'"), HasSubstr("gemv")));
  ExpectError({"dump", ""}, HasSubstr("unknown kernel family ''"));
  ExpectError({"dump", "gemv:rows=4"}, AllOf(HasSubstr("rows"), HasSubstr("outputs_per_block")));
  ExpectError({"dump", "gemv:quant=q9_z,k=256,n=1"}, AllOf(HasSubstr("q9_z"), HasSubstr("q4_k")));
  ExpectError({"dump", "gemv:quant=q4_k,k=4000,n=1"}, AllOf(HasSubstr("k=4000"), HasSubstr("256")));
  ExpectError({"dump", "gemv:quant=q4_k,k=256,n=0"}, HasSubstr("n=0"));
  ExpectError({"dump", "gemv:quant=q4_k,k=99999999999,n=1"}, HasSubstr("99999999999"));
  ExpectError({"dump", "gemv:quant=q4_k,k=256,n=1,outputs_per_block=3"},
              AllOf(HasSubstr("outputs_per_block=3"), HasSubstr("1, 2, 4, 8, 16")));
  ExpectError({"dump", "gemv:quant"}, HasSubstr("quant"));
  ExpectError({"dump", absl::StrCat(kKey, "@sm_1")}, HasSubstr("sm_1"));
  ExpectError({"dump", kKey, "--arch", "volta"}, HasSubstr("volta"));
}

TEST_F(CliTest, TokenizePrintsTheIds) {
  EXPECT_EQ(Out({"tokenize", "-m", Sample(), "-p", "In the beginning"}), "747 259 2512\n");
  EXPECT_EQ(Json::parse(Out({"tokenize", "-m", Sample(), "-p", "In the beginning", "--json"})),
            Json::parse(R"({"ids": [747, 259, 2512]})"));
}

TEST_F(CliTest, InspectPrintsMetadataAndTensors) {
  EXPECT_THAT(Out({"inspect", "-m", Sample()}),
              AllOf(HasSubstr("general.architecture"), HasSubstr("\"llama\""),
                    HasSubstr("blk.5.ffn_down.weight"), HasSubstr("q4_k")));
  const Json report = Json::parse(Out({"inspect", "-m", Sample(), "--json"}));
  EXPECT_EQ(report["bytes"], fs::file_size(Sample()));
  EXPECT_EQ(report["tensors"][0]["shape"].size(), 2u);
}

// A file cannot send control sequences to the terminal.
TEST_F(CliTest, SynthesizeWritesAModelThatLoads) {
  const std::string path = Path("tiny.gguf");
  EXPECT_EQ(Out({"synthesize", "tiny:q4_k_m", "-o", path}), "");
  EXPECT_THAT(Out({"inspect", "-m", path}),
              AllOf(HasSubstr("synthetic tiny"), HasSubstr("blk.1.ffn_down.weight")));
  ExpectError({"synthesize", "huge", "-o", path}, HasSubstr("known: llama3-8b"));
}

TEST_F(CliTest, InspectEscapesControlCharacters) {
  const std::string path =
      FileWith("hostile.gguf", TinyModel().Set("general.name", Str("\x1b[2J\n")).Build());
  EXPECT_THAT(Out({"inspect", "-m", path}), HasSubstr("\"\\x1b[2J\\n\""));
  EXPECT_THAT(Out({"inspect", "-m", path, "--json"}), HasSubstr("\"\\u001b[2J\\n\""));
}

// A prompt of the oracle's whose continuation has no near ties.
Json OracleRun() { return Json::parse(ReadTestFile("data/oracle.json"))["q4_k_m"]["greedy"][2]; }

TEST_F(CliTest, RunContinuesAPrompt) {
  const std::string prompt = OracleRun()["prompt"];
  const std::string text = OracleRun()["text"];
  const Outcome outcome = Program::Run(RunArgs({"-p", prompt, "-n", "12"}));
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  ASSERT_THAT(outcome.out, testing::EndsWith("\n"));
  const std::string generated = outcome.out.substr(0, outcome.out.size() - 1);
  EXPECT_GT(generated.size(), 12u);
  EXPECT_TRUE(absl::StartsWith(text, generated)) << generated;
  EXPECT_THAT(
      outcome.err,
      AllOf(HasSubstr("emu:sm90"), testing::ContainsRegex("prompt   3 tokens in .* tokens/s"),
            testing::ContainsRegex("generate 12 tokens in .* tokens/s"),
            testing::ContainsRegex("emulator .* lane operations"), HasSubstr("stop     limit")));

  const std::string file = FileWith("prompt.txt", prompt);
  EXPECT_EQ(Out(RunArgs({"-f", file, "-n", "12"})), outcome.out);
  const Json report = Json::parse(Out(RunArgs({"-p", prompt, "-n", "12", "--json"})));
  EXPECT_EQ(report["text"], generated);
  EXPECT_EQ(report["stop"], "limit");
  EXPECT_EQ(report["prompt"]["tokens"], 3);
  EXPECT_EQ(report["generate"]["tokens"], 12);
  EXPECT_GT(report["generate"]["tokens_per_second"], 0);
}

TEST_F(CliTest, RunFillsTheContext) {
  const Json report = Json::parse(
      Out(RunArgs({"-p", "In the beginning", "-c", "6", "-n", "-1", "--ignore-eos", "--json"})));
  EXPECT_EQ(report["stop"], "context");
  EXPECT_EQ(report["generate"]["tokens"], 4);
}

TEST_F(CliTest, RunRepeatsASeed) {
  const Args args = RunArgs({"-p", "Alice", "-n", "12", "--temp", "1.5", "--top-k", "0", "--top-p",
                             "1", "--ignore-eos", "--seed"});
  const std::string text = Out(args + Args{"7"});
  EXPECT_EQ(Out(args + Args{"7"}), text);
  EXPECT_NE(Out(args + Args{"8"}), text);
  const Outcome random = Program::Run(args + Args{"-1"});
  EXPECT_THAT(random.err, testing::ContainsRegex("seed     [0-9]+\n"));
}

TEST_F(CliTest, RunRefusesPromptsItCannotContinue) {
  ExpectError(RunArgs({"-p", ""}), HasSubstr("the prompt has no tokens"));
  ExpectError(RunArgs({"-f", FileWith("empty", "")}), HasSubstr("the prompt has no tokens"));
  ExpectError(RunArgs({"-f", Path("absent.txt")}),
              AllOf(HasSubstr("cannot read"), HasSubstr("absent.txt"), HasSubstr("No such file")));
  ExpectError(RunArgs({"-f", folder_.string()}), HasSubstr("Is a directory"));
  ExpectError(RunArgs({"-p", "In the beginning", "-c", "2"}),
              HasSubstr("the prompt has 3 tokens; the context of 2 positions has room for 2"));
  ExpectError(RunArgs({"-p", "x", "-c", "1000000"}), HasSubstr("a context of 1000000 positions"));
  ExpectError(RunArgs({"-p", "x", "--temp", "-1"}), HasSubstr("temperature"));
  ExpectError(RunArgs({"-p", "x", "--temp", "1", "--top-p", "0"}), HasSubstr("top_p"));
}

TEST_F(CliTest, BenchWantsAGpuAndOneModel) {
  ExpectError({"bench", "--synthetic", "tiny:q4_k_m", "--device", "emu:sm90"},
              HasSubstr("emu:sm90: times of the emulator say nothing about a GPU"));
  ExpectError({"bench", "--synthetic", "tiny:q4_k_m", "-p", "0", "-n", "0"},
              HasSubstr("no tests: -p and -n are both 0"));
  EXPECT_EQ(Program::Run({"bench"}).exit_code, 2);
}

TEST_F(CliTest, BenchHasTheFieldsOfLlamaBench) {
  const Outcome outcome =
      Program::Run({"bench", "--synthetic", "tiny:q4_k_m", "-p", "4", "-n", "5", "-d", "0,7", "-r",
                    "2", "-o", "json", "--device", "cuda:0"});
  if (outcome.err.find("no NVIDIA driver") != std::string::npos) GTEST_SKIP() << outcome.err;
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json rows = Json::parse(outcome.out);
  ASSERT_EQ(rows.size(), 4u);
  EXPECT_EQ(rows[0]["n_prompt"], 4);
  EXPECT_EQ(rows[1]["n_gen"], 5);
  EXPECT_EQ(rows[2]["n_depth"], 7);
  for (const Json& row : rows) {
    EXPECT_EQ(row["model_type"], "llama 6M Q4_K - Medium");
    EXPECT_EQ(row["samples_ns"].size(), 2u);
    EXPECT_GT(row["avg_ts"], 0);
    EXPECT_GT(row["read_bandwidth"], 0);
  }
}

TEST_F(CliTest, TuneWritesAProfileThatBenchReads) {
  const Args tune = {"tune",     "--synthetic", "tiny:q4_k_m", "-o",    Path("gpu"),
                     "--report", Path("html"),  "--device",    "cuda:0"};
  const Outcome outcome = Program::Run(tune);
  if (outcome.err.find("no NVIDIA driver") != std::string::npos) GTEST_SKIP() << outcome.err;
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const Json profile = Json::parse(Contents(Path("gpu")));
  EXPECT_GE(profile["gemv"].size(), 4u);
  EXPECT_THAT(Contents(Path("html")), HasSubstr("q4_k 512x1024 m=1"));
  // What is known is not measured again.
  const Outcome again = Program::Run(tune);
  EXPECT_THAT(again.err, HasSubstr(absl::StrCat(profile["gemv"].size(), " choices that hold")));
  EXPECT_EQ(Json::parse(Contents(Path("gpu"))), profile);
  EXPECT_EQ(Program::Run({"bench", "--synthetic", "tiny:q4_k_m", "-p", "4", "-n", "4", "-r", "1",
                          "--gpu-profile", Path("gpu")})
                .exit_code,
            0);
}

TEST_F(CliTest, CtrlCEndsARunWithItsStatistics) {
  Program program(RunArgs({"-p", "Alice was", "-n", "-1", "--ignore-eos"}));
  program.WaitForOutput();
  program.Signal(SIGINT);
  const Outcome outcome = program.Wait();
  EXPECT_EQ(outcome.exit_code, 130) << "signal " << outcome.signal;
  EXPECT_THAT(outcome.out, testing::EndsWith("\n"));
  EXPECT_THAT(outcome.err, AllOf(testing::ContainsRegex("generate [0-9]+ tokens in"),
                                 HasSubstr("stop     stopped"), Not(HasSubstr("error"))));
}

// The bundled model knows no conversation, but what comes after a message is what would come after
// the same text in a prompt.
TEST_F(CliTest, ChatAnswersMessagesInTurn) {
  const Args args = RunArgs({"--chat", "--template", "mistral", "-n", "12", "--ignore-eos"});
  const Outcome one = Program::Run(args, {.in = "Alice was\n"});
  EXPECT_EQ(one.exit_code, 0) << one.err;
  EXPECT_THAT(one.err, HasSubstr("warning: the end marker of template mistral"));
  const std::string answer =
      Out(RunArgs({"-p", "[INST] Alice was [/INST]", "-n", "12", "--ignore-eos"}));
  EXPECT_EQ(one.out, answer.substr(answer.find_first_not_of(" \n")));

  const Outcome two = Program::Run(args, {.in = "Alice was\n\n  \nSo she"});
  EXPECT_EQ(two.exit_code, 0) << two.err;
  EXPECT_TRUE(absl::StartsWith(two.out, one.out)) << two.out;
  EXPECT_GT(two.out.size(), one.out.size() + 1);
  EXPECT_EQ(Out(args + Args{"-p", "Alice was"}), one.out) << "the prompt is the first message";
  EXPECT_EQ(Program::Run(args + Args{"-p", "Alice was"}, {.in = "So she"}).out, two.out);
  EXPECT_EQ(Out(args), "") << "no message";
}

TEST_F(CliTest, CtrlCStopsAnAnswerAndNotTheChat) {
  Program program(RunArgs({"--chat", "--template", "mistral", "-n", "60", "--ignore-eos"}),
                  {.in = "Alice was\nSo she\n"});
  program.WaitForOutput();
  program.Signal(SIGINT);
  const Outcome outcome = program.Wait();
  EXPECT_EQ(outcome.exit_code, 0) << "signal " << outcome.signal << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("(stopped)"));
}

TEST_F(CliTest, ChatNeedsATemplate) {
  ExpectError(RunArgs({"--chat"}),
              AllOf(HasSubstr("tokenizer.chat_template"), HasSubstr("choose one with --template")));
  ExpectError(RunArgs({"--chat", "--template", "klingon"}), HasSubstr("known: phi4, chatml"));
  ExpectUsageError(RunArgs({"-p", "x", "--template", "chatml"}), "--chat");
  ExpectUsageError(RunArgs({"-p", "x", "--system", "y"}), "--chat");
}

TEST_F(CliTest, PerplexityPrintsItsResult) {
  const Args args = {
      "perplexity", "-m", Sample(),    "--device", "emu:sm90", "-f", TestPath("data/eval.txt"),
      "--window",   "16", "--windows", "2"};
  EXPECT_THAT(Out(args),
              testing::MatchesRegex("perplexity [0-9.]+ \\(nll [0-9.]+ \\+- [0-9.]+\\) over 14 "
                                    "tokens in 2 windows of 16\n"));
  const Json report = Json::parse(Out(args + Args{"--json"}));
  EXPECT_EQ(report["tokens"], 14);
  EXPECT_GT(report["ppl"], 1);
  ExpectError({"perplexity", "-m", Sample(), "--device", "emu:sm90", "-f",
               FileWith("short.txt", "Alice was")},
              HasSubstr("the text has 3 tokens, less than one window of 256"));
}

TEST_F(CliTest, KlDivergenceFromStoredPredictions) {
  const std::string base = Path("base.kld");
  const Args args = {"perplexity", "-m", Sample(), "--device", "emu:sm90", "--kl-base", base};
  const Args kl = args + Args{"--kl"};
  ExpectError(kl, AllOf(HasSubstr("cannot read"), HasSubstr(base)));
  EXPECT_THAT(Out(args + Args{"-f", TestPath("data/eval.txt"), "--windows", "1", "--window", "8"}),
              AllOf(HasSubstr("over 3 tokens in 1 windows of 8"), Not(HasSubstr("KL"))));
  EXPECT_EQ(fs::file_size(base), 20 + 8 * 4 + 3 * (8 + 4096 * 2));
  EXPECT_FALSE(fs::exists(base + ".tmp"));
  EXPECT_THAT(Out(kl), AllOf(HasSubstr("over 3 tokens in 1 windows of 8"),
                             HasSubstr("KL divergence 0.000000 +- 0.000000"),
                             HasSubstr("same top token 100.000%")));
  const Json report = Json::parse(Out(kl + Args{"--json"}));
  EXPECT_LT(report["kl"]["largest"], 2e-8);  // what 16 bits round
  EXPECT_EQ(report["kl"]["same_top"], 1.0);

  fs::resize_file(base, fs::file_size(base) - 1);
  ExpectError(kl, HasSubstr("24651 bytes, not those of 1 windows of 8 tokens out of 4096"));
  FileWith("base.kld", "_logits_" + std::string(12, '\0'));
  ExpectError(kl, HasSubstr("20 bytes, not those of 0 windows of 0 tokens out of 0"));
  FileWith("base.kld", "_logits_" + std::string(12, '\xff'));
  ExpectError(kl, HasSubstr("not those of 4294967295 windows"));
  FileWith("base.kld", "_logitx_ and more");
  ExpectError(kl, HasSubstr("holds no logits"));
  ExpectUsageError({"perplexity", "-m", Sample(), "--kl"}, "--kl-base");
  ExpectUsageError({"perplexity", "-m", Sample(), "--kl-base", base}, "--file");
  ExpectUsageError(kl + Args{"--window", "8"}, "--window");
}

TEST_F(CliTest, EveryPathThroughTheModelIsNearTheFirst) {
  const Json reports = Json::parse(
      Out({"perplexity", "-m", Sample(), "--device", "emu:sm90", "-f", TestPath("data/eval.txt"),
           "--windows", "1", "--window", "8", "--paths", "--kl-base", Path("base.kld"), "--json"}));
  ASSERT_GE(reports.size(), 6u);  // without those of the library
  EXPECT_FALSE(reports[0].contains("kl"));
  for (size_t i = 1; i < reports.size(); ++i) {
    EXPECT_LT(reports[i]["kl"]["largest"], 2e-3) << reports[i]["path"];
    EXPECT_NEAR(reports[i]["nll"].get<double>(), reports[0]["nll"].get<double>(), 5e-2);
  }
  ExpectUsageError({"perplexity", "-m", Sample(), "-f", "x", "--paths"}, "--kl-base");
}

TEST_F(CliTest, EveryCommandNamesABrokenModelFile) {
  const std::string valid = Write(RandomModel{}).Build();
  const std::string truncated = FileWith("truncated.gguf", valid.substr(0, valid.size() / 2));
  const std::string text = FileWith("text.gguf", "this is no model");
  for (const Args& command : std::vector<Args>{
           {"run", "-p", "x"}, {"perplexity", "-f", text}, {"tokenize", "-p", "x"}, {"inspect"}}) {
    ExpectError(command + Args{"-m", Path("absent.gguf")},
                AllOf(HasSubstr("absent.gguf"), HasSubstr("No such file")));
    ExpectError(command + Args{"-m", folder_.string()}, HasSubstr("not a regular file"));
    ExpectError(command + Args{"-m", truncated}, HasSubstr("GGUF byte"));
    ExpectError(command + Args{"-m", text}, HasSubstr("GGUF byte 0"));
    ExpectError(command + Args{"-m", FileWith("empty.gguf", "")}, HasSubstr("empty.gguf"));
  }
}

TEST_F(CliTest, RunNamesModelsThatAreNotSupported) {
  const auto run = [](const std::string& path) {
    return Args{"run", "-p", "x", "--device", "emu:sm90", "-m", path};
  };
  GgufWriter model = Write({});
  model.Set("general.architecture", Str("mamba"));
  ExpectError(run(FileWith("mamba.gguf", model.Build())), HasSubstr("'mamba' is not supported"));
  model = Write({});
  model.Find("blk.0.ffn_up.weight").type = static_cast<uint32_t>(QuantType::kI8);
  ExpectError(run(FileWith("i8.gguf", model.Build())),
              AllOf(HasSubstr("blk.0.ffn_up.weight"), HasSubstr("i8")));
  model = Write({});
  model.Find("output.weight").name = "x";
  model.Find("blk.1.attn_q.weight").name = "y";
  ExpectError(run(FileWith("missing.gguf", model.Build())),
              HasSubstr("tensor blk.1.attn_q.weight is missing"));
}

TEST_F(CliTest, RunNamesDevicesThatAreNot) {
  const auto run = [](const std::string& device) {
    return Args{"run", "-m", Sample(), "-p", "x", "-n", "1", "--device", device};
  };
  ExpectError(run("tpu:0"), AllOf(HasSubstr("unknown device 'tpu:0'"), HasSubstr("emu:smXX")));
  ExpectError(run("emu:sm1"), HasSubstr("sm"));
  ExpectError(run("cuda:-1"), HasSubstr("unknown device 'cuda:-1'"));
}

TEST_F(CliTest, AMissingDriverIsSaid) {
  const Args run = {"run", "-m", Sample(), "-p", "x", "-n", "1"};
  const Outcome outcome = Program::Run(run + Args{"--device", "cuda:0"});
  if (outcome.exit_code == 0) GTEST_SKIP() << "this machine has a GPU";
  ExpectError(run + Args{"--device", "cuda:0"}, HasSubstr("cuda"));
  EXPECT_THAT(Program::Run(run).err, HasSubstr("emu:sm90")) << "auto takes the emulator";
}

TEST_F(CliTest, EnvironmentVariablesAreRead) {
  const Args run = {"run", "-m", Sample(), "-p", "x", "-n", "1"};
  EXPECT_THAT(Program::Run(run, {.environment = {"PTXSMITH_DEVICE=emu:sm80"}}).err,
              HasSubstr("emu:sm80"));
  ExpectError(run, AllOf(HasSubstr("PTXSMITH_DEBUG"), HasSubstr("much")),
              {.environment = {"PTXSMITH_DEBUG=much"}});
}

// Output that cannot be written is an error, never a silent loss.
TEST_F(CliTest, UnwritableOutputIsAnError) {
  for (const std::string out : {"closed", "/dev/full"}) {
    for (const Args& args :
         {Args{"list"}, Args{"dump", kKey}, Args{"inspect", "-m", Sample()},
          Args{"tokenize", "-m", Sample(), "-p", "x"}, RunArgs({"-p", "x", "-n", "2"})}) {
      ExpectError(args, HasSubstr("cannot write to standard output"), {.out = out});
    }
  }
}

}  // namespace
}  // namespace ptxsmith

// ptxsmith bench: tokens per second of a model, with the columns and field names of llama-bench,
// and the share of the device's read bandwidth that they amount to.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "codegen/status_macros.h"
#include "model/synthetic.h"
#include "tools/command.h"
#include "tools/model_bench.h"
#include "tools/open_model.h"
#include "tools/step_profile.h"

namespace ptxsmith {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  ModelOptions model;
  std::string synthetic;
  std::vector<uint32_t> prompts = {512};
  std::vector<uint32_t> generations = {128};
  std::vector<uint32_t> depths = {0};
  std::vector<uint32_t> sequences = {1};
  uint32_t repeats = 5;
  bool profile = false;
  std::string format = "md";
};

// What is the same for all tests.
struct Subject {
  std::string filename, type;
  uint64_t bytes = 0, parameters = 0;
  std::string device;
  std::string lowering, prompt_lowering;  // who computes tokens, and prompts
  double read_bandwidth = 0;
};

// The names that llama.cpp gives to mixes of types, by the number in general.file_type.
std::string MixName(const GgufFile& file) {
  static constexpr std::pair<uint32_t, const char*> kNames[] = {{0, "all F32"},
                                                                {1, "F16"},
                                                                {2, "Q4_0"},
                                                                {3, "Q4_1"},
                                                                {7, "Q8_0"},
                                                                {8, "Q5_0"},
                                                                {9, "Q5_1"},
                                                                {10, "Q2_K - Medium"},
                                                                {11, "Q3_K - Small"},
                                                                {12, "Q3_K - Medium"},
                                                                {13, "Q3_K - Large"},
                                                                {14, "Q4_K - Small"},
                                                                {15, "Q4_K - Medium"},
                                                                {16, "Q5_K - Small"},
                                                                {17, "Q5_K - Medium"},
                                                                {18, "Q6_K"},
                                                                {25, "IQ4_NL - 4.5 bpw"},
                                                                {30, "IQ4_XS - 4.25 bpw"},
                                                                {32, "BF16"}};
  const absl::StatusOr<uint32_t> number = file.GetU32("general.file_type");
  for (const auto& [known, name] : kNames) {
    if (number.ok() && *number == known) return name;
  }
  return "mixed types";
}

Subject SubjectOf(const Options& options, const GgufFile& file, const Transformer& model,
                  const Device& device) {
  Subject subject;
  subject.filename = options.synthetic.empty() ? options.model.model
                                               : absl::StrCat("synthetic ", options.synthetic);
  for (const GgufTensor& tensor : file.tensors()) {
    subject.bytes += tensor.data.size();
    subject.parameters += tensor.elements();
  }
  const double billions = static_cast<double>(subject.parameters) * 1e-9;
  subject.type = absl::StrFormat(
      "%s %.*f%s %s", model.config().architecture, billions < 0.1 || billions >= 3 ? 0 : 1,
      billions < 0.1 ? billions * 1e3 : billions, billions < 0.1 ? "M" : "B", MixName(file));
  subject.device = device.profile().description;
  subject.lowering = std::string(model.lowering().name());
  subject.prompt_lowering = std::string(model.prompt_lowering().name());
  return subject;
}

struct Result {
  // Who computed it.
  const std::string& Backend(const Subject& subject) const {
    return test.prompt > 0 ? subject.prompt_lowering : subject.lowering;
  }

  BenchTest test;
  std::vector<double> seconds;
  uint64_t bytes_per_step = 0;
  double host_seconds = 0;  // of the processor, a step

  std::vector<double> Rates() const {
    std::vector<double> rates;
    for (const double s : seconds) rates.push_back(test.tokens() / s);
    return rates;
  }
  // Of memory, in bytes per second. A prompt reads its weights once for many tokens.
  double Bandwidth() const {
    const double steps_per_token = 1.0 / test.sequences;
    return test.generate == 0
               ? 0
               : SampleOf(Rates()).mean * steps_per_token * static_cast<double>(bytes_per_step);
  }
};

std::string Now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc = {};
  gmtime_r(&now, &utc);
  char text[32] = {};
  std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

Json Fields(const Subject& subject, const Options& options, const Result& result) {
  std::vector<double> nanoseconds;
  for (const double s : result.seconds) nanoseconds.push_back(std::round(s * 1e9));
  const Sample time = SampleOf(nanoseconds);
  const Sample rate = SampleOf(result.Rates());
  return {{"build_commit", PTXSMITH_VERSION},
          {"gpu_info", subject.device},
          {"backends", absl::StrCat("ptxsmith ", result.Backend(subject))},
          {"model_filename", subject.filename},
          {"model_type", subject.type},
          {"model_size", subject.bytes},
          {"model_n_params", subject.parameters},
          {"n_batch", options.model.batch},
          {"type_k", std::string(ToString(options.model.kv_type))},
          {"type_v", std::string(ToString(options.model.kv_type))},
          {"n_prompt", result.test.prompt},
          {"n_gen", result.test.generate},
          {"n_depth", result.test.depth},
          {"n_seq", result.test.sequences},
          {"test_time", Now()},
          {"avg_ns", std::llround(time.mean)},
          {"stddev_ns", std::llround(time.deviation)},
          {"avg_ts", rate.mean},
          {"stddev_ts", rate.deviation},
          {"samples_ns", nanoseconds},
          {"samples_ts", result.Rates()},
          {"read_bandwidth", subject.read_bandwidth},
          {"effective_bandwidth", result.Bandwidth()},
          {"bandwidth_share", result.Bandwidth() / subject.read_bandwidth},
          {"host_ns_per_step", std::llround(result.host_seconds * 1e9)}};
}

void PrintHeader(const Subject& subject) {
  std::printf("%s, read stream %.3f TB/s\n\n", subject.device.c_str(),
              subject.read_bandwidth * 1e-12);
  std::printf("| %-30s | %10s | %10s | %-8s | %15s | %20s | %7s | %7s | %7s |\n", "model", "size",
              "params", "backend", "test", "t/s", "TB/s", "of read", "host us");
  std::printf(
      "| %s | %s: | %s: | %s | %s: | %s: | %s: | %s: | %s: |\n", std::string(30, '-').c_str(),
      std::string(9, '-').c_str(), std::string(9, '-').c_str(), std::string(8, '-').c_str(),
      std::string(14, '-').c_str(), std::string(19, '-').c_str(), std::string(6, '-').c_str(),
      std::string(6, '-').c_str(), std::string(6, '-').c_str());
}

void PrintRow(const Subject& subject, const Result& result) {
  const Sample rate = SampleOf(result.Rates());
  const double bandwidth = result.Bandwidth();
  const std::string share =
      bandwidth == 0 ? "" : absl::StrFormat("%.1f %%", 100 * bandwidth / subject.read_bandwidth);
  const std::string read = bandwidth == 0 ? "" : absl::StrFormat("%.3f", bandwidth * 1e-12);
  const std::string host =
      result.test.generate == 0 ? "" : absl::StrFormat("%.1f", result.host_seconds * 1e6);
  std::printf("| %-30s | %6.2f GiB | %8.2f B | %-8s | %15s | %20s | %7s | %7s | %7s |\n",
              subject.type.c_str(), static_cast<double>(subject.bytes) / (1 << 30),
              static_cast<double>(subject.parameters) * 1e-9, result.Backend(subject).c_str(),
              result.test.Name().c_str(),
              absl::StrFormat("%.2f ± %.2f", rate.mean, rate.deviation).c_str(), read.c_str(),
              share.c_str(), host.c_str());
  std::fflush(stdout);
}

void PrintCsv(const Json& fields, bool header) {
  const auto cell = [](const Json& value) {
    if (value.is_array()) return absl::StrCat("\"", value.dump(), "\"");
    return value.dump();
  };
  std::vector<std::string> names, values;
  for (const auto& [name, value] : fields.items()) {
    names.push_back(name);
    values.push_back(cell(value));
  }
  if (header) std::printf("%s\n", absl::StrJoin(names, ",").c_str());
  std::printf("%s\n", absl::StrJoin(values, ",").c_str());
  std::fflush(stdout);
}

std::vector<BenchTest> TestsOf(const Options& options) {
  std::vector<BenchTest> tests;
  for (const uint32_t depth : options.depths) {
    for (const uint32_t n : options.prompts) {
      if (n > 0) tests.push_back({.prompt = n, .depth = depth});
    }
    for (const uint32_t n : options.generations) {
      for (const uint32_t b : options.sequences) {
        if (n > 0) tests.push_back({.generate = n, .depth = depth, .sequences = b});
      }
    }
  }
  return tests;
}

// Runs the tests that need a cache of so many sequences, in their order.
absl::Status RunTests(const Options& options, const GgufFile& file,
                      const std::shared_ptr<Device>& device, double read_bandwidth,
                      const std::vector<BenchTest>& tests, Json& all) {
  ModelOptions model = options.model;
  for (const BenchTest& test : tests) {
    model.slots = std::max(model.slots, test.sequences);
    if (options.model.context != 0) continue;
    // One token more is run before a generation is timed.
    model.context = std::max(model.context, test.positions() + (test.generate > 0 ? 1 : 0));
  }
  PTXSMITH_ASSIGN_OR_RETURN(const OpenedTransformer opened, OpenTransformer(model, file, device));
  Subject subject = SubjectOf(options, file, *opened.model, *device);
  subject.read_bandwidth = read_bandwidth;
  ModelBench bench(*opened.model);
  if (options.format == "md" && all.empty()) PrintHeader(subject);
  for (const BenchTest& test : tests) {
    Result result{test, {}, bench.BytesPerStep(test)};
    PTXSMITH_ASSIGN_OR_RETURN(result.seconds, bench.Run(test, options.repeats));
    result.host_seconds = bench.HostSecondsPerStep();
    all.push_back(Fields(subject, options, result));
    if (options.format == "md") PrintRow(subject, result);
    if (options.format == "csv") PrintCsv(all.back(), all.size() == 1);
  }
  if (!options.profile) return absl::OkStatus();
  if (model.slots == 1) {
    PTXSMITH_RETURN_IF_ERROR(opened.model->Rewind(opened.model->length() - 1));
    PTXSMITH_RETURN_IF_ERROR(opened.model->Step(0, /*want_logits=*/true));
  }
  PTXSMITH_ASSIGN_OR_RETURN(const StepProfile profile, ProfileStep(*opened.model, read_bandwidth));
  std::fprintf(stderr, "\n%s", profile.Table().c_str());
  return absl::OkStatus();
}

absl::Status RunBench(const Options& options) {
  std::vector<BenchTest> single, several;
  for (const BenchTest& test : TestsOf(options)) {
    (test.sequences == 1 ? single : several).push_back(test);
  }
  if (single.empty() && several.empty()) {
    return absl::InvalidArgumentError("no tests: -p and -n are both 0");
  }
  PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<Device> device, OpenDevice(options.model.device));
  if (device->profile().emulated) {
    return absl::FailedPreconditionError(
        absl::StrCat(device->profile().name, ": times of the emulator say nothing about a GPU"));
  }
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file,
                            options.synthetic.empty()
                                ? GgufFile::Open(options.model.model)
                                : SyntheticModel(options.synthetic, SyntheticWeights::kRandom));
  PTXSMITH_ASSIGN_OR_RETURN(const double read_bandwidth, ReadBandwidth(*device));
  Json all = Json::array();
  // A cache of one sequence serves kernels that know of no other.
  for (const std::vector<BenchTest>* tests : {&single, &several}) {
    if (tests->empty()) continue;
    PTXSMITH_RETURN_IF_ERROR(RunTests(options, file, device, read_bandwidth, *tests, all));
  }
  if (options.format == "json") std::printf("%s\n", all.dump(2).c_str());
  return absl::OkStatus();
}

}  // namespace

void AddBenchCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("bench", "Time a model on a GPU, as llama-bench does");
  CLI::Option_group* model = command->add_option_group("model", "One of these");
  model->add_option("-m,--model", options->model.model, "GGUF file; its tokenizer is not needed");
  model->add_option("--synthetic", options->synthetic,
                    absl::StrCat("A known shape with random weights: ",
                                 absl::StrJoin(SyntheticModelNames(), ", ")));
  model->require_option(1);
  AddDeviceFlags(*command, options->model);
  command->add_option("-p,--n-prompt", options->prompts, "Tokens of prompts; 0: none")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("-n,--n-gen", options->generations, "Tokens to generate; 0: none")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("-d,--n-depth", options->depths, "Positions filled before each test")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("-b,--n-seq", options->sequences,
                   "Sequences that generate side by side, up to 32")
      ->delimiter(',')
      ->check(CLI::Range(1, 32))
      ->capture_default_str();
  command->add_option("-r,--repetitions", options->repeats, "Runs of each test")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--profile", options->profile,
                    "Then print where the time of a step goes, kernel by kernel");
  command->add_option("-o,--output", options->format, "md, csv or json")
      ->check(CLI::IsMember({"md", "csv", "json"}))
      ->capture_default_str();
  command->callback([options, &result] { result = RunBench(*options); });
}

}  // namespace ptxsmith

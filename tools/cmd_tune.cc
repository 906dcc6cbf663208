// ptxsmith tune: measures which kernels are fastest on a GPU and writes that down.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "codegen/status_macros.h"
#include "model/synthetic.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/model_bench.h"
#include "tools/open_model.h"
#include "tools/profile_file.h"
#include "tools/progress.h"
#include "tools/tune_report.h"
#include "tools/tuner.h"

namespace ptxsmith {
namespace {

struct Options {
  std::string model, synthetic;
  std::string device = "cuda:0";
  double minutes = 10;
  std::string output, report;
};

// The profile of an earlier run that this one goes on with.
absl::StatusOr<GpuProfile> StartingPoint(const Options& options, const DeviceProfile& device) {
  if (!std::filesystem::exists(options.output)) return ProfileFor(device);
  size_t ignored = 0;
  PTXSMITH_ASSIGN_OR_RETURN(GpuProfile profile, ReadProfile(options.output, device, &ignored));
  std::fprintf(stderr, "%s has %zu choices that hold and %zu that do not\n", options.output.c_str(),
               profile.choices.size(), ignored);
  return profile;
}

// Seconds of prompts of these lengths.
absl::StatusOr<std::vector<double>> TimePrompts(const GgufFile& file, ModuleCache& cache,
                                                absl::Span<const uint32_t> lengths,
                                                Products products) {
  TransformerOptions options;
  options.batch = lengths.back();
  options.products = products;
  options.dense_rows = 1;
  PTXSMITH_ASSIGN_OR_RETURN(const std::unique_ptr<Transformer> model,
                            Transformer::Load(file, cache, options));
  ModelBench bench(*model);
  std::vector<double> seconds;
  for (const uint32_t length : lengths) {
    PTXSMITH_ASSIGN_OR_RETURN(std::vector<double> runs,
                              bench.Run({.prompt = length}, /*repeats=*/5));
    std::sort(runs.begin(), runs.end());
    seconds.push_back(runs[runs.size() / 2]);
  }
  return seconds;
}

// From how many tokens on expanded weights are faster, for this and every greater length.
absl::StatusOr<uint32_t> TuneDenseRows(const GgufFile& file, ModuleCache& cache) {
  constexpr uint32_t kLengths[] = {8, 16, 24, 32, 48, 64, 96, 128};
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<double> plain,
                            TimePrompts(file, cache, kLengths, Products::kPlain));
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<double> dense,
                            TimePrompts(file, cache, kLengths, Products::kAuto));
  std::printf("%-28s %10s %10s\n", "prompt, tokens", "plain, us", "dense, us");
  uint32_t rows = 2 * kLengths[std::size(kLengths) - 1];
  for (size_t i = std::size(kLengths); i-- > 0;) {
    std::printf("%-28u %10.0f %10.0f\n", kLengths[i], plain[i] * 1e6, dense[i] * 1e6);
  }
  for (size_t i = std::size(kLengths); i-- > 0 && dense[i] < plain[i];) rows = kLengths[i];
  std::printf("weights are expanded from %u tokens on\n", rows);
  return rows;
}

absl::Status RunTune(const Options& options) {
  using Clock = std::chrono::steady_clock;
  const auto deadline =
      Clock::now() + std::chrono::duration_cast<Clock::duration>(
                         std::chrono::duration<double, std::ratio<60>>(options.minutes));
  PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<Device> device, OpenDevice(options.device));
  if (device->profile().emulated) {
    return absl::FailedPreconditionError(
        absl::StrCat(device->profile().name, ": times of the emulator say nothing about a GPU"));
  }
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, options.synthetic.empty()
                                                     ? GgufFile::Open(options.model)
                                                     : SyntheticModel(options.synthetic));
  PTXSMITH_ASSIGN_OR_RETURN(GpuProfile profile, StartingPoint(options, device->profile()));
  PTXSMITH_ASSIGN_OR_RETURN(profile.read_bandwidth, ReadBandwidth(*device));
  PTXSMITH_ASSIGN_OR_RETURN(ColdTimer timer, ColdTimer::Create(device));
  ModuleCache cache(device);
  Tuner tuner(cache, timer);

  std::vector<TuningResult> results;
  const std::vector<GemvProblem> problems = ProblemsOf(file);
  Progress progress("tune", problems.size());
  size_t left = 0;
  for (const GemvProblem& problem : problems) {
    progress.Advance();
    if (profile.choices.count(ProblemName(problem)) > 0) continue;
    if (Clock::now() > deadline) {
      ++left;
      continue;
    }
    PTXSMITH_ASSIGN_OR_RETURN(TuningResult result, tuner.Tune(problem));
    profile.choices[ProblemName(problem)] = {result.best().spec, result.best().microseconds,
                                             result.default_microseconds};
    results.push_back(std::move(result));
    // After each, so that a run that is stopped can be taken up again.
    PTXSMITH_ASSIGN_OR_RETURN(const std::string text,
                              ProfileText(profile, device->profile().target));
    PTXSMITH_RETURN_IF_ERROR(WriteFile(options.output, text));
  }
  std::printf("%-28s %10s %10s %8s %8s\n", "matrix", "rule, us", "tuned, us", "gain", "of read");
  for (const TuningResult& result : results) {
    const double best = result.best().microseconds;
    std::printf("%-28s %10.2f %10.2f %6.1f %% %6.1f %%\n", ProblemName(result.problem).c_str(),
                result.default_microseconds, best, 100 * (result.default_microseconds / best - 1),
                100 * result.Rate(result.best()) / profile.read_bandwidth);
  }
  // What is known is not measured again; a run that was stopped may have left the default.
  if (left == 0 && (!results.empty() || profile.dense_rows == GpuProfile().dense_rows)) {
    PTXSMITH_ASSIGN_OR_RETURN(profile.dense_rows, TuneDenseRows(file, cache));
    PTXSMITH_ASSIGN_OR_RETURN(const std::string text,
                              ProfileText(profile, device->profile().target));
    PTXSMITH_RETURN_IF_ERROR(WriteFile(options.output, text));
  }
  if (left > 0) {
    std::fprintf(stderr, "%zu of %zu matrices are left: run the same command again\n", left,
                 problems.size());
  }
  if (options.report.empty()) return absl::OkStatus();
  return WriteFile(options.report, TuneReport(profile, results));
}

}  // namespace

void AddTuneCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("tune", "Measure which kernels are fastest for a model on a GPU");
  CLI::Option_group* model = command->add_option_group("model", "One of these");
  model->add_option("-m,--model", options->model, "GGUF file");
  model->add_option("--synthetic", options->synthetic,
                    absl::StrCat("A known shape: ", absl::StrJoin(SyntheticModelNames(), ", ")));
  model->require_option(1);
  command->add_option("--device", options->device, "GPU")->capture_default_str();
  command->add_option("--minutes", options->minutes, "Start no further matrix after so long")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("-o,--output", options->output,
                   "Profile for --gpu-profile of other commands; what it holds is kept")
      ->required();
  command->add_option("--report", options->report, "Page that shows what was measured");
  command->callback([options, &result] { result = RunTune(*options); });
}

}  // namespace ptxsmith

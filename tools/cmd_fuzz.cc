// ptxsmith fuzz: random kernels with random inputs against the CPU references.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "codegen/status_macros.h"
#include "ptx_templates/registry.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/fuzz/fuzz.h"
#include "tools/interrupt.h"
#include "tools/progress.h"

namespace ptxsmith {
namespace {

struct Options {
  std::string family = "all";
  std::string launch;  // --case
  std::string sizes;
  std::string values = "normal";
  std::string schedule = "natural";
  std::string json;
  double minutes = 0;
  FuzzOptions fuzz;
};

absl::Status Report(const FuzzReport& report) {
  if (report.failures() == 0) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(report.failures(), " of ", report.cases(), " cases failed"));
}

void PrintText(const FuzzReport& report) {
  std::printf("%-18s %8s %7s %12s %14s %9s\n", "family", "cases", "failed", "error/bound",
              "lane ops", "seconds");
  for (const FuzzFamilyReport& family : report.families) {
    std::printf("%-18s %8llu %7llu %12.3g %14llu %9.1f\n", family.name.c_str(),
                static_cast<unsigned long long>(family.cases),
                static_cast<unsigned long long>(family.failures), family.worst,
                static_cast<unsigned long long>(family.lane_ops), family.seconds);
  }
  for (const FuzzFamilyReport& family : report.families) {
    if (!family.first) continue;
    std::printf("\n%s: %s\n  %s\n", family.name.c_str(), family.first->problem.c_str(),
                family.first->command.c_str());
  }
}

std::string ToJson(const FuzzOptions& options, const FuzzReport& report) {
  nlohmann::json families = nlohmann::json::array();
  for (const FuzzFamilyReport& family : report.families) {
    nlohmann::json entry = {{"name", family.name},         {"cases", family.cases},
                            {"failures", family.failures}, {"error_of_bound", family.worst},
                            {"lane_ops", family.lane_ops}, {"seconds", family.seconds}};
    if (family.first) {
      entry["first_failure"] = {{"problem", family.first->problem},
                                {"command", family.first->command}};
    }
    families.push_back(entry);
  }
  const nlohmann::json result = {{"device", options.device},
                                 {"seed", options.seed},
                                 {"cases", report.cases()},
                                 {"failures", report.failures()},
                                 {"families", families}};
  return result.dump(2) + "\n";
}

// --case: one launch instead of many.
absl::Status RunOne(const Options& options) {
  FuzzCase launch;
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(options.launch, absl::MaxSplits(':', 1));
  launch.family = parts.first;
  launch.fields = parts.second;
  launch.sizes = options.sizes;
  launch.seed = options.fuzz.seed;
  PTXSMITH_ASSIGN_OR_RETURN(launch.values, ParseValues(options.values));
  PTXSMITH_ASSIGN_OR_RETURN(const FuzzResult result, RunFuzzCase(options.fuzz, launch));
  if (!result.problem.empty()) return absl::InternalError(result.problem);
  std::printf("right, with an error of %.3g of its bound\n", result.worst);
  return absl::OkStatus();
}

absl::Status RunMany(Options& options) {
  using Clock = std::chrono::steady_clock;
  if (options.family != "all") PTXSMITH_RETURN_IF_ERROR(FindFamily(options.family).status());
  for (const CaseFamily& family : AllCaseFamilies()) {
    if (options.family == "all" || options.family == family.name) {
      options.fuzz.families.push_back(family);
    }
  }
  const std::chrono::duration<double, std::ratio<60>> limit(options.minutes);
  const auto start = Clock::now();
  const Interrupt interrupt;
  std::optional<Progress> progress;
  progress.emplace("fuzz", options.fuzz.cases * options.fuzz.families.size());
  uint64_t shown = 0;
  options.fuzz.go_on = [&](uint64_t done) {
    progress->Advance(done - shown);
    shown = done;
    const bool in_time = options.minutes == 0 || Clock::now() - start < limit;
    return in_time && !interrupt.Requested();
  };
  PTXSMITH_ASSIGN_OR_RETURN(const FuzzReport report, Fuzz(options.fuzz));
  progress.reset();
  PrintText(report);
  if (!options.json.empty()) {
    PTXSMITH_RETURN_IF_ERROR(WriteFile(options.json, ToJson(options.fuzz, report)));
  }
  PTXSMITH_RETURN_IF_ERROR(Report(report));
  return interrupt.Requested() ? absl::CancelledError("interrupted") : absl::OkStatus();
}

}  // namespace

void AddFuzzCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  FuzzOptions& fuzz = options->fuzz;
  CLI::App* command = app.add_subcommand(
      "fuzz", "Run random kernels with random inputs and compare with the CPU references");
  command->add_option("family", options->family, "A family, or all")->capture_default_str();
  command->add_option("--device", fuzz.device, "emu:smXX; cuda:N compares with the emulator too")
      ->capture_default_str();
  command->add_option("--cases", fuzz.cases, "Cases of each family")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--seed", fuzz.seed, "The same seed gives the same cases")
      ->capture_default_str();
  command->add_option("--minutes", options->minutes, "Stop after this time; 0: never")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--jobs", fuzz.jobs, "Cases at a time; 0: one per processor")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  command
      ->add_option("--schedule", options->schedule,
                   "Order of the emulator's warps, lanes and copies: natural or random")
      ->check(CLI::IsMember({"natural", "random"}))
      ->capture_default_str();
  command->add_flag("--three-way", fuzz.three_way,
                    "On a GPU, compare with the kernel compiled without optimisation too");
  command->add_option("--json", options->json, "Also write the summary to this file");
  CLI::Option* launch =
      command->add_option("--case", options->launch, "Run one case, FAMILY:FIELD=VALUE,...");
  command->add_option("--sizes", options->sizes, "Of the case: what its fields do not tell")
      ->needs(launch);
  command->add_option("--values", options->values, "Of the case: distribution of the inputs")
      ->needs(launch)
      ->capture_default_str();
  command->callback([options, launch, &result] {
    options->fuzz.random_schedule = options->schedule == "random";
    result = launch->count() > 0 ? RunOne(*options) : RunMany(*options);
  });
}

}  // namespace ptxsmith

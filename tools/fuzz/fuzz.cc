#include "tools/fuzz/fuzz.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/registry.h"
#include "runtime/device.h"
#include "runtime/emu/emulator_device.h"
#include "tools/fuzz/kernel_runner.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint64_t kMaxWork = 100'000;  // of a case: some milliseconds on the emulator
constexpr int kMaxDraws = 1000;         // until one makes a kernel
constexpr int kMaxShrinks = 300;

double SecondsSince(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// NaN counts as the worst.
void TakeWorst(double& worst, double other) {
  if (std::isnan(other) || other > worst) worst = other;
}

bool IsRefusal(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status) ||
         absl::IsUnimplemented(status);
}

// A case with its kernel.
struct Drawn {
  FuzzCase text;
  CaseMaker maker;
  KernelSpec kernel;
};

// The device of one job, and the emulator that a GPU is compared with.
class Machine {
 public:
  static absl::StatusOr<Machine> Open(const FuzzOptions& options) {
    PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<Device> device, Device::Open(options.device));
    const Target target = device->profile().target;
    // Jobs run side by side: each has an emulator of one thread.
    PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<Device> emulator, OpenEmulator(target, 1));
    if (device->profile().emulated) device = emulator;
    PTXSMITH_ASSIGN_OR_RETURN(KernelRunner runner, KernelRunner::On(std::move(device)));
    PTXSMITH_ASSIGN_OR_RETURN(KernelRunner check, KernelRunner::On(std::move(emulator)));
    return Machine(options, std::move(runner), std::move(check));
  }

  bool emulated() const { return runner_.device()->profile().emulated; }

  // The kernel of a case; its refusal has a code that IsRefusal knows.
  absl::StatusOr<Drawn> Prepare(const CaseFamily& family, const FuzzCase& text) const {
    PTXSMITH_ASSIGN_OR_RETURN(const Family* kernels, FindFamily(family.name));
    PTXSMITH_ASSIGN_OR_RETURN(KernelSpec kernel,
                              kernels->build(text.fields, runner_.device()->profile().target));
    PTXSMITH_ASSIGN_OR_RETURN(CaseMaker maker, family.fuzz().make(text));
    if (options_.tamper) options_.tamper(kernel);
    return Drawn{text, std::move(maker), std::move(kernel)};
  }

  absl::StatusOr<Drawn> Draw(const CaseFamily& family, Rng& rng) const {
    absl::Status refusal = absl::OkStatus();
    for (int i = 0; i < kMaxDraws; ++i) {
      absl::StatusOr<Drawn> drawn = Prepare(family, family.fuzz().draw(rng));
      if (drawn.ok() && drawn->maker.work <= kMaxWork) return drawn;
      if (!drawn.ok() && !IsRefusal(drawn.status())) return drawn;
      if (!drawn.ok()) refusal = drawn.status();
    }
    return absl::InternalError(absl::StrCat(family.name, ": no case in ", kMaxDraws,
                                            " draws; last refusal: ", refusal.message()));
  }

  FuzzResult Run(const Drawn& drawn) {
    const uint64_t before = EmulatorTotals(*check_.device()).lane_ops;
    SetEmulatorSchedule(*check_.device(), options_.random_schedule ? drawn.text.seed | 1 : 0);
    FuzzResult result;
    const absl::Status status = RunAndCompare(drawn, result);
    if (!status.ok()) {
      result.problem = std::string(status.message());
      result.fault = true;
    }
    result.lane_ops = EmulatorTotals(*check_.device()).lane_ops - before;
    return result;
  }

 private:
  Machine(const FuzzOptions& options, KernelRunner runner, KernelRunner check)
      : options_(options), runner_(std::move(runner)), check_(std::move(check)) {}

  static absl::StatusOr<std::vector<Bytes>> RunOn(KernelRunner& runner, const KernelSpec& kernel,
                                                  const KernelCase& test) {
    PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<const Module> module,
                              runner.device()->Load(kernel));
    return runner.Run(module, test);
  }

  // What is wrong with `other`, an output beside the device's own; empty if nothing.
  static std::string Compare(const KernelCase& test, absl::string_view whose,
                             const std::vector<Bytes>& got, const std::vector<Bytes>& other) {
    if (!test.same_bits) {
      const Verdict verdict = test.check(other);
      return verdict ? "" : absl::StrCat(whose, ": ", verdict.problem);
    }
    for (size_t i = 0; i < other.size(); ++i) {
      if (got[i] == other[i]) continue;
      const Verdict bits = CheckBits(FromBytes<float>(got[i]), FromBytes<float>(other[i]));
      return absl::StrCat("not the bits of ", whose, ": argument ", i, " ", bits.problem);
    }
    return "";
  }

  absl::Status RunAndCompare(const Drawn& drawn, FuzzResult& result) {
    const KernelCase test = drawn.maker.make();
    PTXSMITH_ASSIGN_OR_RETURN(const std::vector<Bytes> got, RunOn(runner_, drawn.kernel, test));
    const Verdict verdict = test.check(got);
    result.problem = verdict.problem;
    result.worst = verdict.worst;
    if (emulated() || !verdict) return absl::OkStatus();
    PTXSMITH_ASSIGN_OR_RETURN(const std::vector<Bytes> want, RunOn(check_, drawn.kernel, test));
    result.problem = Compare(test, "the emulator", got, want);
    if (!options_.three_way || !result.problem.empty()) return absl::OkStatus();
    PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<const Module> module,
                              runner_.device()->LoadUnoptimized(drawn.kernel));
    PTXSMITH_ASSIGN_OR_RETURN(const std::vector<Bytes> plain, runner_.Run(module, test));
    result.problem = Compare(test, "the unoptimised kernel", got, plain);
    return absl::OkStatus();
  }

  const FuzzOptions& options_;
  KernelRunner runner_, check_;  // the same emulator if that is the device
};

std::string Command(const FuzzOptions& options, const FuzzCase& launch) {
  std::string command =
      absl::StrCat("ptxsmith fuzz --case '", launch.family, ":", launch.fields, "'");
  if (!launch.sizes.empty()) absl::StrAppend(&command, " --sizes ", launch.sizes);
  absl::StrAppend(&command, " --values ", ToString(launch.values), " --seed ", launch.seed,
                  " --device ", options.device);
  if (options.random_schedule) absl::StrAppend(&command, " --schedule random");
  if (options.three_way) absl::StrAppend(&command, " --three-way");
  return command;
}

// The simplest case found that fails as well, by greedy descent.
FuzzFailure Shrink(const FuzzOptions& options, Machine& machine, const CaseFamily& family,
                   FuzzCase failing, std::string problem) {
  int runs = 0;
  for (bool simpler_found = true; simpler_found && runs < kMaxShrinks;) {
    simpler_found = false;
    for (const FuzzCase& simpler : family.fuzz().simpler(failing)) {
      const absl::StatusOr<Drawn> drawn = machine.Prepare(family, simpler);
      if (!drawn.ok()) continue;
      const FuzzResult result = machine.Run(*drawn);
      if (++runs >= kMaxShrinks) break;
      if (result.problem.empty()) continue;
      failing = simpler;
      problem = result.problem;
      simpler_found = true;
      break;
    }
  }
  std::string command = Command(options, failing);
  return {std::move(failing), std::move(problem), std::move(command)};
}

// The state of the generator that draws case `index`.
uint64_t SeedOf(uint64_t seed, absl::string_view family, uint64_t index) {
  uint64_t hash = seed * 0x9e3779b97f4a7c15u + index;
  for (const char c : family) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9u;  // the finaliser of SplitMix64
  return hash ^ (hash >> 27);
}

// The counts of a family, and its first failing case.
struct Tally {
  FuzzFamilyReport report;
  uint64_t first_index = UINT64_MAX;
  FuzzCase first;
  FuzzResult first_result;

  void Add(uint64_t index, const FuzzCase& launch, const FuzzResult& result, double seconds) {
    ++report.cases;
    report.lane_ops += result.lane_ops;
    report.seconds += seconds;
    if (result.problem.empty()) return TakeWorst(report.worst, result.worst);
    ++report.failures;
    if (index >= first_index) return;
    first_index = index;
    first = launch;
    first_result = result;
  }
  void Add(const Tally& other) {
    report.cases += other.report.cases;
    report.failures += other.report.failures;
    report.lane_ops += other.report.lane_ops;
    report.seconds += other.report.seconds;
    TakeWorst(report.worst, other.report.worst);
    if (other.first_index >= first_index) return;
    first_index = other.first_index;
    first = other.first;
    first_result = other.first_result;
  }
};

// One thread with its device.
struct Job {
  Machine machine;
  std::vector<Tally> tallies;  // by family
  absl::Status status = absl::OkStatus();
  std::thread thread;
};

}  // namespace

uint64_t FuzzReport::cases() const {
  uint64_t sum = 0;
  for (const FuzzFamilyReport& family : families) sum += family.cases;
  return sum;
}

uint64_t FuzzReport::failures() const {
  uint64_t sum = 0;
  for (const FuzzFamilyReport& family : families) sum += family.failures;
  return sum;
}

absl::StatusOr<FuzzReport> Fuzz(const FuzzOptions& options) {
  const size_t num_families = options.families.size();
  const unsigned num_jobs = options.jobs > 0 ? static_cast<unsigned>(options.jobs)
                                             : std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::unique_ptr<Job>> jobs;
  for (unsigned j = 0; j < num_jobs; ++j) {
    PTXSMITH_ASSIGN_OR_RETURN(Machine machine, Machine::Open(options));
    jobs.push_back(std::make_unique<Job>(
        Job{std::move(machine), std::vector<Tally>(num_families), absl::OkStatus(), {}}));
  }

  // The families take turns, so that a run that is cut short has seen all of them.
  const uint64_t total = options.cases * num_families;
  std::atomic<uint64_t> next = 0, done = 0;
  std::atomic<bool> stop = false;
  std::atomic<size_t> running = jobs.size();
  const auto work = [&](Job& job) {
    for (uint64_t i = next++; i < total && !stop; i = next++) {
      const CaseFamily& family = options.families[i % num_families];
      const uint64_t index = i / num_families;
      const auto start = Clock::now();
      Rng rng(SeedOf(options.seed, family.name, index));
      const absl::StatusOr<Drawn> drawn = job.machine.Draw(family, rng);
      if (!drawn.ok()) {
        job.status = drawn.status();
        stop = true;
        break;
      }
      const FuzzResult result = job.machine.Run(*drawn);
      job.tallies[i % num_families].Add(index, drawn->text, result, SecondsSince(start));
      ++done;
    }
    --running;
  };
  for (const auto& job : jobs) job->thread = std::thread([&work, &job] { work(*job); });
  while (running > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    if (options.go_on && !options.go_on(done)) stop = true;
  }
  for (const auto& job : jobs) job->thread.join();

  FuzzReport report;
  for (size_t f = 0; f < num_families; ++f) {
    const CaseFamily& family = options.families[f];
    Tally tally;
    for (const auto& job : jobs) {
      PTXSMITH_RETURN_IF_ERROR(job->status);
      tally.Add(job->tallies[f]);
    }
    tally.report.name = std::string(family.name);
    if (tally.report.failures > 0) {
      Machine& machine = jobs[0]->machine;
      // After a fault a GPU's context fails whatever runs.
      const bool final = tally.first_result.fault && !machine.emulated();
      tally.report.first =
          final
              ? FuzzFailure{tally.first, tally.first_result.problem, Command(options, tally.first)}
              : Shrink(options, machine, family, tally.first, tally.first_result.problem);
    }
    report.families.push_back(std::move(tally.report));
  }
  return report;
}

absl::StatusOr<FuzzResult> RunFuzzCase(const FuzzOptions& options, const FuzzCase& launch) {
  for (const CaseFamily& family : AllCaseFamilies()) {
    if (family.name != launch.family) continue;
    PTXSMITH_ASSIGN_OR_RETURN(Machine machine, Machine::Open(options));
    PTXSMITH_ASSIGN_OR_RETURN(const Drawn drawn, machine.Prepare(family, launch));
    return machine.Run(drawn);
  }
  return FindFamily(launch.family).status();
}

}  // namespace ptxsmith

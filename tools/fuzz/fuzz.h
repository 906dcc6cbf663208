// Runs drawn cases of kernel families on a device and compares what comes out with the references
// under their bounds; on a GPU also with the emulator, bit for bit, and if asked with the same
// kernel compiled without optimisation. A failure is shrunk to the
// simplest case that still fails and told as one command. Behind `ptxsmith fuzz`.
//
//   FuzzOptions options;
//   options.families = {AllCaseFamilies().begin(), AllCaseFamilies().end()};
//   PTXSMITH_ASSIGN_OR_RETURN(FuzzReport report, Fuzz(options));
//
// Case i of a family depends on the seed, the family's name and i alone, so a report differs from
// run to run in its times only. Uses threads of its own; FuzzOptions's functions are called from
// the caller's thread (go_on) and from any (tamper).
#ifndef PTXSMITH_TOOLS_FUZZ_FUZZ_H_
#define PTXSMITH_TOOLS_FUZZ_FUZZ_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "tools/fuzz/kernel_cases.h"

namespace ptxsmith {

struct FuzzOptions {
  std::string device = "emu:sm90";
  bool random_schedule = false;  // of the emulator, see SetEmulatorSchedule
  bool three_way = false;        // on a GPU: also the unoptimised kernel
  std::vector<CaseFamily> families;
  uint64_t cases = 1000;  // of each family
  uint64_t seed = 1;
  int jobs = 0;  // cases at a time; 0: one per processor
  // Asked a few times a second, with the number of finished cases; false ends the run.
  std::function<bool(uint64_t done)> go_on;
  // Changes a kernel before it is compiled: for tests of the fuzzer.
  std::function<void(KernelSpec& kernel)> tamper;
};

// What a case came to.
struct FuzzResult {
  std::string problem;  // empty: right
  bool fault = false;   // the problem is the device's, not a wrong result
  double worst = 0;     // as in Verdict
  uint64_t lane_ops = 0;
};

struct FuzzFailure {
  FuzzCase simplest;
  std::string problem;
  std::string command;  // that reproduces it
};

struct FuzzFamilyReport {
  std::string name;
  uint64_t cases = 0, failures = 0;
  double worst = 0;       // the largest error as a fraction of its bound
  uint64_t lane_ops = 0;  // of the emulator
  double seconds = 0;     // of all jobs
  std::optional<FuzzFailure> first;
};

struct FuzzReport {
  std::vector<FuzzFamilyReport> families;

  uint64_t cases() const;
  uint64_t failures() const;
};

// The errors of Device::Open; Internal names a family of which nothing can be drawn.
absl::StatusOr<FuzzReport> Fuzz(const FuzzOptions& options);

// One case as the command line gives it, with the options' device and schedule. InvalidArgument
// when it is none or its kernel is refused.
absl::StatusOr<FuzzResult> RunFuzzCase(const FuzzOptions& options, const FuzzCase& launch);

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_FUZZ_FUZZ_H_

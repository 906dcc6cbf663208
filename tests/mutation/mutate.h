// Small faults put into PTX text: what a slip in a kernel, in the builder or in the printer would
// leave behind. The mutation test runs them to see whether the kernel tests and the emulator's
// checks would notice.
//
//   Rng rng(1);
//   for (const Mutant& mutant : MakeMutants(spec.ptx, /*per_kind=*/6, rng)) {
//     spec.ptx = Apply(original, mutant);
//   }
//
// Pure functions: the same text and seed give the same mutants.
#ifndef PTXSMITH_TESTS_MUTATION_MUTATE_H_
#define PTXSMITH_TESTS_MUTATION_MUTATE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {

inline constexpr absl::string_view kDropBarrier = "dropped barrier";

// One changed line.
struct Mutant {
  absl::string_view kind;  // a row of the test's table; static
  size_t line = 0;         // of the text, from 0
  std::string before;
  std::string after;  // empty: the line is dropped
};

// Every barrier dropped, and up to `per_kind` mutants of each other kind, at random lines.
std::vector<Mutant> MakeMutants(absl::string_view ptx, size_t per_kind, Rng& rng);

std::string Apply(absl::string_view ptx, const Mutant& mutant);

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_MUTATION_MUTATE_H_

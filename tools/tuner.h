// Finds the fastest kernel for each matrix of a model by successive halving: all candidates are
// timed briefly, the better half longer, and so on. Used by `ptxsmith tune`.
//
//   Tuner tuner(device, cache, timer);
//   PTXSMITH_ASSIGN_OR_RETURN(const TuningResult result, tuner.Tune(problem));
//
// Thread-safety: belongs to one thread. Errors: those of the device. A candidate that does not
// compile is left out.
#ifndef PTXSMITH_TOOLS_TUNER_H_
#define PTXSMITH_TOOLS_TUNER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/gguf.h"
#include "model/gpu_profile.h"
#include "runtime/module_cache.h"
#include "tools/cold_timer.h"

namespace ptxsmith {

struct Candidate {
  GemvSpec spec;
  double microseconds = 0;  // of the last round it was in
  uint32_t repeats = 0;     // in that round
};

struct TuningResult {
  GemvProblem problem;
  std::vector<Candidate> candidates;  // the fastest first; those of later rounds before others
  double default_microseconds = 0;

  const Candidate& best() const { return candidates.front(); }
  // Bytes per second.
  double Rate(const Candidate& candidate) const {
    return static_cast<double>(WeightBytes(problem)) / candidate.microseconds * 1e6;
  }
};

// The products of one token in this model, each once, the largest first.
std::vector<GemvProblem> ProblemsOf(const GgufFile& file);

class Tuner {
 public:
  Tuner(ModuleCache& cache, ColdTimer& timer) : cache_(cache), timer_(timer) {}

  absl::StatusOr<TuningResult> Tune(const GemvProblem& problem);

 private:
  ModuleCache& cache_;
  ColdTimer& timer_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_TUNER_H_

#include "model/gpu_profile.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kMaxWarps = 16;  // of a block, as candidates.cc has them

}  // namespace

std::string ProblemName(const GemvProblem& problem) {
  return absl::StrCat(ToString(problem.quant), " ", problem.k, "x", problem.n, " m=", problem.m);
}

GemvSpec GpuProfile::GemvFor(const GemvProblem& problem) const {
  GemvProblem one = problem;
  one.m = 1;
  const auto found = choices.find(ProblemName(one));
  GemvSpec spec = DefaultGemvSpec(problem);
  if (found == choices.end()) return spec;
  const GemvSpec& tuned = found->second.spec;
  if (problem.m == 1) return tuned;
  spec.warps_per_output = tuned.warps_per_output;
  spec.outputs_per_block = std::min(spec.outputs_per_block, kMaxWarps / spec.warps_per_output);
  return spec;
}

}  // namespace ptxsmith

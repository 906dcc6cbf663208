#include "tools/tuner.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/decoder.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kFirstRepeats = 1;
constexpr uint32_t kMostRepeats = 9;
constexpr size_t kFinalists = 2;

// The candidates of the family that the plain lowering chooses among: f32 activations, read
// through the caches.
absl::StatusOr<std::vector<Candidate>> CandidatesOf(const GemvProblem& problem,
                                                    const Target& target) {
  std::vector<Candidate> candidates;
  const std::string prefix = absl::StrCat(GemvSpec::kFamily, ":");
  for (const std::string& key : GemvCandidates(problem, target)) {
    if (!absl::StartsWith(key, prefix)) continue;
    const size_t end = key.find('@');
    PTXSMITH_ASSIGN_OR_RETURN(
        const GemvSpec spec,
        ParseFields<GemvSpec>(absl::string_view(key).substr(prefix.size(), end - prefix.size())));
    // Fused families, which take their geometry from here, cannot stage.
    if (spec.stage == 0) candidates.push_back({spec});
  }
  return candidates;
}

}  // namespace

std::vector<GemvProblem> ProblemsOf(const GgufFile& file) {
  std::vector<GemvProblem> problems;
  const bool tied = file.FindTensor("output.weight") == nullptr;
  for (const GgufTensor& tensor : file.tensors()) {
    if (tensor.rank != 2 || !CheckHasDecoder(tensor.type).ok()) continue;
    if (tensor.name == "token_embd.weight" && !tied) continue;
    const GemvProblem problem{tensor.type, static_cast<uint32_t>(tensor.dims[0]),
                              static_cast<uint32_t>(tensor.dims[1])};
    const auto same = [&](const GemvProblem& p) { return ProblemName(p) == ProblemName(problem); };
    if (std::none_of(problems.begin(), problems.end(), same)) problems.push_back(problem);
  }
  std::sort(problems.begin(), problems.end(), [](const GemvProblem& a, const GemvProblem& b) {
    return WeightBytes(a) > WeightBytes(b);
  });
  return problems;
}

absl::StatusOr<TuningResult> Tuner::Tune(const GemvProblem& problem) {
  const Target& target = cache_.device()->profile().target;
  TuningResult result{problem};
  PTXSMITH_ASSIGN_OR_RETURN(result.candidates, CandidatesOf(problem, target));
  if (result.candidates.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("no kernel for ", ProblemName(problem)));
  }
  const auto faster = [](const Candidate& a, const Candidate& b) {
    return a.microseconds < b.microseconds;
  };
  // The rule's own choice comes first and stays to the end, so that the gain is measured like it.
  const std::string standard = KeyOf(DefaultGemvSpec(problem), target);
  size_t left = result.candidates.size();
  for (uint32_t repeats = kFirstRepeats;; repeats = std::min(kMostRepeats, repeats * 3)) {
    for (size_t i = 0; i < left; ++i) {
      Candidate& candidate = result.candidates[i];
      PTXSMITH_ASSIGN_OR_RETURN(const std::shared_ptr<const Module> module,
                                cache_.GetOrBuild(KeyOf(candidate.spec, target), [&] {
                                  return BuildGemv(candidate.spec, target);
                                }));
      PTXSMITH_ASSIGN_OR_RETURN(candidate.microseconds,
                                timer_.Microseconds(module, problem, repeats));
      candidate.repeats = repeats;
    }
    std::sort(result.candidates.begin(), result.candidates.begin() + left, faster);
    if (repeats == kMostRepeats) break;
    left = std::min(left, std::max(kFinalists, (left + 1) / 2));
    const auto end = result.candidates.begin() + left;
    if (std::none_of(result.candidates.begin(), end,
                     [&](const Candidate& c) { return KeyOf(c.spec, target) == standard; })) {
      const auto own = std::find_if(end, result.candidates.end(), [&](const Candidate& c) {
        return KeyOf(c.spec, target) == standard;
      });
      std::rotate(end, own, own + 1);
      ++left;
    }
  }
  for (const Candidate& candidate : result.candidates) {
    if (KeyOf(candidate.spec, target) == standard) {
      result.default_microseconds = candidate.microseconds;
    }
  }
  return result;
}

}  // namespace ptxsmith

#include "model/sampler.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

// The id of the largest logit, or why there is none.
absl::StatusOr<TokenId> Largest(absl::Span<const float> logits) {
  if (logits.empty()) return absl::InvalidArgumentError("sampler: no logits");
  size_t best = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == INFINITY) {
      return absl::InternalError(
          absl::StrCat("sampler: the logit of token ", i, " is ", logits[i]));
    }
    if (logits[i] > logits[best]) best = i;
  }
  if (logits[best] == -INFINITY) return absl::InternalError("sampler: every logit is -inf");
  return static_cast<TokenId>(best);
}

// 53 random bits as a number in [0, 1). std::uniform_real_distribution differs between libraries.
double Uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1p-53; }

}  // namespace

absl::StatusOr<Sampler> Sampler::Create(const SamplerOptions& options) {
  if (!std::isfinite(options.temperature) || options.temperature < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("sampler: temperature ", options.temperature, " is not 0 or above"));
  }
  if (!(options.top_p > 0 && options.top_p <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("sampler: top_p ", options.top_p, " is not above 0 and at most 1"));
  }
  return Sampler(options);
}

absl::StatusOr<TokenId> Sampler::Sample(absl::Span<const float> logits) {
  PTXSMITH_ASSIGN_OR_RETURN(const TokenId best, Largest(logits));
  if (options_.temperature == 0) return best;

  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    candidates_.push_back({static_cast<TokenId>(i), logits[i]});
  }
  KeepTopK();
  KeepTopP(logits[best]);

  const auto weight = [&](const Candidate& c) {
    return std::exp((double{c.logit} - logits[best]) / options_.temperature);
  };
  double sum = 0;
  for (const Candidate& c : candidates_) sum += weight(c);
  double rest = Uniform(random_) * sum;
  for (const Candidate& c : candidates_) {
    rest -= weight(c);
    if (rest < 0) return c.id;
  }
  return best;  // rounding left a remainder; the largest logit is always a candidate
}

// Sorts the candidates, unless all of them are wanted: then their order does not matter.
void Sampler::KeepTopK() {
  const size_t all = candidates_.size();
  const size_t keep = options_.top_k == 0 ? all : std::min<size_t>(options_.top_k, all);
  if (keep == all && options_.top_p == 1) return;
  std::partial_sort(candidates_.begin(), candidates_.begin() + keep, candidates_.end(),
                    [](const Candidate& a, const Candidate& b) {
                      return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
                    });
  candidates_.resize(keep);
}

void Sampler::KeepTopP(float largest) {
  if (options_.top_p == 1) return;
  const auto weight = [&](const Candidate& c) { return std::exp(double{c.logit} - largest); };
  double sum = 0;
  for (const Candidate& c : candidates_) sum += weight(c);
  double kept = 0;
  size_t count = 0;
  while (count < candidates_.size() && kept < options_.top_p * sum) {
    kept += weight(candidates_[count++]);
  }
  candidates_.resize(count);
}

}  // namespace ptxsmith

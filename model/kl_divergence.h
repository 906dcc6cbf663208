// How far the predictions of one model are from those of another (its base: the same weights less
// quantised, or another path through them), token by token. Used by `ptxsmith perplexity --kl`.
//
//   KlDivergence kl;
//   for (...) kl.Add(base_logits, logits);
//   const KlResult r = kl.Result();    // r.mean, r.same_top, ...
//
// Thread-safety: belongs to one thread.
#ifndef PTXSMITH_MODEL_KL_DIVERGENCE_H_
#define PTXSMITH_MODEL_KL_DIVERGENCE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace ptxsmith {

// Of D = sum p_base log(p_base / p), natural logarithm, over the tokens.
struct KlResult {
  uint64_t tokens = 0;
  double mean = 0;
  double standard_error = 0;  // of the mean
  double median = 0;
  double percentile_99 = 0;
  double largest = 0;
  double same_top = 0;  // share of the tokens for which both have the same likeliest one
};

class KlDivergence {
 public:
  // Logits of the two for the same next token. Tokens to which `base` gives -inf, because a file
  // did not keep what is so small, count in neither. REQUIRES: equally many, finite but for those,
  // of which not all are.
  void Add(absl::Span<const float> base, absl::Span<const float> logits);

  KlResult Result() const;

 private:
  std::vector<double> divergences_;
  uint64_t same_top_ = 0;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_KL_DIVERGENCE_H_

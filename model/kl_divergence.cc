#include "model/kl_divergence.h"

#include <algorithm>
#include <cmath>

namespace ptxsmith {
namespace {

struct Normaliser {
  size_t top;      // the first of the largest
  double log_sum;  // log of the sum of exponentials of what is in `base`

  Normaliser(absl::Span<const float> logits, absl::Span<const float> base)
      : top(std::max_element(logits.begin(), logits.end()) - logits.begin()) {
    double sum = 0;
    for (size_t i = 0; i < logits.size(); ++i) {
      if (std::isfinite(base[i])) sum += std::exp(double{logits[i]} - logits[top]);
    }
    log_sum = logits[top] + std::log(sum);
  }
};

}  // namespace

void KlDivergence::Add(absl::Span<const float> base, absl::Span<const float> logits) {
  const Normaliser p(base, base);
  const Normaliser q(logits, base);
  double divergence = 0;
  for (size_t i = 0; i < base.size(); ++i) {
    if (!std::isfinite(base[i])) continue;
    const double log_p = base[i] - p.log_sum;
    divergence += std::exp(log_p) * (log_p - (logits[i] - q.log_sum));
  }
  divergences_.push_back(std::max(0.0, divergence));  // below zero only by rounding
  same_top_ += p.top == q.top;
}

KlResult KlDivergence::Result() const {
  KlResult r;
  r.tokens = divergences_.size();
  if (r.tokens == 0) return r;
  const auto n = static_cast<double>(r.tokens);
  double sum = 0;
  double squares = 0;
  for (const double d : divergences_) {
    sum += d;
    squares += d * d;
  }
  r.mean = sum / n;
  r.standard_error = std::sqrt(std::max(0.0, squares / n - r.mean * r.mean) / n);
  std::vector<double> sorted = divergences_;
  std::sort(sorted.begin(), sorted.end());
  // The smallest value that at least this share of the tokens does not exceed.
  const auto quantile = [&](double share) {
    return sorted[static_cast<size_t>(std::ceil(share * n)) - 1];
  };
  r.median = quantile(0.5);
  r.percentile_99 = quantile(0.99);
  r.largest = sorted.back();
  r.same_top = static_cast<double>(same_top_) / n;
  return r;
}

}  // namespace ptxsmith

#include "tools/fuzz/reference/norms.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

namespace ptxsmith::reference {

Expected LayerNorm(absl::Span<const float> x, absl::Span<const float> w, absl::Span<const float> b,
                   double eps) {
  // A test that calls with sizes that do not fit is wrong.
  if (x.empty() || w.size() != x.size() || (!b.empty() && b.size() != x.size())) std::abort();
  const auto n = static_cast<double>(x.size());
  const double depth = Depth(x.size());
  double mean = 0, magnitude = 0, variance = 0;
  for (float v : x) {
    mean += v / n;
    magnitude += std::fabs(v) / n;
  }
  for (float v : x) variance += (v - mean) * (v - mean) / n;
  const double s = 1 / std::sqrt(variance + eps);
  const double mean_error = kRoundoff * depth * magnitude;
  const double relative =
      (mean_error * mean_error + kRoundoff * (depth + 8) * variance) / (variance + eps);
  Expected y;
  for (size_t i = 0; i < x.size(); ++i) {
    const double difference = x[i] - mean;
    const double value = difference * s * w[i] + (b.empty() ? 0.0 : static_cast<double>(b[i]));
    y.value.push_back(value);
    y.bound.push_back(
        (mean_error * (1 + relative) + std::fabs(difference) * (relative + 4 * kRoundoff)) * s *
            std::fabs(w[i]) +
        kRoundoff * std::fabs(value) + kTiny * (1 + s));
  }
  return y;
}

Expected Softmax(absl::Span<const float> x, double s) {
  if (x.empty()) std::abort();
  std::vector<double> t;
  for (float v : x) t.push_back(s * v);
  const double best = *std::max_element(t.begin(), t.end());
  double sum = 0;
  for (double v : t) sum += std::exp(v - best);
  Expected y;
  std::vector<double> error;
  double sum_error = kRoundoff * Depth(x.size());
  for (double v : t) {
    const double value = std::exp(v - best) / sum;
    // Nothing is wrong about an element of minus infinity.
    const double moved = std::isinf(v) ? 0 : std::fabs(v) + std::fabs(best) + 3 * (best - v) + 8;
    y.value.push_back(value);
    error.push_back(kRoundoff * moved);
    sum_error += value * error.back();
  }
  for (size_t i = 0; i < x.size(); ++i) {
    y.bound.push_back(y.value[i] * (error[i] + sum_error + 2 * kRoundoff) + kTinyExp);
  }
  return y;
}

}  // namespace ptxsmith::reference

// Layer normalisation and softmax in double precision, in the manner of ops.h: each with a bound on
// what a correct f32 kernel may differ by. Pure functions on one row.
//
//   EXPECT_TRUE(IsClose(from_device, LayerNorm(x, weight, bias, 1e-5)));
#ifndef PTXSMITH_TOOLS_FUZZ_REFERENCE_NORMS_H_
#define PTXSMITH_TOOLS_FUZZ_REFERENCE_NORMS_H_

#include "absl/types/span.h"
#include "tools/fuzz/reference/ops.h"

namespace ptxsmith::reference {

// y[i] = (x[i] - m) s w[i] + b[i], m = mean(x), s = 1 / sqrt(mean((x - m)^2) + eps); no b: 0.
// Bound: m is off by dm = u Depth(n) mean|x|, so x[i] - m by dm + u |x[i] - m|. Around a mean that
// is off, the mean square v grows by dm^2 and no more (the differences sum to zero), and is off
// relatively by u Depth(n): r = (dm^2 + u (Depth(n) + 8) v) / (v + eps) bounds the relative error
// of s. Together  (dm (1 + r) + |x[i] - m| (r + 4 u)) s |w[i]| + u |y[i]|.
Expected LayerNorm(absl::Span<const float> x, absl::Span<const float> w, absl::Span<const float> b,
                   double eps);

// y[i] = e^(s x[i]) / sum_j e^(s x[j]).
// Bound: with t_i = s x[i] and best = max t, the argument t_i - best is off by
// u (|t_i| + |best| + |t_i - best|), its exponential by e_i = that + u (2 |t_i - best| + 8)
// relatively; the sum by E = sum_j y_j e_j + u Depth(n). Together y[i] (e_i + E + 2 u) +
// 2 kTiny: an exponential below that may be 0.
Expected Softmax(absl::Span<const float> x, double s);

}  // namespace ptxsmith::reference

#endif  // PTXSMITH_TOOLS_FUZZ_REFERENCE_NORMS_H_

// The element-wise functions in double precision, in the manner of ops.h: each with a bound on what
// a correct f32 kernel may differ by. Pure functions.
//
//   EXPECT_TRUE(IsClose(from_device, GeluErf(x)));
//
// u = kRoundoff. An exponential whose argument t is off by a few roundings is off by a few |t| u.
// Where e^-t overflows the function is below 128 kTiny, and a kernel may say 0.
#ifndef PTXSMITH_TOOLS_FUZZ_REFERENCE_ELEMENTWISE_H_
#define PTXSMITH_TOOLS_FUZZ_REFERENCE_ELEMENTWISE_H_

#include "absl/types/span.h"
#include "tools/fuzz/reference/ops.h"

namespace ptxsmith::reference {

// y = x / (1 + e^-x). Bound: u |y| (2 |x| + 10) + 128 kTiny.
Expected Silu(absl::Span<const float> x);

// y = x (1 + tanh z) / 2, z = sqrt(2 / pi) (x + 0.044715 x^3). Bound: u |y| (6 |2z| + 12) + 128
// kTiny: as x / (1 + e^-2z), five roundings make 2z.
Expected GeluTanh(absl::Span<const float> x);

// y = x (1 + erf(x / sqrt 2)) / 2. Bound: 6 u |x|: erf is off by 2.5 u and by its argument's error,
// at most 0.75 u; there is no relative accuracy where it cancels 1.
Expected GeluErf(absl::Span<const float> x);

// y = cap tanh(x / cap). Bound: 8 u |y|: the argument is off by two roundings, which tanh passes on
// at most, tanh itself by 2.5 u.
Expected Softcap(absl::Span<const float> x, double cap);

// y = a * b, rounded once. Bound: u |y|.
Expected Multiply(absl::Span<const float> a, absl::Span<const float> b);

// y = GeluTanh(gate) * up. Bound: that of GeluTanh times |up| and a rounding.
Expected GeGlu(absl::Span<const float> gate, absl::Span<const float> up);

}  // namespace ptxsmith::reference

#endif  // PTXSMITH_TOOLS_FUZZ_REFERENCE_ELEMENTWISE_H_

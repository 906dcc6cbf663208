// Products of quantised matrices with the activations of several tokens, and the q8_1 form of
// activations: references of the kernels around matrix-vector products. Pure functions.
//
//   Expected y = Project({QuantType::kQ4K, w, rows}, x, {.bias = b});   // [tokens][rows]
#ifndef PTXSMITH_TOOLS_FUZZ_REFERENCE_PROJECTION_H_
#define PTXSMITH_TOOLS_FUZZ_REFERENCE_PROJECTION_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "tools/fuzz/reference/ops.h"

namespace ptxsmith::reference {

// A matrix as it lies in a file: `rows` rows of equal length.
struct Matrix {
  QuantType type;
  absl::Span<const uint8_t> bytes;
  size_t rows;
};

struct Epilogue {
  absl::Span<const float> bias = {};    // one per row, or empty
  absl::Span<const float> before = {};  // what y holds and the result is added to, or empty
};

// y[t][r] = W_r . x_t + bias[r] + before[t][r].
// Bound: that of Gemv, and one rounding for each addition.
// REQUIRES: x is a whole number of tokens.
Expected Project(const Matrix& w, absl::Span<const float> x, const Epilogue& epilogue = {});

// x[t][i] / rms(x_t) * weight[i] is what W is applied to: as Project, with s_t = 1 / sqrt(mean of
// x_t^2 + eps) applied to the sum.
// Bound: one more rounding for each x * weight, and |W_r . (x weight)| s u (Depth(k) / 2 + 8) for
// s, as in RmsNorm.
Expected ProjectNormed(const Matrix& w, absl::Span<const float> x, absl::Span<const float> weight,
                       double eps, const Epilogue& epilogue = {});

// Project with the weights rounded to f16 and x in f16, summed by tensor cores.
// Bound: an mma aligns 16 products and the sum so far to the largest of them and truncates: 17 u
// times it, in k / 16 mma: (1.1 k + 32) u sum |w x|.
Expected ProjectF16(const Matrix& w, absl::Span<const uint16_t> x, const Epilogue& epilogue = {});

// gate / (1 + e^-gate) * up of values that are off by their bounds.
// Bound: that of SwiGlu, and the derivative of silu is at most 1.1.
Expected SwiGluOf(const Expected& gate, const Expected& up);

// ggml's block_q8_1, 36 bytes for 32 values: see quantize_q8_1.h, whose definition in f32
// arithmetic this follows step by step.
// REQUIRES: x.size() is a multiple of 32.
std::vector<uint8_t> QuantizeQ8_1(absl::Span<const float> x);
// d * q, exact in f32.
std::vector<float> DequantizeQ8_1(absl::Span<const uint8_t> blocks);

}  // namespace ptxsmith::reference

#endif  // PTXSMITH_TOOLS_FUZZ_REFERENCE_PROJECTION_H_

// The operations of a transformer in double precision, written from their mathematics, each with a
// bound on what a correct f32 kernel may differ by, element by element. Used by the kernel tests
// and the fuzzer's checks; compared through tests/util/expect_close.h. Pure functions.
//
//   Expected y = Gemv(Decode(QuantType::kQ4K, bytes), x);
//   EXPECT_TRUE(IsClose(from_device, y));
//
// The bounds. u = 2^-24 is the unit roundoff of f32; terms of order u^2 are dropped and the
// constants rounded up. Denormal results add kTiny. A sum of n terms is supposed to be made by at
// least 32 partial sums side by side (one warp), in any order: a term then passes at most
// Depth(n) = n / 32 + 32 roundings, of which 32 are for what is not the partial sum itself (five
// steps across the lanes, up to sixteen across warps, the making of the term). With terms t_i the
// sum differs from the true one by at most u * Depth(n) * sum |t_i| (Higham, Accuracy and
// Stability, 4.2).
#ifndef PTXSMITH_TOOLS_FUZZ_REFERENCE_OPS_H_
#define PTXSMITH_TOOLS_FUZZ_REFERENCE_OPS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "tools/fuzz/reference/decode.h"

namespace ptxsmith::reference {

inline constexpr double kRoundoff = 0x1p-24;
inline constexpr double kTiny = 0x1p-126;  // smallest normal f32
// What exponentials may be off by absolutely: a kernel may stop at e^-87.3, which is 1.04 kTiny.
inline constexpr double kTinyExp = 2 * kTiny;

constexpr double Depth(size_t terms) { return static_cast<double>(terms) / 32 + 32; }

// What an operation should give: |actual[i] - value[i]| <= bound[i].
struct Expected {
  std::vector<double> value;
  std::vector<double> bound;
};

// What is left of it when the result is stored as f16, rounded to nearest and at most the largest
// one. Bound: 2^-11 of the result, or half of the least f16.
Expected RoundedToHalf(const Expected& exact);

// y[r] = sum_c W[r][c] x[c], W in rows of x.size().
// Bound: |y~ - y| <= u c sum_c |W[r][c]| |x[c]| <= u c ||W_r|| ||x||, c = Depth(columns), norms of
// the magnitudes (see Weight). The bound is the right-hand side.
Expected Gemv(absl::Span<const Weight> w, absl::Span<const float> x);

// y[i] = x[i] w[i] / sqrt(mean(x^2) + eps).
// Bound: u |y[i]| (Depth(n) / 2 + 8): the sum of squares has no cancellation, the root halves its
// relative error; 8 for rsqrt.approx (2^-22.9 is 2.2 u), the mean, eps and two products.
Expected RmsNorm(absl::Span<const float> x, absl::Span<const float> w, double eps);

enum class RopePairs {
  kAdjacent,   // (x[2i], x[2i + 1]): llama files
  kHalfSplit,  // (x[i], x[i + n / 2]): qwen2 files ("neox")
};

struct RopeSpec {
  RopePairs pairs = RopePairs::kAdjacent;
  double base = 10000.0;
  size_t dims = 0;                       // rotated leading elements of a head; the rest is copied
  absl::Span<const float> factors = {};  // dims / 2 divisors of the frequencies, or empty
  // Relative error of the angle in units of u. 4 covers a table of frequencies rounded to f32, the
  // product with the position and the reduction of the argument; a frequency from ex2.approx needs
  // about 2 log2(base) more.
  double angle_roundings = 4;
};

// Rotates every head of `x` (heads of `head_dim` elements) by its position's angles:
//   theta_i = position * base^(-2i / dims) / factors[i]
//   (a, b) -> (a cos - b sin, a sin + b cos)
// Bound: u hypot(a, b) (theta angle_roundings + 8): the angle's absolute error, then cos, sin
// (2^-21.9 and less absolute for the approximate ones within +-pi), two products and a sum.
Expected Rope(absl::Span<const float> x, size_t head_dim, uint32_t position, const RopeSpec& spec);

// What is stored when `x` is appended to an f16 cache: round to nearest even, exactly.
std::vector<uint16_t> AppendF16(absl::Span<const float> x);

// The values of an f16 buffer.
std::vector<float> HalvesToFloats(const std::vector<uint16_t>& halves);

// These rows as ptx_templates/blocked_half.h describes them. What lies beyond the last row is NaN.
std::vector<uint16_t> BlockedHalves(const std::vector<uint16_t>& rows, size_t columns);
// ... and back: the first `rows` rows.
std::vector<uint16_t> RowsOfBlocks(const std::vector<uint16_t>& blocked, size_t rows,
                                   size_t columns);

struct AttentionShape {
  size_t heads = 0;     // of the query
  size_t kv_heads = 0;  // divides heads; query head h reads kv head h / (heads / kv_heads)
  size_t head_dim = 0;
  double scale = 0.0;    // of the scores; 1 / sqrt(head_dim) in most models
  double softcap = 0.0;  // s becomes softcap tanh(s / softcap); 0: it stays
};

// One query against `length` cached positions. q: [heads][head_dim]; k, v:
// [length][kv_heads][head_dim], the cache's values widened to f32.
//   s_t = scale q.k_t,   p = softmax(s),   o = sum_t p_t v_t
// Bound: s_t is off by ds_t = u (head_dim + 8) scale sum_i |q_i k_ti|; a cap passes that on (its
// slope is at most 1) and adds 8 u |s_t|; the exponential of
// s_t - max by e_t = ds_t + ds_max + u (2 |s_t - max| + 8) relatively; the normaliser by
// E = sum_t p_t e_t. Together  sum_t |v_t| (p_t (e_t + E + 2 u Depth(length)) + 2 kTiny): an
// exponential below 2 kTiny may be 0.
// Running maxima (splitting or tiling the positions) are covered by Depth's constant as long as
// the maximum changes at most 16 times.
Expected Attention(absl::Span<const float> q, absl::Span<const float> k, absl::Span<const float> v,
                   const AttentionShape& shape);

// y = gate / (1 + exp(-gate)) * up.
// Bound: u |y| (2 |gate| + 10) + |up| kTiny 128: the argument of the exponential is off by a
// rounding or two of gate log2(e); the last term where exp(-gate) overflows.
Expected SwiGlu(absl::Span<const float> gate, absl::Span<const float> up);

// y = a + b, rounded once: bound u |y|.
Expected Add(absl::Span<const float> a, absl::Span<const float> b);

// A row of an embedding table. Bound: u 4 magnitude: factors of the scale, one sum.
Expected Embedding(absl::Span<const Weight> row);

// The index of the largest element; the lowest one among equals. NaNs never win.
// REQUIRES: x is not empty.
size_t ArgMax(absl::Span<const float> x);

}  // namespace ptxsmith::reference

#endif  // PTXSMITH_TOOLS_FUZZ_REFERENCE_OPS_H_

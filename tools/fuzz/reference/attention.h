// What surrounds attention, beside ops.h: the q8_0 cache, the join of partial results, attention
// with f16 operands. Pure functions.
//
//   std::vector<uint8_t> cells = AppendQ8_0(x);   // 34 bytes per 32 elements
//   EXPECT_TRUE(IsClose(from_device, JoinPartials(partial, 64, 8)));
#ifndef PTXSMITH_TOOLS_FUZZ_REFERENCE_ATTENTION_H_
#define PTXSMITH_TOOLS_FUZZ_REFERENCE_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "tools/fuzz/reference/ops.h"

namespace ptxsmith::reference {

// What is stored when `x` is appended to a q8_0 cache: d = max |x| / 127 of each 32 elements,
// q = x (1 / d) to nearest even, every operation rounded to f32; d as f16, and q = 0 where that is
// zero. REQUIRES: whole blocks of finite elements.
std::vector<uint8_t> AppendQ8_0(absl::Span<const float> x);

// Attention over all positions from its results over `splits` parts of them. Each is head_dim sums
// of weighted values, the largest score m and the sum of weights w; a part without positions has m
// = -inf and w = 0. partial: [...][splits][head_dim + 2]; the result: [...][head_dim], 0 without
// any weight.
//   o = sum_i e^(m_i - M) sums_i / sum_i e^(m_i - M) w_i,   M = max_i m_i
// Bound: a share e^(m_i - M) is off relatively by e_i = u (2 (M - m_i) + 8), the divisor by
// E = sum_i (its share of it) e_i + u splits. Together
// sum_i |its share of o| (e_i + E + u (3 splits + 2)) + 2 kTiny |sums_i|: an exponential below
// 2 kTiny may be 0.
Expected JoinPartials(absl::Span<const float> partial, size_t head_dim, size_t splits);

// Attention by a kernel for prompts: q, the weights relative to the largest score so far, and the
// result are rounded to f16; the sums are those of tensor cores.
// Bound: with A = sum_t p_t |v_t| for the values as they are, h = 2^-11 the unit roundoff of f16
// and its least number 2^-24: what Attention says of q as rounded, 8 times, for the sums of tensor
// cores over head_dim and the approximate exponential; h A + 2^-25 sum_t |v_t| for the weights;
// 2 u (1.1 length + 32) A for the sum over positions (gemm.h); h |o| + 2^-25 for the result.
Expected PrefillAttention(absl::Span<const float> q, absl::Span<const float> k,
                          absl::Span<const float> v, const AttentionShape& shape);

}  // namespace ptxsmith::reference

#endif  // PTXSMITH_TOOLS_FUZZ_REFERENCE_ATTENTION_H_

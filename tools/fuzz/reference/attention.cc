#include "tools/fuzz/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tools/fuzz/reference/float_formats.h"

namespace ptxsmith::reference {

std::vector<uint8_t> AppendQ8_0(absl::Span<const float> x) {
  if (x.size() % 32 != 0) std::abort();  // the test that calls is wrong
  std::vector<uint8_t> bytes;
  for (size_t at = 0; at < x.size(); at += 32) {
    float largest = 0;
    for (size_t i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[at + i]));
    const float d = largest / 127;
    const uint16_t stored = FloatToHalf(d);
    bytes.push_back(static_cast<uint8_t>(stored));
    bytes.push_back(static_cast<uint8_t>(stored >> 8));
    for (size_t i = 0; i < 32; ++i) {
      const float q = stored == 0 ? 0.0f : std::nearbyint(x[at + i] * (1 / d));
      bytes.push_back(static_cast<uint8_t>(static_cast<int>(q)));
    }
  }
  return bytes;
}

Expected JoinPartials(absl::Span<const float> partial, size_t head_dim, size_t splits) {
  const size_t stride = head_dim + 2;
  if (partial.size() % (stride * splits) != 0) std::abort();
  Expected o;
  for (size_t at = 0; at < partial.size(); at += stride * splits) {
    const auto part = [&](size_t i) { return partial.subspan(at + i * stride, stride); };
    double largest = -INFINITY, total = 0, total_error = 0;
    for (size_t i = 0; i < splits; ++i) {
      if (part(i)[head_dim + 1] != 0) largest = std::max<double>(largest, part(i)[head_dim]);
    }
    std::vector<double> share(splits, 0), error(splits, 0);
    for (size_t i = 0; i < splits; ++i) {
      const double weights = part(i)[head_dim + 1];
      if (weights == 0) continue;
      share[i] = std::exp(part(i)[head_dim] - largest);
      error[i] = kRoundoff * (2 * (largest - part(i)[head_dim]) + 8);
      total += weights * share[i];
      total_error += weights * share[i] * error[i];
    }
    for (size_t d = 0; d < head_dim; ++d) {
      double value = 0, bound = 0;
      for (size_t i = 0; i < splits && total != 0; ++i) {
        const double term = part(i)[d] * share[i] / total;
        const double n = static_cast<double>(splits);
        value += term;
        bound += std::fabs(term) * (error[i] + total_error / total + kRoundoff * (3 * n + 2)) +
                 kTinyExp * std::fabs(part(i)[d]);
      }
      o.value.push_back(value);
      o.bound.push_back(bound + kTiny);
    }
  }
  return o;
}

Expected PrefillAttention(absl::Span<const float> q, absl::Span<const float> k,
                          absl::Span<const float> v, const AttentionShape& shape) {
  constexpr double kHalf = 0x1p-11, kHalfTiny = 0x1p-25;
  std::vector<float> rounded, magnitudes;
  for (float x : q) rounded.push_back(HalfToFloat(FloatToHalf(x)));
  for (float x : v) magnitudes.push_back(std::fabs(x));
  Expected o = Attention(rounded, k, v, shape);
  const Expected weighted = Attention(rounded, k, magnitudes, shape);
  const size_t stride = shape.kv_heads * shape.head_dim;
  const double length = static_cast<double>(v.size() / stride);
  for (size_t i = 0; i < o.value.size(); ++i) {
    const size_t group = shape.heads / shape.kv_heads;
    const size_t at = i / shape.head_dim / group * shape.head_dim + i % shape.head_dim;
    double sum = 0;
    for (size_t t = at; t < v.size(); t += stride) sum += magnitudes[t];
    o.bound[i] = 8 * o.bound[i] + kHalfTiny * (sum + 1) + kHalf * std::fabs(o.value[i]) +
                 (kHalf + 2 * kRoundoff * (1.1 * length + 32)) * weighted.value[i];
  }
  return o;
}

}  // namespace ptxsmith::reference

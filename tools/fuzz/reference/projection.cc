#include "tools/fuzz/reference/projection.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "tools/fuzz/reference/float_formats.h"

namespace ptxsmith::reference {
namespace {

constexpr size_t kBlock = 32;
constexpr size_t kBlockBytes = 36;

void Put16(uint16_t value, std::vector<uint8_t>& out) {
  out.push_back(static_cast<uint8_t>(value));
  out.push_back(static_cast<uint8_t>(value >> 8));
}

struct Bounded {
  double value, bound;
};

// Calls product(row, t) for every row of the matrix and token and adds the epilogue to its result.
// `k` is the length of a row.
template <class F>
Expected ForEachOutput(const Matrix& w, size_t activations, const Epilogue& epilogue, F&& product) {
  const size_t row_bytes = w.bytes.size() / w.rows;
  Expected y;
  for (size_t r = 0; r < w.rows; ++r) {
    const std::vector<Weight> row = Decode(w.type, w.bytes.subspan(r * row_bytes, row_bytes));
    if (row.empty() || activations % row.size() != 0) std::abort();
    const size_t tokens = activations / row.size();
    y.value.resize(tokens * w.rows);
    y.bound.resize(tokens * w.rows);
    for (size_t t = 0; t < tokens; ++t) {
      auto [value, bound] = product(row, t);
      const size_t at = t * w.rows + r;
      for (const absl::Span<const float> addends : {epilogue.bias, epilogue.before}) {
        if (addends.empty()) continue;
        value += addends[addends.size() == w.rows ? r : at];
        bound += kRoundoff * (std::fabs(value) + bound);
      }
      y.value[at] = value;
      y.bound[at] = bound + kTiny;
    }
  }
  return y;
}

}  // namespace

Expected Project(const Matrix& w, absl::Span<const float> x, const Epilogue& epilogue) {
  return ForEachOutput(w, x.size(), epilogue, [&](const std::vector<Weight>& row, size_t t) {
    const Expected one = Gemv(row, x.subspan(t * row.size(), row.size()));
    return Bounded{one.value[0], one.bound[0]};
  });
}

Expected ProjectNormed(const Matrix& w, absl::Span<const float> x, absl::Span<const float> weight,
                       double eps, const Epilogue& epilogue) {
  return ForEachOutput(w, x.size(), epilogue, [&](const std::vector<Weight>& row, size_t t) {
    const size_t k = row.size();
    double sum = 0, w_squares = 0, scaled_squares = 0, squares = 0;
    for (size_t c = 0; c < k; ++c) {
      const double v = x[t * k + c];
      const double scaled = v * weight[c];
      sum += scaled * row[c].value;
      squares += v * v;
      scaled_squares += scaled * scaled;
      w_squares += static_cast<double>(row[c].magnitude) * row[c].magnitude;
    }
    const double scale = 1 / std::sqrt(squares / static_cast<double>(k) + eps);
    const double norms = std::sqrt(w_squares) * std::sqrt(scaled_squares);
    // Denormal products x * weight lose up to kTiny * u each, whatever the weights make of it.
    const double tiny = kTiny * std::sqrt(w_squares * static_cast<double>(k)) * kRoundoff;
    return Bounded{sum * scale, scale * (kRoundoff * (Depth(k) + 1) * norms + tiny +
                                         kRoundoff * std::fabs(sum) * (Depth(k) / 2 + 8) + kTiny)};
  });
}

Expected ProjectF16(const Matrix& w, absl::Span<const uint16_t> x, const Epilogue& epilogue) {
  return ForEachOutput(w, x.size(), epilogue, [&](const std::vector<Weight>& row, size_t t) {
    const size_t k = row.size();
    double sum = 0, magnitudes = 0;
    for (size_t c = 0; c < k; ++c) {
      const double term =
          static_cast<double>(HalfToFloat(FloatToHalf(row[c].value))) * HalfToFloat(x[t * k + c]);
      sum += term;
      magnitudes += std::fabs(term);
    }
    return Bounded{sum, kRoundoff * (1.1 * static_cast<double>(k) + 32) * magnitudes};
  });
}

Expected SwiGluOf(const Expected& gate, const Expected& up) {
  Expected y;
  for (size_t i = 0; i < gate.value.size(); ++i) {
    const double g = gate.value[i], u = up.value[i];
    const double silu = g / (1 + std::exp(-g));
    y.value.push_back(silu * u);
    const double own =
        kRoundoff * std::fabs(silu * u) * (2 * std::fabs(g) + 10) + 128 * kTiny * std::fabs(u);
    const double from_gate = 1.1 * gate.bound[i] * (std::fabs(u) + up.bound[i]);
    y.bound.push_back(own + from_gate + std::fabs(silu) * up.bound[i] + kTiny);
  }
  return y;
}

std::vector<uint8_t> QuantizeQ8_1(absl::Span<const float> x) {
  if (x.size() % kBlock != 0) std::abort();
  std::vector<uint8_t> out;
  for (size_t begin = 0; begin < x.size(); begin += kBlock) {
    const absl::Span<const float> block = x.subspan(begin, kBlock);
    float largest = 0;
    for (float v : block) largest = std::max(largest, std::fabs(v));
    const float d = largest / 127.0f;
    const float inverse = d > 1e-30f ? 1.0f / d : 0.0f;
    int sum = 0;
    std::vector<uint8_t> quants;
    for (float v : block) {
      const int q = static_cast<int>(std::round(v * inverse));
      quants.push_back(static_cast<uint8_t>(q));
      sum += q;
    }
    Put16(FloatToHalf(d), out);
    Put16(FloatToHalf(d * static_cast<float>(sum)), out);
    out.insert(out.end(), quants.begin(), quants.end());
  }
  return out;
}

std::vector<float> DequantizeQ8_1(absl::Span<const uint8_t> blocks) {
  std::vector<float> x;
  for (size_t begin = 0; begin < blocks.size(); begin += kBlockBytes) {
    uint16_t d;
    std::memcpy(&d, &blocks[begin], sizeof(d));
    for (size_t i = 4; i < kBlockBytes; ++i) {
      x.push_back(HalfToFloat(d) * static_cast<float>(static_cast<int8_t>(blocks[begin + i])));
    }
  }
  return x;
}

}  // namespace ptxsmith::reference

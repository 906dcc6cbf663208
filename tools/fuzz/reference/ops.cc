#include "tools/fuzz/reference/ops.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tools/fuzz/reference/float_formats.h"

namespace ptxsmith::reference {
namespace {

void Append(Expected& out, double value, double bound) {
  out.value.push_back(value);
  out.bound.push_back(bound + kTiny);
}

// A test that calls a reference with sizes that do not fit is wrong: see the header.
void Require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

Expected RoundedToHalf(const Expected& exact) {
  constexpr double kLargest = 65504;
  Expected half;
  for (size_t i = 0; i < exact.value.size(); ++i) {
    const double value = std::clamp(exact.value[i], -kLargest, kLargest);
    half.value.push_back(value);
    half.bound.push_back(exact.bound[i] * (1 + 0x1p-11) + std::fabs(value) * 0x1p-11 + 0x1p-25);
  }
  return half;
}

Expected Gemv(absl::Span<const Weight> w, absl::Span<const float> x) {
  const size_t columns = x.size();
  Require(columns > 0 && w.size() % columns == 0);
  double x_norm = 0;
  for (float v : x) x_norm = std::hypot(x_norm, v);
  Expected y;
  for (size_t row = 0; row < w.size(); row += columns) {
    double sum = 0, squares = 0;
    for (size_t c = 0; c < columns; ++c) {
      const double magnitude = w[row + c].magnitude;
      sum += static_cast<double>(w[row + c].value) * x[c];
      squares += magnitude * magnitude;
    }
    Append(y, sum, kRoundoff * Depth(columns) * std::sqrt(squares) * x_norm);
  }
  return y;
}

Expected RmsNorm(absl::Span<const float> x, absl::Span<const float> w, double eps) {
  Require(!x.empty() && x.size() == w.size());
  double squares = 0;
  for (float v : x) squares += static_cast<double>(v) * v;
  const double scale = 1 / std::sqrt(squares / static_cast<double>(x.size()) + eps);
  Expected y;
  for (size_t i = 0; i < x.size(); ++i) {
    const double value = scale * x[i] * w[i];
    Append(y, value, kRoundoff * std::fabs(value) * (Depth(x.size()) / 2 + 8));
  }
  return y;
}

Expected Rope(absl::Span<const float> x, size_t head_dim, uint32_t position, const RopeSpec& spec) {
  const size_t pairs = spec.dims / 2;
  Require(head_dim > 0 && x.size() % head_dim == 0 && spec.dims % 2 == 0);
  Require(spec.dims <= head_dim && (spec.factors.empty() || spec.factors.size() == pairs));
  Expected y;
  for (float v : x) Append(y, v, 0);
  for (size_t head = 0; head < x.size(); head += head_dim) {
    for (size_t i = 0; i < pairs; ++i) {
      const bool adjacent = spec.pairs == RopePairs::kAdjacent;
      const size_t first = head + (adjacent ? 2 * i : i);
      const size_t second = head + (adjacent ? 2 * i + 1 : i + pairs);
      const double exponent = -2.0 * static_cast<double>(i) / static_cast<double>(spec.dims);
      const double theta = position * std::pow(spec.base, exponent) /
                           (spec.factors.empty() ? 1.0 : static_cast<double>(spec.factors[i]));
      const double a = x[first], b = x[second];
      const double bound =
          kRoundoff * std::hypot(a, b) * (std::fabs(theta) * spec.angle_roundings + 8);
      y.value[first] = a * std::cos(theta) - b * std::sin(theta);
      y.value[second] = a * std::sin(theta) + b * std::cos(theta);
      y.bound[first] += bound;
      y.bound[second] += bound;
    }
  }
  return y;
}

std::vector<uint16_t> AppendF16(absl::Span<const float> x) {
  std::vector<uint16_t> halves;
  for (float v : x) halves.push_back(FloatToHalf(v));
  return halves;
}

std::vector<float> HalvesToFloats(const std::vector<uint16_t>& halves) {
  std::vector<float> floats;
  for (uint16_t half : halves) floats.push_back(HalfToFloat(half));
  return floats;
}

// Where an element lies among blocks of 128 rows by 64 columns whose groups of 8 are permuted.
static size_t PlaceInBlocks(size_t row, size_t column, size_t columns) {
  const size_t block = row / 128 * (columns / 64) + column / 64;
  const size_t group = (column % 64 / 8) ^ (row % 8);
  return block * 8192 + row % 128 * 64 + group * 8 + column % 8;
}

std::vector<uint16_t> BlockedHalves(const std::vector<uint16_t>& rows, size_t columns) {
  constexpr uint16_t kNan = 0x7e00;
  const size_t count = rows.size() / columns;
  std::vector<uint16_t> blocked((count + 127) / 128 * 128 * columns, kNan);
  for (size_t i = 0; i < rows.size(); ++i) {
    blocked[PlaceInBlocks(i / columns, i % columns, columns)] = rows[i];
  }
  return blocked;
}

std::vector<uint16_t> RowsOfBlocks(const std::vector<uint16_t>& blocked, size_t rows,
                                   size_t columns) {
  std::vector<uint16_t> result(rows * columns);
  for (size_t i = 0; i < result.size(); ++i) {
    result[i] = blocked[PlaceInBlocks(i / columns, i % columns, columns)];
  }
  return result;
}

Expected Attention(absl::Span<const float> q, absl::Span<const float> k, absl::Span<const float> v,
                   const AttentionShape& shape) {
  const size_t dim = shape.head_dim;
  const size_t stride = shape.kv_heads * dim;
  Require(stride > 0 && shape.heads % shape.kv_heads == 0 && q.size() == shape.heads * dim);
  Require(!k.empty() && k.size() == v.size() && k.size() % stride == 0);
  const size_t length = k.size() / stride;

  Expected o;
  for (size_t head = 0; head < shape.heads; ++head) {
    const size_t kv = head / (shape.heads / shape.kv_heads) * dim;
    std::vector<double> score(length), error(length), p(length);
    for (size_t t = 0; t < length; ++t) {
      double dot = 0, magnitude = 0;
      for (size_t i = 0; i < dim; ++i) {
        const double term = static_cast<double>(q[head * dim + i]) * k[t * stride + kv + i];
        dot += term;
        magnitude += std::fabs(term);
      }
      score[t] = shape.scale * dot;
      error[t] = kRoundoff * static_cast<double>(dim + 8) * std::fabs(shape.scale) * magnitude;
      if (shape.softcap == 0) continue;
      score[t] = shape.softcap * std::tanh(score[t] / shape.softcap);
      error[t] += 8 * kRoundoff * std::fabs(score[t]);
    }
    const double max = *std::max_element(score.begin(), score.end());
    const double max_error = *std::max_element(error.begin(), error.end());
    double sum = 0;
    for (size_t t = 0; t < length; ++t) sum += p[t] = std::exp(score[t] - max);
    double normaliser_error = 0;
    for (size_t t = 0; t < length; ++t) {
      p[t] /= sum;
      error[t] += max_error + kRoundoff * (2 * (max - score[t]) + 8);
      normaliser_error += p[t] * error[t];
    }
    for (size_t i = 0; i < dim; ++i) {
      double value = 0, bound = 0;
      for (size_t t = 0; t < length; ++t) {
        const double element = v[t * stride + kv + i];
        value += p[t] * element;
        bound += std::fabs(element) *
                 (p[t] * (error[t] + normaliser_error + 2 * kRoundoff * Depth(length)) + kTinyExp);
      }
      Append(o, value, bound);
    }
  }
  return o;
}

Expected SwiGlu(absl::Span<const float> gate, absl::Span<const float> up) {
  Require(gate.size() == up.size());
  Expected y;
  for (size_t i = 0; i < gate.size(); ++i) {
    const double g = gate[i];
    const double value = g / (1 + std::exp(-g)) * up[i];
    Append(y, value,
           kRoundoff * std::fabs(value) * (2 * std::fabs(g) + 10) + 128 * kTiny * std::fabs(up[i]));
  }
  return y;
}

Expected Add(absl::Span<const float> a, absl::Span<const float> b) {
  Require(a.size() == b.size());
  Expected y;
  for (size_t i = 0; i < a.size(); ++i) {
    const double value = static_cast<double>(a[i]) + b[i];
    Append(y, value, kRoundoff * std::fabs(value));
  }
  return y;
}

Expected Embedding(absl::Span<const Weight> row) {
  Expected y;
  for (const Weight& w : row) Append(y, w.value, 4 * kRoundoff * w.magnitude);
  return y;
}

size_t ArgMax(absl::Span<const float> x) {
  Require(!x.empty());
  size_t best = 0;
  for (size_t i = 1; i < x.size(); ++i) {
    if (x[i] > x[best] || (std::isnan(x[best]) && !std::isnan(x[i]))) best = i;
  }
  return best;
}

}  // namespace ptxsmith::reference

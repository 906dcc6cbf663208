#include "tests/reference/projection.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "tests/reference/float_formats.h"

namespace ptxsmith::reference {
namespace {

constexpr size_t kBlock = 32;
constexpr size_t kBlockBytes = 36;

void Put16(uint16_t value, std::vector<uint8_t>& out) {
  out.push_back(static_cast<uint8_t>(value));
  out.push_back(static_cast<uint8_t>(value >> 8));
}

}  // namespace

Expected Project(const Matrix& w, absl::Span<const float> x, const Epilogue& epilogue) {
  const size_t row_bytes = w.bytes.size() / w.rows;
  Expected y;
  for (size_t r = 0; r < w.rows; ++r) {
    const std::vector<Weight> row = Decode(w.type, w.bytes.subspan(r * row_bytes, row_bytes));
    if (row.empty() || x.size() % row.size() != 0) std::abort();
    const size_t tokens = x.size() / row.size();
    y.value.resize(tokens * w.rows);
    y.bound.resize(tokens * w.rows);
    for (size_t t = 0; t < tokens; ++t) {
      const Expected one = Gemv(row, x.subspan(t * row.size(), row.size()));
      double& value = y.value[t * w.rows + r] = one.value[0];
      double& bound = y.bound[t * w.rows + r] = one.bound[0];
      const auto add = [&](double term) {
        value += term;
        bound += kRoundoff * (std::fabs(value) + bound);
      };
      if (!epilogue.bias.empty()) add(epilogue.bias[r]);
      if (!epilogue.before.empty()) add(epilogue.before[t * w.rows + r]);
    }
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

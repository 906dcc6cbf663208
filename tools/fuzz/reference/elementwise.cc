#include "tools/fuzz/reference/elementwise.h"

#include <cmath>
#include <cstdlib>
#include <numbers>

namespace ptxsmith::reference {
namespace {

// y[i] = f(i), which gives {value, bound}.
template <class F>
Expected Map(size_t count, F&& f) {
  Expected y;
  for (size_t i = 0; i < count; ++i) {
    const auto [value, bound] = f(i);
    y.value.push_back(value);
    y.bound.push_back(bound + kTiny);
  }
  return y;
}

struct Approximate {
  double value, bound;
};

Approximate GeluTanhOf(double x) {
  const double t = 2 * std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x);
  const double value = x / (1 + std::exp(-t));
  return {value, kRoundoff * std::fabs(value) * (6 * std::fabs(t) + 12) + 128 * kTiny};
}

}  // namespace

Expected Silu(absl::Span<const float> x) {
  return Map(x.size(), [&](size_t i) -> Approximate {
    const double value = x[i] / (1 + std::exp(-static_cast<double>(x[i])));
    return {value, kRoundoff * std::fabs(value) * (2 * std::fabs(x[i]) + 10) + 128 * kTiny};
  });
}

Expected GeluTanh(absl::Span<const float> x) {
  return Map(x.size(), [&](size_t i) { return GeluTanhOf(x[i]); });
}

Expected GeluErf(absl::Span<const float> x) {
  return Map(x.size(), [&](size_t i) -> Approximate {
    const double v = x[i];
    return {v * (1 + std::erf(v / std::numbers::sqrt2)) / 2, 6 * kRoundoff * std::fabs(v)};
  });
}

Expected Softcap(absl::Span<const float> x, double cap) {
  return Map(x.size(), [&](size_t i) -> Approximate {
    const double value = cap * std::tanh(x[i] / cap);
    return {value, 8 * kRoundoff * std::fabs(value) + cap * kTiny};
  });
}

Expected Multiply(absl::Span<const float> a, absl::Span<const float> b) {
  if (a.size() != b.size()) std::abort();  // the test that calls is wrong
  return Map(a.size(), [&](size_t i) -> Approximate {
    const double value = static_cast<double>(a[i]) * b[i];
    return {value, kRoundoff * std::fabs(value)};
  });
}

Expected GeGlu(absl::Span<const float> gate, absl::Span<const float> up) {
  if (gate.size() != up.size()) std::abort();
  return Map(gate.size(), [&](size_t i) -> Approximate {
    const auto [value, bound] = GeluTanhOf(gate[i]);
    const double scale = std::fabs(up[i]);
    return {value * up[i], scale * (bound + kRoundoff * std::fabs(value))};
  });
}

}  // namespace ptxsmith::reference

// Cases of convert: it rounds once or not at all, so every bit is compared.
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "ptx_templates/convert.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/float_formats.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

// Floats around every edge of the narrow formats: ties, the largest, the smallest, NaN.
constexpr float kEdges[] = {65519.0f,
                            65520.0f,
                            -65536.0f,
                            0x1p-24f,
                            0x1p-25f,
                            0x1.8p-24f,
                            0x1.002p0f,
                            0x1.006p0f,
                            0x1.01p0f,
                            0x1.03p0f,
                            0x1p-133f,
                            0x1p-134f,
                            std::numeric_limits<float>::max(),
                            std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()};

struct Pair {
  Bytes input, want;
};

Pair Narrowing(QuantType to, uint32_t n, Values values, uint64_t seed) {
  std::vector<float> x = Rng(seed).Floats(values, n);
  if (values == Values::kLargest) {
    for (uint32_t i = 0; i < n; ++i) x[i] = kEdges[(seed + i) % std::size(kEdges)];
  }
  std::vector<uint16_t> y;
  y.reserve(x.size());
  for (float v : x) {
    y.push_back(to == QuantType::kF16 ? reference::FloatToHalf(v) : reference::FloatToBFloat16(v));
  }
  return {ToBytes(x), ToBytes(y)};
}

// Every number of the narrow type in turn, or random ones. NaNs are left out: which of them comes
// out is the device's choice.
Pair Widening(QuantType from, uint32_t n, float scale, Values values, uint64_t seed) {
  Rng rng(seed);
  std::vector<uint16_t> x;
  std::vector<float> y;
  for (uint32_t i = 0; y.size() < n; ++i) {
    const auto bits = static_cast<uint16_t>(values == Values::kNormal ? i : rng.Bits());
    const float v =
        from == QuantType::kF16 ? reference::HalfToFloat(bits) : reference::BFloat16ToFloat(bits);
    if (std::isnan(v)) continue;
    x.push_back(bits);
    y.push_back(v * scale);
  }
  return {ToBytes(x), ToBytes(y)};
}

CaseMaker Case(const ConvertSpec& spec, uint32_t n, Values values, uint64_t seed) {
  const auto body = [=] {
    const float scale = spec.scale ? 0.3f : 1.0f;
    const auto [input, want] = spec.from == QuantType::kF32
                                   ? Narrowing(spec.to, n, values, seed)
                                   : Widening(spec.from, n, scale, values, seed);
    KernelCase result = CaseOf(spec, BuildConvert);
    result.args = {Bytes(want.size()), input};
    if (spec.scale) result.args.emplace_back(ToBytes(std::vector<float>{scale}));
    if (!spec.n) result.args.emplace_back(n);
    result.check = [want = want](absl::Span<const Bytes> after) {
      return CheckBytes(after[0], want);
    };
    return result;
  };
  return {FieldsText(spec), absl::StrCat("n=", n, " values=", ToString(values), " seed=", seed), n,
          body};
}

}  // namespace

std::vector<CaseMaker> ConvertCases(uint64_t seed) {
  return ElementCases(ConvertVariants(), {1, 2, 3, 5, 511, 512, 513, 65000}, seed, Case);
}

FuzzFamily ConvertFuzz() { return MakeFuzzFamily<ElementFuzz<ConvertSpec, Case>>(); }

}  // namespace ptxsmith

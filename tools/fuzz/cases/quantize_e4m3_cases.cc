// Cases of quantize_e4m3: every operation is exactly rounded, so every byte is compared.
#include "ptx_templates/quantize_e4m3.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/float_formats.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

// Around every edge of the format: ties, the largest, the smallest, NaN.
constexpr float kEdges[] = {448.0f,
                            464.0f,
                            -465.0f,
                            0x1p-6f,
                            0x1.fp-7f,
                            0x1p-9f,
                            0x1p-10f,
                            0x1.8p-10f,
                            1.0625f,
                            1.1875f,
                            -0.0f,
                            0x1p-140f,
                            std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()};

CaseMaker Case(const QuantizeE4M3Spec& spec, uint32_t n, Values values, uint64_t seed) {
  const auto body = [=] {
    std::vector<float> x = Rng(seed).Floats(values, n);
    const bool edges = spec.scaling == E4M3Scaling::kNone && values == Values::kLargest;
    for (uint32_t i = 0; edges && i < n; ++i) x[i] = kEdges[(seed + i) % std::size(kEdges)];
    float scale = 60.0f;
    if (spec.scaling == E4M3Scaling::kAbsmax) {
      scale = 0;
      for (const float v : x) scale = std::max(scale, std::fabs(v));
    }
    Bytes want;
    for (const float v : x) {
      switch (spec.scaling) {
        case E4M3Scaling::kNone:
          want.push_back(reference::FloatToE4M3(v));
          break;
        case E4M3Scaling::kFactor:
          want.push_back(reference::FloatToE4M3(v * scale));
          break;
        case E4M3Scaling::kAbsmax:
          want.push_back(reference::FloatToE4M3(scale == 0 ? v : v / scale * 448.0f));
          break;
      }
    }
    KernelCase result = CaseOf(spec, BuildQuantizeE4M3);
    result.args = {Bytes(n), ToBytes(x)};
    if (spec.scaling != E4M3Scaling::kNone) {
      result.args.emplace_back(ToBytes(std::vector<float>{scale}));
    }
    if (!spec.n) result.args.emplace_back(n);
    result.check = [want](absl::Span<const Bytes> after) { return CheckBytes(after[0], want); };
    return result;
  };
  return {FieldsText(spec), absl::StrCat("n=", n, " values=", ToString(values), " seed=", seed), n,
          body};
}

}  // namespace

std::vector<CaseMaker> QuantizeE4M3Cases(uint64_t seed) {
  return ElementCases(QuantizeE4M3Variants(), {1, 2, 3, 127, 128, 129, 5000}, seed, Case);
}

FuzzFamily QuantizeE4M3Fuzz() { return MakeFuzzFamily<ElementFuzz<QuantizeE4M3Spec, Case>>(); }

}  // namespace ptxsmith

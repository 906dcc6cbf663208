#include "ptx_templates/gemm_half.h"

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/ops.h"
#include "tools/fuzz/reference/projection.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

CaseMaker Case(const GemmHalfSpec& spec, uint32_t k, uint32_t n, uint32_t m, Values weights,
               Values inputs, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const Bytes w = ToBytes(reference::AppendF16(rng.Floats(weights, size_t{k} * n)));
    const std::vector<uint16_t> x = reference::AppendF16(rng.Floats(inputs, size_t{k} * m));
    const std::vector<float> before = rng.Floats(Values::kNormal, size_t{n} * m);
    KernelCase result = CaseOf(spec, BuildGemmHalf);
    result.same_bits = false;
    result.args = {spec.half ? Bytes(size_t{2} * n * m) : ToBytes(before), w, ToBytes(x)};
    if (!spec.k) result.args.emplace_back(k);
    if (!spec.n) result.args.emplace_back(n);
    if (!spec.m) result.args.emplace_back(m);
    const reference::Expected sums = reference::ProjectF16(
        {QuantType::kF16, w, n}, x,
        {.before = spec.residual ? absl::MakeConstSpan(before) : absl::Span<const float>()});
    const reference::Expected want = spec.half ? reference::RoundedToHalf(sums) : sums;
    result.check = [want, half = spec.half](absl::Span<const Bytes> after) {
      if (!half) return CheckClose(FromBytes<float>(after[0]), want);
      return CheckClose(reference::HalvesToFloats(FromBytes<uint16_t>(after[0])), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("k=", k, " n=", n, " m=", m, " weights=", ToString(weights),
                       " x=", ToString(inputs), " seed=", seed),
          uint64_t{k} * n * m, body};
}

struct Fuzz {
  using Spec = GemmHalfSpec;
  struct Sizes {
    uint32_t k = 32, n = 2, m = 1;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields = Fields(Field("k", &Sizes::k, AtLeast(32, 32), "columns of W"),
                                           Field("n", &Sizes::n, AtLeast(2, 2), "rows of W"),
                                           Field("m", &Sizes::m, AtLeast(1), "tokens"));
  };
  static void Fit(Spec& spec, Sizes& sizes) { RoundUp(sizes.k, spec.depth); }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    if (values == Values::kRandomBits) values = Values::kHeavyTailed;  // finite as f16
    CaseMaker maker = Case(spec, sizes.k, sizes.n, sizes.m, Values::kNormal, values, seed);
    // Blocks compute whole tiles, on tensor cores, which the emulator does quickly.
    maker.work += uint64_t{sizes.k} * 64 * 64 / 8 * spec.token_warps * spec.row_warps;
    return maker;
  }
};

}  // namespace

std::vector<CaseMaker> GemmHalfCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const GemmHalfSpec& spec : GemmHalfVariants()) {
    const uint32_t k = spec.k.value_or(64), n = spec.n.value_or(66), m = spec.m.value_or(67);
    for (Values values : kAllValues) {
      cases.push_back(Case(spec, k, n, m, Values::kNormal, values, seed));
    }
    cases.push_back(Case(spec, k, n, m, Values::kDenormals, Values::kNormal, seed));
  }
  return cases;
}

FuzzFamily GemmHalfFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

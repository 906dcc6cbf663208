#include "ptx_templates/gemm_blocked.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ptx_templates/blocked_half.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/ops.h"
#include "tools/fuzz/reference/projection.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

// silu of the first half of each row of n times the second.
reference::Expected Gated(const reference::Expected& sums, size_t n) {
  reference::Expected gate, up;
  for (size_t i = 0; i < sums.value.size(); ++i) {
    reference::Expected& part = i % n < n / 2 ? gate : up;
    part.value.push_back(sums.value[i]);
    part.bound.push_back(sums.bound[i]);
  }
  return reference::SwiGluOf(gate, up);
}

CaseMaker Case(const GemmBlockedSpec& spec, uint32_t k, uint32_t n, uint32_t m, Values weights,
               Values inputs, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const std::vector<uint16_t> w = reference::AppendF16(rng.Floats(weights, size_t{k} * n));
    const std::vector<uint16_t> x = reference::AppendF16(rng.Floats(inputs, size_t{k} * m));
    const std::vector<float> before = rng.Floats(Values::kNormal, size_t{n} * m);
    KernelCase result = CaseOf(spec, BuildGemmBlocked);
    result.same_bits = false;
    const uint64_t outputs = spec.glu ? BlockedCount(m, n / 2) : uint64_t{n} * m;
    result.args = {spec.half || spec.glu ? Bytes(2 * outputs) : ToBytes(before),
                   ToBytes(reference::BlockedHalves(w, k)),
                   ToBytes(reference::BlockedHalves(x, k))};
    if (!spec.k) result.args.emplace_back(k);
    if (!spec.n) result.args.emplace_back(n);
    if (!spec.m) result.args.emplace_back(m);
    const reference::Expected sums = reference::ProjectF16(
        {QuantType::kF16, ToBytes(w), n}, x,
        {.before = spec.residual ? absl::MakeConstSpan(before) : absl::Span<const float>()});
    if (!spec.half && !spec.glu) {
      result.check = [sums](absl::Span<const Bytes> after) {
        return CheckClose(FromBytes<float>(after[0]), sums);
      };
      return result;
    }
    const reference::Expected want = reference::RoundedToHalf(spec.glu ? Gated(sums, n) : sums);
    result.check = [want, n, m, glu = spec.glu](absl::Span<const Bytes> after) {
      std::vector<uint16_t> halves = FromBytes<uint16_t>(after[0]);
      if (glu) halves = reference::RowsOfBlocks(halves, m, n / 2);
      return CheckClose(reference::HalvesToFloats(halves), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("k=", k, " n=", n, " m=", m, " weights=", ToString(weights),
                       " x=", ToString(inputs), " seed=", seed),
          uint64_t{k} * n * m, body};
}

struct Fuzz {
  using Spec = GemmBlockedSpec;
  struct Sizes {
    uint32_t k = 64, n = 2, m = 1;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields = Fields(Field("k", &Sizes::k, AtLeast(64, 64), "columns of W"),
                                           Field("n", &Sizes::n, AtLeast(2, 2), "rows of W"),
                                           Field("m", &Sizes::m, AtLeast(1), "tokens"));
  };
  static void Fit(Spec& spec, Sizes& sizes) {
    if (spec.rows < kBlockRows) spec.glu = false;
    if (spec.glu) {
      spec.half = spec.residual = false;
      RoundUp(sizes.n, spec.rows);
    }
    Limit(spec.blocks, 8);
    constexpr uint32_t kRoom = 220 * 1024;
    spec.stages = std::min(spec.stages, kRoom / (128 * (spec.tokens + spec.rows)));
  }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    if (values == Values::kRandomBits) values = Values::kHeavyTailed;  // finite as f16
    CaseMaker maker = Case(spec, sizes.k, sizes.n, sizes.m, Values::kNormal, values, seed);
    // Blocks compute whole tiles, on tensor cores, which the emulator does quickly.
    maker.work += uint64_t{sizes.k} * spec.tokens * spec.rows / 8;
    return maker;
  }
};

}  // namespace

std::vector<CaseMaker> GemmBlockedCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const GemmBlockedSpec& spec : GemmBlockedVariants()) {
    const uint32_t k = spec.k.value_or(192), n = spec.n.value_or(spec.glu ? 384 : 258),
                   m = spec.m.value_or(131);
    for (Values values : kAllValues) {
      cases.push_back(Case(spec, k, n, m, Values::kNormal, values, seed));
    }
    cases.push_back(Case(spec, k, n, m, Values::kDenormals, Values::kNormal, seed));
  }
  return cases;
}

FuzzFamily GemmBlockedFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

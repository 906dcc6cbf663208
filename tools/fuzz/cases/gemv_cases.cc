#include "ptx_templates/gemv.h"

#include "absl/strings/str_cat.h"
#include "ptx_templates/gemv_q8_1.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/projection.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

template <class Spec>
absl::StatusOr<KernelSpec> BuildOf(const Spec& spec, const Target& target) {
  if constexpr (std::is_same_v<Spec, GemvSpec>) {
    return BuildGemv(spec, target);
  } else {
    return BuildGemvQ8_1(spec, target);
  }
}

template <class Spec>
CaseMaker Case(const Spec& spec, uint32_t k, uint32_t n, Values weights, Values inputs,
               uint64_t seed) {
  constexpr bool kQ8_1 = std::is_same_v<Spec, GemvQ8_1Spec>;
  const auto body = [=] {
    Rng rng(seed);
    const QuantTypeInfo& info = Info(spec.quant);
    const Bytes w = rng.Blocks(spec.quant, size_t{k} / info.block_weights * n, weights);
    std::vector<float> x = rng.Floats(inputs, size_t{k} * spec.m);
    const std::vector<float> bias = rng.Floats(Values::kNormal, n);
    const std::vector<float> before = rng.Floats(Values::kNormal, size_t{n} * spec.m);
    KernelCase result = CaseOf<Spec>(spec, BuildOf<Spec>);
    result.args = {ToBytes(before), w};
    if (kQ8_1) {
      const Bytes blocks = reference::QuantizeQ8_1(x);
      x = reference::DequantizeQ8_1(blocks);
      result.args.emplace_back(blocks);
    } else {
      result.args.emplace_back(ToBytes(x));
    }
    if (spec.bias) result.args.emplace_back(ToBytes(bias));
    if (!spec.k) result.args.emplace_back(k);
    if (!spec.n) result.args.emplace_back(n);
    const reference::Expected want = reference::Project(
        {spec.quant, w, n}, x,
        {.bias = spec.bias ? absl::MakeConstSpan(bias) : absl::Span<const float>(),
         .before = spec.residual ? absl::MakeConstSpan(before) : absl::Span<const float>()});
    result.check = [want](absl::Span<const Bytes> after) {
      return CheckClose(FromBytes<float>(after[0]), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("k=", k, " n=", n, " weights=", ToString(weights), " x=", ToString(inputs),
                       " seed=", seed),
          uint64_t{k} * n * spec.m, body};
}

template <class Spec>
std::vector<CaseMaker> Cases(const std::vector<Spec>& variants, uint64_t seed) {
  constexpr uint64_t kSmall = 200'000;  // products cheap enough for every distribution
  std::vector<CaseMaker> cases;
  const auto add = [&](const Spec& spec, uint32_t k, uint32_t n) {
    const uint64_t work = uint64_t{k} * n * spec.m;
    for (Values values : kAllValues) {
      if (values != Values::kNormal && work > kSmall) continue;
      cases.push_back(Case(spec, k, n, values, values, seed));
    }
    if (work > kSmall) return;
    cases.push_back(Case(spec, k, n, Values::kLargest, Values::kNormal, seed));
    cases.push_back(Case(spec, k, n, Values::kNormal, Values::kHeavyTailed, seed));
  };
  for (const Spec& spec : variants) {
    const uint32_t chunk = DecoderFor(spec.quant).chunk_weights;
    for (uint32_t chunks : {1, 9, 12}) {
      if (spec.k && chunks > 1) continue;
      for (uint32_t n : {1, 31}) {
        if (spec.n && n > 1) continue;
        add(spec, spec.k.value_or(chunks * chunk), spec.n.value_or(n));
      }
    }
  }
  return cases;
}

template <class GemvLike>
struct Fuzz {
  using Spec = GemvLike;
  using Sizes = ProductSizes;
  static void Fit(Spec& spec, Sizes& sizes) {
    RoundUp(sizes.k, DecoderFor(spec.quant).chunk_weights);
  }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    return Case(spec, sizes.k, sizes.n, values, values, seed);
  }
};

}  // namespace

std::vector<CaseMaker> GemvCases(uint64_t seed) { return Cases(GemvVariants(), seed); }
std::vector<CaseMaker> GemvQ8_1Cases(uint64_t seed) { return Cases(GemvQ8_1Variants(), seed); }

FuzzFamily GemvFuzz() { return MakeFuzzFamily<Fuzz<GemvSpec>>(); }
FuzzFamily GemvQ8_1Fuzz() { return MakeFuzzFamily<Fuzz<GemvQ8_1Spec>>(); }

}  // namespace ptxsmith

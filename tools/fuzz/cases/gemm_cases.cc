#include "ptx_templates/gemm.h"

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/float_formats.h"
#include "tools/fuzz/reference/projection.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

CaseMaker Case(const GemmSpec& spec, uint32_t k, uint32_t n, uint32_t m, Values weights,
               Values inputs, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const Bytes w = rng.Blocks(spec.quant, size_t{k} / Info(spec.quant).block_weights * n, weights);
    const std::vector<uint16_t> x = reference::AppendF16(rng.Floats(inputs, size_t{k} * m));
    const std::vector<float> bias = rng.Floats(Values::kNormal, n);
    const std::vector<float> before = rng.Floats(Values::kNormal, size_t{n} * m);
    KernelCase result = CaseOf(spec, BuildGemm);
    result.same_bits = false;
    result.args = {ToBytes(before), w, ToBytes(x)};
    if (spec.bias) result.args.emplace_back(ToBytes(bias));
    if (!spec.k) result.args.emplace_back(k);
    if (!spec.n) result.args.emplace_back(n);
    if (!spec.m) result.args.emplace_back(m);
    const reference::Expected want = reference::ProjectF16(
        {spec.quant, w, n}, x,
        {.bias = spec.bias ? absl::MakeConstSpan(bias) : absl::Span<const float>(),
         .before = spec.residual ? absl::MakeConstSpan(before) : absl::Span<const float>()});
    result.check = [want](absl::Span<const Bytes> after) {
      return CheckClose(FromBytes<float>(after[0]), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("k=", k, " n=", n, " m=", m, " weights=", ToString(weights),
                       " x=", ToString(inputs), " seed=", seed),
          uint64_t{k} * n * m, body};
}

struct Fuzz {
  using Spec = GemmSpec;
  struct Sizes {
    uint32_t k = 32, n = 1, m = 1;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields = Fields(
        Field("k", &Sizes::k, AtLeast(32, 32), "weights per row"),
        Field("n", &Sizes::n, AtLeast(1), "rows"), Field("m", &Sizes::m, AtLeast(1), "tokens"));
  };
  static void Fit(Spec& spec, Sizes& sizes) {
    RoundUp(sizes.k, DecoderFor(spec.quant).chunk_weights);
  }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    // Weights within the range of f16: the kernel's limit.
    const bool small = values == Values::kDenormals || values == Values::kZeros;
    return Case(spec, sizes.k, sizes.n, sizes.m, small ? values : Values::kNormal, values, seed);
  }
};

}  // namespace

std::vector<CaseMaker> GemmCases(uint64_t seed) {
  struct Distribution {
    Values weights, inputs;
  };
  // Weights within the range of f16: the kernel's limit.
  constexpr Distribution kDistributions[] = {{Values::kNormal, Values::kNormal},
                                             {Values::kNormal, Values::kHeavyTailed},
                                             {Values::kNormal, Values::kLargest},
                                             {Values::kDenormals, Values::kNormal},
                                             {Values::kZeros, Values::kNormal}};
  std::vector<CaseMaker> cases;
  const auto add = [&](const GemmSpec& spec, uint32_t k, uint32_t n, uint32_t m) {
    for (const Distribution& d : kDistributions) {
      const bool plain = d.weights == Values::kNormal && d.inputs == Values::kNormal;
      if (!plain && uint64_t{k} * n * m > 1'000'000) continue;
      cases.push_back(Case(spec, k, n, m, d.weights, d.inputs, seed));
    }
  };
  for (const GemmSpec& spec : GemmVariants()) {
    if (spec.k) {
      add(spec, *spec.k, *spec.n, *spec.m);
      continue;
    }
    add(spec, 256, 15, 31);
    add(spec, 512, 64, 1);
    add(spec, 256, 17, 33);
  }
  return cases;
}

FuzzFamily GemmFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

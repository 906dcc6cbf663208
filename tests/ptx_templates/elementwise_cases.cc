#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ptx_templates/elementwise.h"
#include "tests/ptx_templates/kernel_cases.h"
#include "tests/util/expect_close.h"
#include "tests/util/rng.h"

namespace ptxsmith {
namespace {

// Both families take two inputs; residual_add overwrites the first, swiglu has an output of its
// own.
KernelCase Make(const SwigluSpec& spec, const std::vector<float>& gate,
                const std::vector<float>& up) {
  KernelCase result = CaseOf(spec, BuildSwiglu);
  result.args = {Bytes(gate.size() * sizeof(float)), ToBytes(gate), ToBytes(up)};
  const reference::Expected want = reference::SwiGlu(gate, up);
  result.check = [want](absl::Span<const Bytes> after) {
    return IsClose(FromBytes<float>(after[0]), want);
  };
  return result;
}

KernelCase Make(const ResidualAddSpec& spec, const std::vector<float>& x,
                const std::vector<float>& y) {
  KernelCase result = CaseOf(spec, BuildResidualAdd);
  result.args = {ToBytes(x), ToBytes(y)};
  const reference::Expected want = reference::Add(x, y);
  result.check = [want](absl::Span<const Bytes> after) {
    return IsClose(FromBytes<float>(after[0]), want);
  };
  return result;
}

template <class Spec>
CaseMaker Case(const Spec& spec, uint32_t n, Values a, Values b, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    std::vector<float> first = rng.Floats(a, n);
    // Gates around the places where the exponential reaches zero and infinity.
    if (a == Values::kHeavyTailed) {
      for (uint32_t i = 0; i < n; i += 3) first[i] = static_cast<float>(200 * rng.Uniform() - 100);
    }
    KernelCase result = Make(spec, first, rng.Floats(b, n));
    if (!spec.n) result.args.emplace_back(n);
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("n=", n, " first=", ToString(a), " second=", ToString(b), " seed=", seed), n,
          body};
}

template <class Spec>
std::vector<CaseMaker> Cases(const std::vector<Spec>& variants, uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const Spec& spec : variants) {
    for (uint32_t n : {1, 31, 33, 255, 256, 257, 10007}) {
      if (spec.n && n > 1) continue;
      for (Values values : kAllValues) {
        cases.push_back(Case(spec, spec.n.value_or(n), values, values, seed));
        if (values == Values::kNormal) continue;
        cases.push_back(Case(spec, spec.n.value_or(n), values, Values::kNormal, seed));
      }
    }
  }
  return cases;
}

}  // namespace

std::vector<CaseMaker> SwigluCases(uint64_t seed) { return Cases(SwigluVariants(), seed); }
std::vector<CaseMaker> ResidualAddCases(uint64_t seed) {
  return Cases(ResidualAddVariants(), seed);
}

}  // namespace ptxsmith

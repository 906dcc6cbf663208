#include "ptx_templates/layer_norm.h"

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/norms.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

// `mean` is added to every element: the deviation must survive it.
CaseMaker Case(const LayerNormSpec& spec, uint32_t n, uint32_t rows, Values values, float mean,
               bool in_place, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    std::vector<float> x = rng.Floats(values, size_t{n} * rows);
    for (float& v : x) v += mean;
    const std::vector<float> weight = rng.Floats(Values::kNormal, n);
    std::vector<float> bias;
    if (spec.bias) bias = rng.Floats(Values::kHeavyTailed, n);
    KernelCase result = CaseOf(spec, BuildLayerNorm);
    result.args = {Bytes(x.size() * sizeof(float)), ToBytes(x), ToBytes(weight)};
    if (in_place) result.args[0] = SameAs{1};
    if (spec.bias) result.args.emplace_back(ToBytes(bias));
    if (!spec.n) result.args.emplace_back(n);
    if (!spec.rows) result.args.emplace_back(rows);
    reference::Expected want;
    for (uint32_t r = 0; r < rows; ++r) {
      const reference::Expected row = reference::LayerNorm(
          absl::MakeConstSpan(x).subspan(size_t{r} * n, n), weight, bias, spec.eps);
      want.value.insert(want.value.end(), row.value.begin(), row.value.end());
      want.bound.insert(want.bound.end(), row.bound.begin(), row.bound.end());
    }
    result.check = [want, in_place](absl::Span<const Bytes> after) {
      return CheckClose(FromBytes<float>(after[in_place ? 1 : 0]), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("n=", n, " rows=", rows, " values=", ToString(values), " mean=", mean,
                       in_place ? " in place" : "", " seed=", seed),
          uint64_t{n} * rows, body};
}

struct Fuzz {
  using Spec = LayerNormSpec;
  using Sizes = RowSizes;
  static void Fit(Spec&, Sizes&) {}
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    const float mean = seed % 3 == 0 ? 1000.0f : 0.0f;
    return Case(spec, sizes.n, sizes.rows, values, mean, seed % 4 == 0, seed);
  }
};

}  // namespace

std::vector<CaseMaker> LayerNormCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const LayerNormSpec& spec : LayerNormVariants()) {
    for (uint32_t n : {1, 31, 32, 33, 127, 128, 129, 257, 1000}) {
      if (spec.n && n > 1) continue;
      for (uint32_t rows : {1, 3}) {
        if (spec.rows && rows > 1) continue;
        const uint32_t row_count = spec.rows.value_or(rows);
        for (Values values : kAllValues) {
          cases.push_back(Case(spec, spec.n.value_or(n), row_count, values, 0, false, seed));
        }
        cases.push_back(
            Case(spec, spec.n.value_or(n), row_count, Values::kNormal, 1000, false, seed));
      }
    }
    cases.push_back(
        Case(spec, spec.n.value_or(999), spec.rows.value_or(2), Values::kNormal, 1, true, seed));
  }
  return cases;
}

FuzzFamily LayerNormFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

#include "ptx_templates/softmax.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/norms.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

enum class Placement { kApart, kInPlace };

// With `masked`, all elements of each row but the first and every fifth are minus infinity.
CaseMaker Case(const SoftmaxSpec& spec, uint32_t n, uint32_t rows, Values values, bool masked,
               Placement placement, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    std::vector<float> x = rng.Floats(values, size_t{n} * rows);
    // Minus infinity after scaling.
    const float mask = spec.scale > 0 ? -std::numeric_limits<float>::infinity()
                                      : std::numeric_limits<float>::infinity();
    for (size_t i = 0; masked && i < x.size(); ++i) {
      if (i % n % 5 != 0) x[i] = mask;
    }
    KernelCase result = CaseOf(spec, BuildSoftmax);
    result.args = {Bytes(x.size() * sizeof(float)), ToBytes(x)};
    const size_t output = placement == Placement::kInPlace ? 1 : 0;
    if (output == 1) result.args[0] = SameAs{1};
    if (!spec.n) result.args.emplace_back(n);
    if (!spec.rows) result.args.emplace_back(rows);
    reference::Expected want;
    for (uint32_t r = 0; r < rows; ++r) {
      const reference::Expected row = reference::Softmax(
          absl::MakeConstSpan(x).subspan(size_t{r} * n, n), static_cast<double>(spec.scale));
      want.value.insert(want.value.end(), row.value.begin(), row.value.end());
      want.bound.insert(want.bound.end(), row.bound.begin(), row.bound.end());
    }
    result.check = [want, output](absl::Span<const Bytes> after) {
      return CheckClose(FromBytes<float>(after[output]), want);
    };
    return result;
  };
  return {
      FieldsText(spec),
      absl::StrCat("n=", n, " rows=", rows, " values=", ToString(values), masked ? " masked" : "",
                   placement == Placement::kInPlace ? " in place" : "", " seed=", seed),
      uint64_t{n} * rows, body};
}

struct Fuzz {
  using Spec = SoftmaxSpec;
  using Sizes = RowSizes;
  static void Fit(Spec&, Sizes&) {}
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    const Placement placement = seed % 4 == 0 ? Placement::kInPlace : Placement::kApart;
    return Case(spec, sizes.n, sizes.rows, values, seed % 3 == 0, placement, seed);
  }
};

}  // namespace

std::vector<CaseMaker> SoftmaxCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const SoftmaxSpec& spec : SoftmaxVariants()) {
    for (uint32_t n : {1, 31, 32, 33, 127, 128, 129, 257, 1000}) {
      if (spec.n && n > 1) continue;
      for (uint32_t rows : {1, 3}) {
        if (spec.rows && rows > 1) continue;
        const uint32_t row_count = spec.rows.value_or(rows);
        for (Values values : kAllValues) {
          cases.push_back(
              Case(spec, spec.n.value_or(n), row_count, values, false, Placement::kApart, seed));
        }
        cases.push_back(Case(spec, spec.n.value_or(n), row_count, Values::kNormal, true,
                             Placement::kApart, seed));
      }
    }
    cases.push_back(Case(spec, spec.n.value_or(999), spec.rows.value_or(2), Values::kHeavyTailed,
                         false, Placement::kInPlace, seed));
  }
  return cases;
}

FuzzFamily SoftmaxFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

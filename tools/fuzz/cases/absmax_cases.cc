// Cases of absmax: a maximum is exact, so every bit is compared.
#include "ptx_templates/absmax.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

CaseMaker Case(const AbsmaxSpec& spec, uint32_t n, uint32_t rows, Values values, uint64_t seed) {
  const auto body = [=] {
    std::vector<float> x = Rng(seed).Floats(values, size_t{n} * rows);
    // In large rows NaNs, which do not count, and the largest value where few threads look.
    if (n > 20 && seed % 2 == 1) x[n / 2] = std::numeric_limits<float>::quiet_NaN();
    if (n > 20) x[n - 1] = -1.5f * std::fabs(x[n - 1]);
    std::vector<float> want(rows);
    for (size_t i = 0; i < x.size(); ++i) {
      want[i / n] = std::fmax(want[i / n], std::fabs(x[i]));
    }
    KernelCase result = CaseOf(spec, BuildAbsmax);
    result.args = {Bytes(rows * sizeof(float)), ToBytes(x)};
    if (!spec.n) result.args.emplace_back(n);
    if (!spec.rows) result.args.emplace_back(rows);
    result.check = [want](absl::Span<const Bytes> after) {
      return CheckBits(FromBytes<float>(after[0]), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("n=", n, " rows=", rows, " values=", ToString(values), " seed=", seed),
          uint64_t{n} * rows, body};
}

struct Fuzz {
  using Spec = AbsmaxSpec;
  using Sizes = RowSizes;
  static void Fit(Spec&, Sizes&) {}
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    return Case(spec, sizes.n, sizes.rows, values, seed);
  }
};

}  // namespace

std::vector<CaseMaker> AbsmaxCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const AbsmaxSpec& spec : AbsmaxVariants()) {
    for (uint32_t n : {1, 31, 32, 33, 257, 1023, 1024, 5000}) {
      if (spec.n && n > 1) continue;
      const uint32_t rows = spec.rows.value_or(3);
      for (Values values : kAllValues) {
        cases.push_back(Case(spec, spec.n.value_or(n), rows, values, seed));
      }
    }
  }
  return cases;
}

FuzzFamily AbsmaxFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

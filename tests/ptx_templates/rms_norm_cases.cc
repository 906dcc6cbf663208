#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ptx_templates/rms_norm.h"
#include "tests/ptx_templates/kernel_cases.h"
#include "tests/util/expect_close.h"
#include "tests/util/rng.h"

namespace ptxsmith {
namespace {

CaseMaker Case(const RmsNormSpec& spec, uint32_t n, uint32_t rows, Values values, bool in_place,
               uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const std::vector<float> x = rng.Floats(values, size_t{n} * rows);
    const std::vector<float> weight = rng.Floats(Values::kNormal, n);
    KernelCase result = CaseOf(spec, BuildRmsNorm);
    result.args = {Bytes(x.size() * sizeof(float)), ToBytes(x), ToBytes(weight)};
    if (in_place) result.args[0] = SameAs{1};
    if (!spec.n) result.args.emplace_back(n);
    if (!spec.rows) result.args.emplace_back(rows);
    reference::Expected want;
    for (uint32_t r = 0; r < rows; ++r) {
      const reference::Expected row =
          reference::RmsNorm(absl::MakeConstSpan(x).subspan(size_t{r} * n, n), weight, spec.eps);
      want.value.insert(want.value.end(), row.value.begin(), row.value.end());
      want.bound.insert(want.bound.end(), row.bound.begin(), row.bound.end());
    }
    result.check = [want, in_place](absl::Span<const Bytes> after) {
      return IsClose(FromBytes<float>(after[in_place ? 1 : 0]), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("n=", n, " rows=", rows, " values=", ToString(values),
                       in_place ? " in place" : "", " seed=", seed),
          uint64_t{n} * rows, body};
}

}  // namespace

std::vector<CaseMaker> RmsNormCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const RmsNormSpec& spec : RmsNormVariants()) {
    for (uint32_t n : {1, 31, 32, 33, 127, 128, 129, 257, 1000}) {
      if (spec.n && n > 1) continue;
      for (uint32_t rows : {1, 3}) {
        if (spec.rows && rows > 1) continue;
        for (Values values : kAllValues) {
          // Without eps the mean square of these is zero in f32, and the result infinite.
          const bool vanishes = values == Values::kZeros || values == Values::kDenormals;
          if (spec.eps == 0 && vanishes) continue;
          cases.push_back(
              Case(spec, spec.n.value_or(n), spec.rows.value_or(rows), values, false, seed));
        }
      }
    }
    cases.push_back(
        Case(spec, spec.n.value_or(999), spec.rows.value_or(2), Values::kNormal, true, seed));
  }
  return cases;
}

}  // namespace ptxsmith

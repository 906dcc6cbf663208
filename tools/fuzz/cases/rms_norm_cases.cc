#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ptx_templates/blocked_half.h"
#include "ptx_templates/rms_norm.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/float_formats.h"
#include "tools/fuzz/reference/ops.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

CaseMaker Case(const RmsNormSpec& spec, uint32_t n, uint32_t rows, Values values,
               bool may_be_in_place, uint64_t seed) {
  const bool in_place = may_be_in_place && !spec.half;
  const auto body = [=] {
    Rng rng(seed);
    std::vector<float> x = rng.Floats(values, size_t{n} * rows);
    const std::vector<float> weight = rng.Floats(Values::kNormal, n);
    const std::vector<float> residual = rng.Floats(Values::kHeavyTailed, x.size());
    KernelCase result = CaseOf(spec, BuildRmsNorm);
    const size_t outputs = spec.blocked ? BlockedCount(rows, n) : x.size();
    result.args = {Bytes(outputs * (spec.half ? 2 : 4)), ToBytes(x)};
    if (spec.residual) {
      result.args.emplace_back(ToBytes(residual));
      // One rounding, as the kernel's: what it writes back is known in every bit.
      for (size_t i = 0; i < x.size(); ++i) x[i] += residual[i];
    }
    result.args.emplace_back(ToBytes(weight));
    if (in_place) result.args[0] = SameAs{size_t{spec.residual ? 2u : 1u}};
    if (!spec.n) result.args.emplace_back(n);
    if (!spec.rows) result.args.emplace_back(rows);
    reference::Expected want;
    for (uint32_t r = 0; r < rows; ++r) {
      const reference::Expected row =
          reference::RmsNorm(absl::MakeConstSpan(x).subspan(size_t{r} * n, n), weight, spec.eps);
      want.value.insert(want.value.end(), row.value.begin(), row.value.end());
      want.bound.insert(want.bound.end(), row.bound.begin(), row.bound.end());
    }
    if (spec.half) want = reference::RoundedToHalf(want);
    result.check = [=](absl::Span<const Bytes> after) {
      const size_t output = !in_place ? 0 : spec.residual ? 2 : 1;
      const Bytes& y = after[output];
      std::vector<uint16_t> halves;
      if (spec.half) halves = FromBytes<uint16_t>(y);
      if (spec.blocked) halves = reference::RowsOfBlocks(halves, rows, n);
      Verdict close =
          CheckClose(spec.half ? reference::HalvesToFloats(halves) : FromBytes<float>(y), want);
      if (!close || !spec.residual) return close;
      Verdict sum = CheckBits(FromBytes<float>(after[1]), x);
      return sum ? close : sum;
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("n=", n, " rows=", rows, " values=", ToString(values),
                       in_place ? " in place" : "", " seed=", seed),
          uint64_t{n} * rows, body};
}

struct Fuzz {
  using Spec = RmsNormSpec;
  using Sizes = RowSizes;
  static void Fit(Spec& spec, Sizes& sizes) {
    spec.blocked = spec.blocked && spec.half;
    if (spec.blocked) RoundUp(sizes.n, kBlockColumns);
  }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    return Case(spec, sizes.n, sizes.rows, values, seed % 4 == 0, seed);
  }
};

}  // namespace

std::vector<CaseMaker> RmsNormCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const RmsNormSpec& spec : RmsNormVariants()) {
    for (uint32_t n : {1, 31, 32, 33, 127, 128, 129, 257, 1000}) {
      if (spec.n && n > 1) continue;
      if (spec.blocked) RoundUp(n, kBlockColumns);
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
    cases.push_back(Case(spec, spec.n.value_or(spec.blocked ? 960 : 999), spec.rows.value_or(2),
                         Values::kNormal, true, seed));
  }
  return cases;
}

FuzzFamily RmsNormFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

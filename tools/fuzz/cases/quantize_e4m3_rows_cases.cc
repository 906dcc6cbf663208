#include "ptx_templates/quantize_e4m3_rows.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/float_formats.h"
#include "tools/fuzz/reference/ops.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

CaseMaker Case(const QuantizeE4M3RowsSpec& spec, uint32_t k, uint32_t rows, Values values,
               uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const std::vector<uint16_t> x = reference::AppendF16(rng.Floats(values, size_t{k} * rows));
    KernelCase result = CaseOf(spec, BuildQuantizeE4M3Rows);
    result.args = {Bytes(x.size()), Bytes(rows * sizeof(float)), ToBytes(x)};
    if (!spec.k) result.args.emplace_back(k);
    if (!spec.rows) result.args.emplace_back(rows);
    result.check = [=](absl::Span<const Bytes> after) {
      const std::vector<float> scales = FromBytes<float>(after[1]);
      std::vector<float> want_scales, got;
      reference::Expected want;
      for (uint32_t r = 0; r < rows; ++r) {
        float largest = 0;
        for (uint32_t i = 0; i < k; ++i) {
          largest = std::max(largest, std::fabs(reference::HalfToFloat(x[size_t{r} * k + i])));
        }
        want_scales.push_back(largest / 448.0f);
        for (uint32_t i = 0; i < k; ++i) {
          const size_t at = size_t{r} * k + i;
          got.push_back(reference::E4M3ToFloat(after[0][at]) * scales[r]);
          // Half of the last of four bits, or half of the least number; and a few roundings of f32.
          const double value = reference::HalfToFloat(x[at]);
          want.value.push_back(value);
          want.bound.push_back(std::fabs(value) * (0x1p-4 + 0x1p-21) +
                               static_cast<double>(largest) / 448 * 0x1p-10 + reference::kTiny);
        }
      }
      Verdict scale = CheckBits(scales, want_scales);
      return scale ? CheckClose(got, want) : scale;
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("k=", k, " rows=", rows, " values=", ToString(values), " seed=", seed),
          uint64_t{2} * k * rows, body};
}

struct Fuzz {
  using Spec = QuantizeE4M3RowsSpec;
  struct Sizes {
    uint32_t k = 8, rows = 1;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields = Fields(Field("k", &Sizes::k, AtLeast(8, 8), "elements per row"),
                                           Field("rows", &Sizes::rows, Between(1, 33), "rows"));
  };
  static void Fit(Spec&, Sizes&) {}
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    if (values == Values::kRandomBits) values = Values::kLargest;  // finite as f16
    return Case(spec, sizes.k, sizes.rows, values, seed);
  }
};

}  // namespace

std::vector<CaseMaker> QuantizeE4M3RowsCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const QuantizeE4M3RowsSpec& spec : QuantizeE4M3RowsVariants()) {
    for (uint32_t k : {8, 264, 1032}) {
      if (spec.k && k > 8) continue;
      for (Values values : kAllValues) {
        cases.push_back(Case(spec, spec.k.value_or(k), spec.rows.value_or(3), values, seed));
      }
    }
  }
  return cases;
}

FuzzFamily QuantizeE4M3RowsFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

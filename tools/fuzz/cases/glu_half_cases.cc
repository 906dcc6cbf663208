#include "ptx_templates/glu_half.h"

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/elementwise.h"
#include "tools/fuzz/reference/ops.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

CaseMaker Case(const GluHalfSpec& spec, uint32_t n, uint32_t rows, Values values, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const std::vector<uint16_t> g = reference::AppendF16(rng.Floats(values, size_t{2} * n * rows));
    const std::vector<float> x = reference::HalvesToFloats(g);
    std::vector<float> gate, up;
    for (uint32_t r = 0; r < rows; ++r) {
      const auto row = x.begin() + size_t{2} * n * r;
      gate.insert(gate.end(), row, row + n);
      up.insert(up.end(), row + n, row + 2 * n);
    }
    KernelCase result = CaseOf(spec, BuildGluHalf);
    result.args = {Bytes(size_t{2} * n * rows), ToBytes(g)};
    if (!spec.n) result.args.emplace_back(n);
    if (!spec.rows) result.args.emplace_back(rows);
    const reference::Expected want = reference::RoundedToHalf(
        spec.gelu ? reference::GeGlu(gate, up) : reference::SwiGlu(gate, up));
    result.check = [want](absl::Span<const Bytes> after) {
      return CheckClose(reference::HalvesToFloats(FromBytes<uint16_t>(after[0])), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("n=", n, " rows=", rows, " values=", ToString(values), " seed=", seed),
          uint64_t{n} * rows, body};
}

struct Fuzz {
  using Spec = GluHalfSpec;
  using Sizes = RowSizes;
  static void Fit(Spec&, Sizes& sizes) { RoundUp(sizes.n, 8); }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    return Case(spec, sizes.n, sizes.rows, values, seed);
  }
};

}  // namespace

std::vector<CaseMaker> GluHalfCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const GluHalfSpec& spec : GluHalfVariants()) {
    for (uint32_t n : {8, 264, 2056}) {
      if (spec.n && n > 8) continue;
      for (Values values : kAllValues) {
        cases.push_back(Case(spec, spec.n.value_or(n), spec.rows.value_or(3), values, seed));
      }
    }
  }
  return cases;
}

FuzzFamily GluHalfFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

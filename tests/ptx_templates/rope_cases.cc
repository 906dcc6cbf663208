#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ptx_templates/rope.h"
#include "tests/ptx_templates/kernel_cases.h"
#include "tests/util/expect_close.h"
#include "tests/util/rng.h"

namespace ptxsmith {
namespace {

CaseMaker Case(const RopeSpec& spec, const std::vector<uint32_t>& positions, double base,
               bool with_factors, Values values, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const size_t row_elements = size_t{spec.heads} * spec.head_dim;
    const std::vector<float> x = rng.Floats(values, row_elements * positions.size());
    std::vector<float> factors;
    if (with_factors) {
      for (uint32_t i = 0; i < spec.rope_dim / 2; ++i) {
        factors.push_back(1 + static_cast<float>(8 * rng.Uniform()));
      }
    }
    KernelCase result = CaseOf(spec, BuildRope);
    result.args = {ToBytes(x), ToBytes(positions),
                   ToBytes(RopeRates(spec.rope_dim, base, 1.0, factors))};
    if (!spec.rows) result.args.emplace_back(static_cast<uint32_t>(positions.size()));

    reference::RopeSpec rule;
    rule.pairs = spec.pairing == RopePairing::kAdjacent ? reference::RopePairs::kAdjacent
                                                        : reference::RopePairs::kHalfSplit;
    rule.base = base;
    rule.dims = spec.rope_dim;
    rule.factors = factors;
    rule.angle_roundings = 0x1p-23;  // rates are 48 bits wide: the angle is as good as exact
    reference::Expected want;
    for (size_t r = 0; r < positions.size(); ++r) {
      const reference::Expected row =
          reference::Rope(absl::MakeConstSpan(x).subspan(r * row_elements, row_elements),
                          spec.head_dim, positions[r], rule);
      want.value.insert(want.value.end(), row.value.begin(), row.value.end());
      want.bound.insert(want.bound.end(), row.bound.begin(), row.bound.end());
    }
    result.check = [want](absl::Span<const Bytes> after) {
      return IsClose(FromBytes<float>(after[0]), want);
    };
    return result;
  };
  return {
      FieldsText(spec),
      absl::StrCat("rows=", positions.size(), " first_position=", positions[0], " base=", base,
                   with_factors ? " factors" : "", " values=", ToString(values), " seed=", seed),
      uint64_t{spec.heads} * spec.head_dim * positions.size(), body};
}

}  // namespace

std::vector<CaseMaker> RopeCases(uint64_t seed) {
  constexpr uint32_t kLastPosition = (1u << 24) - 1;
  const uint32_t other = static_cast<uint32_t>(seed * 7919 % 100000);
  std::vector<CaseMaker> cases;
  for (const RopeSpec& spec : RopeVariants()) {
    for (uint32_t rows : {1, 2, 5}) {
      if (spec.rows && rows != *spec.rows) continue;
      for (uint32_t position : {0u, 1u, 127u, 4096u, other, kLastPosition}) {
        std::vector<uint32_t> positions{position, 3, 77, 0, 12345};
        positions.resize(rows);
        cases.push_back(Case(spec, positions, 10000, false, Values::kNormal, seed));
        cases.push_back(Case(spec, positions, 500000, true, Values::kHeavyTailed, seed));
      }
      std::vector<uint32_t> positions{1001, 2, 5, 8, 13};
      positions.resize(rows);
      for (Values values : kAllValues) {
        cases.push_back(Case(spec, positions, 1e6, false, values, seed));
      }
    }
  }
  return cases;
}

}  // namespace ptxsmith

#include <cmath>

#include "absl/strings/str_cat.h"
#include "ptx_templates/attention.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/attention.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

// Which parts have no positions.
enum class Empty { kNone, kSome, kAll };

CaseMaker Case(const AttentionCombineSpec& spec, uint32_t rows, Values values, Empty empty,
               uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    std::vector<float> partial;
    for (uint32_t part = 0; part < rows * spec.heads * spec.splits; ++part) {
      if (empty == Empty::kAll || (empty == Empty::kSome && part % spec.splits % 2 == 1)) {
        partial.insert(partial.end(), spec.head_dim, 0.0f);
        partial.insert(partial.end(), {-INFINITY, 0.0f});
        continue;
      }
      const std::vector<float> sums = rng.Floats(values, spec.head_dim);
      partial.insert(partial.end(), sums.begin(), sums.end());
      // The largest score. Those far apart overflow unless it is their maximum that is taken off.
      const double spread = values == Values::kHeavyTailed ? 80 : 8;
      partial.push_back(static_cast<float>(spread * rng.Normal()));
      partial.push_back(static_cast<float>(1 + 50 * rng.Uniform()));  // the largest weighs 1
    }
    KernelCase result = CaseOf(spec, BuildAttentionCombine);
    const size_t outputs = size_t{rows} * spec.heads * spec.head_dim;
    result.args = {Bytes(outputs * sizeof(float)), ToBytes(partial)};
    if (!spec.rows) result.args.emplace_back(rows);
    const reference::Expected want = reference::JoinPartials(partial, spec.head_dim, spec.splits);
    result.check = [want](absl::Span<const Bytes> after) {
      return CheckClose(FromBytes<float>(after[0]), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("rows=", rows, " values=", ToString(values),
                       " empty=", static_cast<int>(empty), " seed=", seed),
          uint64_t{rows} * spec.heads * spec.splits * spec.head_dim, body};
}

struct Fuzz {
  using Spec = AttentionCombineSpec;
  struct Sizes {
    uint32_t rows = 1;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields =
        Fields(Field("rows", &Sizes::rows, Between(1, 33), "query tokens"));
  };
  static void Fit(Spec&, Sizes&) {}
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    const Empty empty = seed % 8 == 0 ? Empty::kAll : seed % 2 == 0 ? Empty::kSome : Empty::kNone;
    return Case(spec, sizes.rows, values, empty, seed);
  }
};

}  // namespace

std::vector<CaseMaker> AttentionCombineCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const AttentionCombineSpec& spec : AttentionCombineVariants()) {
    for (uint32_t rows : {1, 2, 3}) {
      if (spec.rows && rows != *spec.rows) continue;
      for (Values values : kAllValues) {
        cases.push_back(Case(spec, rows, values, Empty::kNone, seed));
        cases.push_back(Case(spec, rows, values, Empty::kSome, seed + 1));
      }
      cases.push_back(Case(spec, rows, Values::kNormal, Empty::kAll, seed));
    }
  }
  return cases;
}

FuzzFamily AttentionCombineFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

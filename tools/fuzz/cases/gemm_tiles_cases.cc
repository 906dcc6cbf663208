#include "ptx_templates/tiles/gemm_tiles.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/tiles.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kMostColumns = 4096;
constexpr uint32_t kMostRows = 1024;

CaseMaker Case(const GemmTilesSpec& spec, Values weights, Values inputs, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const std::vector<float> x = rng.Floats(inputs, size_t{spec.k} * spec.columns);
    const uint32_t slices = PlanOf(spec).slices;
    const uint32_t rows = spec.n + spec.n2;
    const size_t values = size_t{spec.columns} * rows;
    KernelCase result = CaseOf(spec, BuildGemmTiles);
    result.same_bits = false;
    result.args = {Bytes(slices * values * sizeof(float))};
    reference::Expected want{std::vector<double>(values), std::vector<double>(values)};
    const auto add = [&](QuantType quant, uint32_t n, uint32_t first) {
      const Bytes w = rng.Blocks(quant, size_t{spec.k} / Info(quant).block_weights * n, weights);
      result.args.emplace_back(
          reference::RepackMma({quant, w, n}, spec.k, n, [](uint32_t r) { return r; }));
      const reference::Expected part = reference::ProjectColumns({quant, w, n}, x);
      for (uint32_t t = 0; t < spec.columns; ++t) {
        for (uint32_t r = 0; r < n; ++r) {
          want.value[size_t{t} * rows + first + r] = part.value[size_t{t} * n + r];
          want.bound[size_t{t} * rows + first + r] = part.bound[size_t{t} * n + r];
        }
      }
    };
    add(spec.quant, spec.n, 0);
    if (spec.n2 != 0) add(spec.quant2, spec.n2, spec.n);
    result.args.emplace_back(reference::ColumnImage(x, spec.k, spec.columns));
    result.check = [want, slices](absl::Span<const Bytes> after) {
      const std::vector<float> parts = FromBytes<float>(after[0]);
      std::vector<float> sums(want.value.size());
      for (uint32_t s = 0; s < slices; ++s) {
        for (size_t i = 0; i < sums.size(); ++i) sums[i] += parts[s * sums.size() + i];
      }
      return CheckClose(sums, want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("weights=", ToString(weights), " x=", ToString(inputs), " seed=", seed),
          uint64_t{spec.k} * (spec.n + spec.n2) * spec.columns / 4, body};
}

struct Fuzz {
  using Spec = GemmTilesSpec;
  using Sizes = NoSizes;
  static void Fit(Spec& spec, Sizes&) {
    Limit(spec.ctas, 5);
    spec.k = std::min(spec.k, kMostColumns);
    spec.n = std::min(spec.n, kMostRows);
    spec.n2 = std::min(spec.n2, kMostRows);
  }
  static CaseMaker Make(const Spec& spec, const Sizes&, Values values, uint64_t seed) {
    return Case(spec, values, values, seed);
  }
};

}  // namespace

std::vector<CaseMaker> GemmTilesCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const GemmTilesSpec& spec : GemmTilesVariants()) {
    for (Values values : kAllValues) {
      if (values != Values::kNormal && spec.k * spec.n > 200'000) continue;
      cases.push_back(Case(spec, values, values, seed));
    }
  }
  return cases;
}

FuzzFamily GemmTilesFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

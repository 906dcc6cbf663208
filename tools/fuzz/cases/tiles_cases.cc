#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ptx_templates/tiles/gemv_tiles.h"
#include "ptx_templates/tiles/repack.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/tiles.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kMostColumns = 4096;

size_t BlockCount(QuantType type, uint32_t k, uint32_t n) {
  return size_t{k} / Info(type).block_weights * n;
}

// The row of w, followed by w2, that is row r of the tiles.
uint32_t RowOf(const RepackSpec& spec, uint32_t r) {
  const uint32_t head = r / spec.head_dim * spec.head_dim;
  const uint32_t in_head = r - head;
  switch (spec.order) {
    case RowOrder::kPairs:
      return head + in_head / 2 + (in_head % 2 == 1 ? spec.head_dim / 2 : 0);
    case RowOrder::kInterleaved:
      return r / 16 * 8 + r % 8 + (r % 16 >= 8 ? spec.n / 2 : 0);
    default:
      return r;
  }
}

CaseMaker RepackCase(const RepackSpec& spec, Values values, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const Bytes w = rng.Blocks(spec.quant, BlockCount(spec.quant, spec.k, spec.n), values);
    const auto repack = spec.layout == TileLayout::kDot ? reference::Repack : reference::RepackMma;
    const Bytes want =
        repack({spec.quant, w, spec.n}, spec.k, spec.n, [&](uint32_t r) { return RowOf(spec, r); });
    KernelCase result = CaseOf(spec, BuildRepack);
    result.args = {Bytes(want.size())};
    if (spec.order == RowOrder::kInterleaved) {
      const auto half = w.begin() + static_cast<std::ptrdiff_t>(w.size() / 2);
      result.args.emplace_back(Bytes(w.begin(), half));
      result.args.emplace_back(Bytes(half, w.end()));
    } else {
      result.args.emplace_back(w);
    }
    result.check = [want](absl::Span<const Bytes> after) -> Verdict {
      for (size_t i = 0; i < want.size(); ++i) {
        if (after[0][i] == want[i]) continue;
        return Wrong("byte ", i, " is ", int{after[0][i]}, ", not ", int{want[i]});
      }
      return {};
    };
    return result;
  };
  return {FieldsText(spec), absl::StrCat("weights=", ToString(values), " seed=", seed),
          uint64_t{spec.k} * spec.n, body};
}

CaseMaker GemvCase(const GemvTilesSpec& spec, Values weights, Values inputs, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const Bytes w = rng.Blocks(spec.quant, BlockCount(spec.quant, spec.k, spec.n), weights);
    const std::vector<float> x = rng.Floats(inputs, spec.k);
    KernelCase result = CaseOf(spec, BuildGemvTiles);
    result.args = {
        Bytes(spec.n * sizeof(float)),
        reference::Repack({spec.quant, w, spec.n}, spec.k, spec.n, [](uint32_t r) { return r; }),
        ToBytes(x)};
    const reference::Expected want =
        reference::ProjectTiles({spec.quant, w, spec.n}, x, spec.terms);
    result.check = [want](absl::Span<const Bytes> after) {
      return CheckClose(FromBytes<float>(after[0]), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("weights=", ToString(weights), " x=", ToString(inputs), " seed=", seed),
          uint64_t{spec.k} * spec.n, body};
}

struct RepackFuzzer {
  using Spec = RepackSpec;
  using Sizes = NoSizes;
  static void Fit(Spec& spec, Sizes&) {
    spec.k = std::min(spec.k, kMostColumns);
    if (spec.order == RowOrder::kPairs) RoundUp(spec.n, spec.head_dim);
    if (spec.order == RowOrder::kInterleaved) RoundUp(spec.n, 16);
  }
  static CaseMaker Make(const Spec& spec, const Sizes&, Values values, uint64_t seed) {
    return RepackCase(spec, values, seed);
  }
};

struct GemvTilesFuzzer {
  using Spec = GemvTilesSpec;
  using Sizes = NoSizes;
  static void Fit(Spec& spec, Sizes&) {
    Limit(spec.ctas, 5);
    spec.k = std::min(spec.k, kMostColumns);
  }
  static CaseMaker Make(const Spec& spec, const Sizes&, Values values, uint64_t seed) {
    return GemvCase(spec, values, values, seed);
  }
};

}  // namespace

std::vector<CaseMaker> RepackCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const RepackSpec& spec : RepackVariants()) {
    cases.push_back(RepackCase(spec, Values::kNormal, seed));
  }
  return cases;
}

std::vector<CaseMaker> GemvTilesCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const GemvTilesSpec& spec : GemvTilesVariants()) {
    for (Values values : kAllValues) {
      if (values != Values::kNormal && spec.k * spec.n > 200'000) continue;
      cases.push_back(GemvCase(spec, values, values, seed));
    }
  }
  return cases;
}

FuzzFamily RepackFuzz() { return MakeFuzzFamily<RepackFuzzer>(); }
FuzzFamily GemvTilesFuzz() { return MakeFuzzFamily<GemvTilesFuzzer>(); }

}  // namespace ptxsmith

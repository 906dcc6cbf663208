#include "ptx_templates/prefill_attention.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "ptx_templates/blocked_half.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/attention.h"
#include "tools/fuzz/reference/float_formats.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

// A launch but for its contents: `rows` tokens, the first at position `first`.
struct Shape {
  PrefillAttentionSpec spec;
  uint32_t context, rows, first;

  uint32_t Begin(uint32_t row) const {
    const uint32_t end = first + row + 1;
    return spec.window == 0 || end < spec.window ? 0 : end - spec.window;
  }
  size_t At(uint32_t head, uint32_t position) const {
    return (size_t{head} * context + position) * spec.head_dim;
  }
};

// One cache: NaN in all cells that no row may look at.
std::vector<uint16_t> Cache(const Shape& shape, Values values, Rng& rng) {
  std::vector<uint16_t> cache(shape.At(shape.spec.kv_heads, 0), 0xffff);
  const uint32_t begin = shape.Begin(0), end = shape.first + shape.rows;
  for (uint32_t head = 0; head < shape.spec.kv_heads; ++head) {
    const std::vector<uint16_t> cells =
        reference::AppendF16(rng.Floats(values, size_t{end - begin} * shape.spec.head_dim));
    std::copy(cells.begin(), cells.end(), cache.begin() + shape.At(head, begin));
  }
  return cache;
}

// What a row sees in the reference's order, [position][kv_head][head_dim].
std::vector<float> Seen(const Shape& shape, uint32_t row, const std::vector<uint16_t>& cache) {
  std::vector<float> result;
  for (uint32_t p = shape.Begin(row); p <= shape.first + row; ++p) {
    for (uint32_t head = 0; head < shape.spec.kv_heads; ++head) {
      for (uint32_t d = 0; d < shape.spec.head_dim; ++d) {
        result.push_back(reference::HalfToFloat(cache[shape.At(head, p) + d]));
      }
    }
  }
  return result;
}

reference::Expected Want(const Shape& shape, const std::vector<float>& q,
                         const std::vector<uint16_t>& k, const std::vector<uint16_t>& v) {
  const PrefillAttentionSpec& spec = shape.spec;
  const double scale = spec.scale != 0 ? static_cast<double>(spec.scale)
                                       : 1 / std::sqrt(static_cast<double>(spec.head_dim));
  const reference::AttentionShape rule{spec.heads, spec.kv_heads, spec.head_dim, scale,
                                       static_cast<double>(spec.softcap)};
  const size_t row_elements = size_t{spec.heads} * spec.head_dim;
  reference::Expected want;
  for (uint32_t r = 0; r < shape.rows; ++r) {
    const reference::Expected row =
        reference::PrefillAttention(absl::MakeConstSpan(q).subspan(r * row_elements, row_elements),
                                    Seen(shape, r, k), Seen(shape, r, v), rule);
    want.value.insert(want.value.end(), row.value.begin(), row.value.end());
    want.bound.insert(want.bound.end(), row.bound.begin(), row.bound.end());
  }
  return want;
}

CaseMaker Case(const Shape& shape, Values values, uint64_t seed) {
  const PrefillAttentionSpec& spec = shape.spec;
  const auto body = [=] {
    // Scores of a size whose errors an exponential passes on about linearly: the bound is for
    // those.
    const bool small = values == Values::kZeros || values == Values::kDenormals;
    const bool heavy = values == Values::kHeavyTailed;
    Rng rng(seed);
    const std::vector<float> q =
        rng.Floats(small || heavy ? values : Values::kNormal,
                   size_t{shape.rows} * shape.spec.heads * shape.spec.head_dim);
    const std::vector<uint16_t> k = Cache(shape, small ? values : Values::kNormal, rng);
    const std::vector<uint16_t> v = Cache(shape, values, rng);
    std::vector<uint32_t> positions(shape.rows);
    std::iota(positions.begin(), positions.end(), shape.first);
    KernelCase result = CaseOf(shape.spec, BuildPrefillAttention);
    result.same_bits = false;
    const uint32_t width = shape.spec.heads * shape.spec.head_dim;
    const size_t outputs = shape.spec.blocked ? BlockedCount(shape.rows, width) : q.size();
    result.args = {Bytes(outputs * 2), ToBytes(q), ToBytes(k), ToBytes(v), ToBytes(positions)};
    if (!shape.spec.context) result.args.emplace_back(shape.context);
    if (!shape.spec.rows) result.args.emplace_back(shape.rows);
    const reference::Expected want = Want(shape, q, k, v);
    result.check = [want, shape, width](absl::Span<const Bytes> after) {
      std::vector<uint16_t> halves = FromBytes<uint16_t>(after[0]);
      if (shape.spec.blocked) halves = reference::RowsOfBlocks(halves, shape.rows, width);
      return CheckClose(reference::HalvesToFloats(halves), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("context=", shape.context, " rows=", shape.rows, " first=", shape.first,
                       " values=", ToString(values), " seed=", seed),
          uint64_t{2} * shape.rows * (shape.first + shape.rows) * spec.heads * spec.head_dim, body};
}

struct Fuzz {
  using Spec = PrefillAttentionSpec;
  struct Sizes {
    uint32_t context = 1, rows = 1, first = 0;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields =
        Fields(Field("context", &Sizes::context, AtLeast(1), "positions of the cache"),
               Field("rows", &Sizes::rows, Between(1, 70), "query tokens"),
               Field("first", &Sizes::first, {}, "position of the first token"));
  };
  static void Fit(Spec& spec, Sizes& sizes) {
    RoundUp(spec.heads, spec.kv_heads);
    spec.heads = std::min(spec.heads, spec.kv_heads * 16 * spec.warps);
    spec.blocked = spec.blocked && spec.heads * spec.head_dim % kBlockColumns == 0;
    sizes.rows = std::min(sizes.rows, sizes.context);
    sizes.first %= sizes.context - sizes.rows + 1;
  }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    if (values == Values::kRandomBits) values = Values::kLargest;  // V alone has these
    CaseMaker maker = Case({spec, sizes.context, sizes.rows, sizes.first}, values, seed);
    // The caches must be made, and blocks compute whole tiles.
    maker.work += uint64_t{sizes.context} * spec.kv_heads * spec.head_dim +
                  uint64_t{16} * spec.warps * spec.kv_heads * spec.head_dim * spec.tile;
    return maker;
  }
};

}  // namespace

std::vector<CaseMaker> PrefillAttentionCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const PrefillAttentionSpec& spec : PrefillAttentionVariants()) {
    const uint32_t context = spec.context.value_or(70);
    for (uint32_t count : {1u, 33u}) {
      if (spec.rows && count > 1) continue;
      const uint32_t rows = spec.rows.value_or(count);
      const bool small = uint64_t{rows} * spec.heads * spec.head_dim < 20'000;
      for (uint32_t first : {0u, 1u, context - rows}) {
        for (Values values : kAllValues) {
          if (values != Values::kNormal && (first != 1 || !small)) continue;
          cases.push_back(Case({spec, context, rows, first}, values, seed));
        }
      }
    }
  }
  return cases;
}

FuzzFamily PrefillAttentionFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

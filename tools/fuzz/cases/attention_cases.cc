#include "ptx_templates/attention.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "ptx_templates/tiles/column_image.h"
#include "ptx_templates/tiles/group_attention.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/attention.h"
#include "tools/fuzz/reference/decode.h"
#include "tools/fuzz/reference/tiles.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

// A query token: its sequence and its position.
struct Place {
  uint32_t slot, position;
};

// A launch but for its contents.
struct Shape {
  AttentionSpec spec;
  uint32_t context, slots;
  std::vector<Place> rows;

  // The positions that a row sees, from `begin` to before `end`.
  uint32_t End(const Place& row) const {
    return row.slot < slots ? std::min(row.position + 1, context) : 0;
  }
  uint32_t Begin(const Place& row) const {
    const uint32_t end = End(row);
    return spec.window == 0 || end < spec.window ? 0 : end - spec.window;
  }
  size_t CellBytes() const { return KvCellBytes(spec.type, spec.head_dim); }
  size_t Cell(uint32_t slot, uint32_t head, uint32_t position) const {
    return (size_t{slot} * spec.kv_heads + head) * context + position;
  }
};

// Random elements of whole cells, as the cache stores them.
Bytes Cells(const Shape& shape, size_t elements, Values values, Rng& rng) {
  const QuantType type = shape.spec.type;
  if (values == Values::kDenormals || values == Values::kRandomBits) {
    return rng.Blocks(type, elements / Info(type).block_weights, values);
  }
  const std::vector<float> x = rng.Floats(values, elements);
  return type == QuantType::kF16 ? ToBytes(reference::AppendF16(x)) : reference::AppendQ8_0(x);
}

// One cache: NaN (0xffff as a half, as a scale too) in all cells that no row may look at.
Bytes Cache(const Shape& shape, Values values, Rng& rng) {
  const AttentionSpec& spec = shape.spec;
  Bytes cache(shape.Cell(shape.slots, 0, 0) * shape.CellBytes(), 0xff);
  for (uint32_t slot = 0; slot < shape.slots; ++slot) {
    for (uint32_t head = 0; head < spec.kv_heads; ++head) {
      for (const Place& row : shape.rows) {
        if (row.slot != slot || shape.End(row) == 0) continue;
        const uint32_t begin = shape.Begin(row), end = shape.End(row);
        const Bytes cells = Cells(shape, size_t{end - begin} * spec.head_dim, values, rng);
        std::copy(cells.begin(), cells.end(),
                  cache.begin() + shape.Cell(slot, head, begin) * shape.CellBytes());
      }
    }
  }
  return cache;
}

// What a row sees as floats in the reference's order, [position][kv_head][head_dim].
std::vector<float> ByPosition(const Shape& shape, const Place& row, const Bytes& cache) {
  std::vector<float> result;
  for (uint32_t p = shape.Begin(row); p < shape.End(row); ++p) {
    for (uint32_t head = 0; head < shape.spec.kv_heads; ++head) {
      const absl::Span<const uint8_t> cell(
          &cache[shape.Cell(row.slot, head, p) * shape.CellBytes()], shape.CellBytes());
      for (const reference::Weight& weight : reference::Decode(shape.spec.type, cell)) {
        result.push_back(weight.value);
      }
    }
  }
  return result;
}

reference::Expected Want(const Shape& shape, const std::vector<float>& q, const Bytes& k,
                         const Bytes& v) {
  const AttentionSpec& spec = shape.spec;
  const double scale = spec.scale != 0 ? static_cast<double>(spec.scale)
                                       : 1 / std::sqrt(static_cast<double>(spec.head_dim));
  const reference::AttentionShape rule{spec.heads, spec.kv_heads, spec.head_dim, scale,
                                       static_cast<double>(spec.softcap)};
  const size_t row_elements = size_t{spec.heads} * spec.head_dim;
  reference::Expected want;
  for (size_t r = 0; r < shape.rows.size(); ++r) {
    reference::Expected row;
    if (shape.End(shape.rows[r]) == 0) {
      row.value.assign(row_elements, 0);
      row.bound.assign(row_elements, reference::kTiny);
    } else {
      row = reference::Attention(absl::MakeConstSpan(q).subspan(r * row_elements, row_elements),
                                 ByPosition(shape, shape.rows[r], k),
                                 ByPosition(shape, shape.rows[r], v), rule);
    }
    want.value.insert(want.value.end(), row.value.begin(), row.value.end());
    want.bound.insert(want.bound.end(), row.bound.begin(), row.bound.end());
  }
  return want;
}

CaseMaker Case(const Shape& shape, Values values, uint64_t seed) {
  const AttentionSpec& spec = shape.spec;
  uint64_t work = 0;
  for (const Place& row : shape.rows) work += shape.End(row) - shape.Begin(row);
  const auto body = [=] {
    Rng rng(seed);
    const std::vector<float> q =
        rng.Floats(values, shape.rows.size() * shape.spec.heads * shape.spec.head_dim);
    const Bytes k = Cache(shape, values, rng);
    const Bytes v = Cache(shape, values, rng);
    const AttentionSpec& spec = shape.spec;
    const uint32_t dim = spec.head_dim, splits = spec.splits;
    const size_t outputs = shape.rows.size() * spec.heads * (splits > 1 ? splits * (dim + 2) : dim);
    std::vector<uint32_t> positions, row_slots;
    for (const Place& row : shape.rows) {
      positions.push_back(row.position);
      row_slots.push_back(row.slot);
    }
    KernelCase result = CaseOf(spec, BuildAttention);
    result.args = {Bytes(outputs * sizeof(float)), ToBytes(q), k, v, ToBytes(positions)};
    if (spec.slots != 1) result.args.emplace_back(ToBytes(row_slots));
    if (!spec.context) result.args.emplace_back(shape.context);
    if (!spec.rows) result.args.emplace_back(static_cast<uint32_t>(shape.rows.size()));
    if (!spec.slots) result.args.emplace_back(shape.slots);
    const reference::Expected want = Want(shape, q, k, v);
    result.check = [=](absl::Span<const Bytes> after) {
      const std::vector<float> got = FromBytes<float>(after[0]);
      if (splits == 1) return CheckClose(got, want);
      // Joined in double precision the parts must make the whole.
      const std::vector<double> joined = reference::JoinPartials(got, dim, splits).value;
      return CheckClose(std::vector<float>(joined.begin(), joined.end()), want);
    };
    return result;
  };
  return {
      FieldsText(spec),
      absl::StrCat("context=", shape.context, " slots=", shape.slots, " rows=", shape.rows.size(),
                   " first_slot=", shape.rows[0].slot, " first_position=", shape.rows[0].position,
                   " values=", ToString(values), " seed=", seed),
      2 * work * spec.heads * spec.head_dim, body};
}

// Rows around `position`: those of several sequences are at different places, one of them without
// a sequence; those of one follow each other, as in a prompt.
std::vector<Place> Rows(const AttentionSpec& spec, uint32_t count, uint32_t slots,
                        uint32_t position) {
  std::vector<Place> rows;
  for (uint32_t r = 0; r < count; ++r) {
    if (spec.slots == 1) {
      rows.push_back({0, position + r});
    } else if (r == 1) {
      rows.push_back({slots - 1, UINT32_MAX});
    } else {
      rows.push_back({(slots - 1 + r) % slots, position / (r + 1)});
    }
  }
  return rows;
}

struct Fuzz {
  using Spec = AttentionSpec;
  struct Sizes {
    uint32_t context = 1, rows = 1, slots = 1, length = 0;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields =
        Fields(Field("context", &Sizes::context, AtLeast(1), "positions of a sequence"),
               Field("rows", &Sizes::rows, Between(1, 9), "query tokens"),
               Field("slots", &Sizes::slots, Between(1, 5), "sequences"),
               Field("length", &Sizes::length, {}, "positions that the first token sees"));
  };
  static void Fit(Spec& spec, Sizes& sizes) {
    if (spec.type == QuantType::kQ8_0) RoundUp(spec.head_dim, Info(spec.type).block_weights);
    RoundUp(spec.heads, spec.kv_heads);
    sizes.length %= sizes.context + 6;  // also more than the cache has
  }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    std::vector<Place> rows(sizes.rows, Place{0, UINT32_MAX});  // see nothing
    if (sizes.length > 0) rows = Rows(spec, sizes.rows, sizes.slots, sizes.length - 1);
    if (spec.slots != 1 && seed % 8 == 0) rows[0].slot = sizes.slots;  // there is none
    CaseMaker maker = Case({spec, sizes.context, sizes.slots, rows}, values, seed);
    // The caches must be made, and every block joins its warps' results.
    maker.work += uint64_t{sizes.context} * sizes.slots * spec.kv_heads * spec.head_dim +
                  uint64_t{sizes.rows} * spec.heads * spec.splits * spec.warps * spec.head_dim;
    return maker;
  }
};

CaseMaker GroupCase(const GroupAttentionSpec& spec, const std::vector<Place>& rows, Values values,
                    uint64_t seed) {
  AttentionSpec as_attention{spec.heads, spec.kv_heads, spec.head_dim};
  const Shape shape{as_attention, spec.context, spec.slots, rows};
  uint64_t work = 0;
  for (const Place& row : rows) work += shape.End(row);
  const auto body = [=] {
    Rng rng(seed);
    const uint32_t n = spec.heads * spec.head_dim;
    const std::vector<float> q = rng.Floats(values, size_t{spec.rows} * n);
    const Bytes k = Cache(shape, values, rng);
    const Bytes v = Cache(shape, values, rng);
    std::vector<uint32_t> positions, row_slots;
    for (const Place& row : rows) {
      positions.push_back(row.position);
      row_slots.push_back(row.slot);
    }
    const size_t parts = size_t{spec.rows} * spec.heads * spec.splits * (spec.head_dim + 2);
    KernelCase result = CaseOf(spec, BuildGroupAttention);
    result.args = {Bytes(spec.splits == 1 ? ColumnImageBytes(n, spec.columns) : parts * 4),
                   ToBytes(q),
                   k,
                   v,
                   ToBytes(positions),
                   ToBytes(row_slots)};
    const reference::Expected want = Want(shape, q, k, v);
    result.check = [=](absl::Span<const Bytes> after) {
      if (spec.splits == 1) {
        const reference::ImageContents image =
            reference::FromColumnImage(after[0], n, spec.columns, spec.rows);
        Verdict close = CheckClose(image.x, reference::RoundedInImage(want));
        return close && !image.sums_agree ? Wrong("the sums of the image are not its own") : close;
      }
      const std::vector<double> joined =
          reference::JoinPartials(FromBytes<float>(after[0]), spec.head_dim, spec.splits).value;
      return CheckClose(std::vector<float>(joined.begin(), joined.end()), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("first_slot=", rows[0].slot, " first_position=", rows[0].position,
                       " values=", ToString(values), " seed=", seed),
          2 * work * spec.heads * spec.head_dim, body};
}

struct GroupFuzz {
  using Spec = GroupAttentionSpec;
  struct Sizes {
    uint32_t length = 0;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields =
        Fields(Field("length", &Sizes::length, {}, "positions that the first token sees"));
  };
  static void Fit(Spec& spec, Sizes& sizes) {
    Limit(spec.kv_heads, 4);
    Limit(spec.heads, 12);
    Limit(spec.context, 200);
    Limit(spec.slots, 9);
    Limit(spec.splits, 7);
    RoundUp(spec.heads, spec.kv_heads);
    while (spec.heads * spec.head_dim % 256 != 0) spec.heads += spec.kv_heads;
    spec.rows = std::min(spec.rows, spec.columns);
    sizes.length %= spec.context + 6;  // also more than the cache has
  }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    AttentionSpec several;
    several.slots = std::max(2u, spec.slots);
    std::vector<Place> rows(spec.rows, Place{0, UINT32_MAX});  // see nothing
    if (sizes.length > 0) rows = Rows(several, spec.rows, spec.slots, sizes.length - 1);
    if (seed % 8 == 0) rows[0].slot = spec.slots;  // there is none
    CaseMaker maker = GroupCase(spec, rows, values, seed);
    maker.work += uint64_t{spec.context} * spec.slots * spec.kv_heads * spec.head_dim;
    return maker;
  }
};

}  // namespace

std::vector<CaseMaker> AttentionCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const AttentionSpec& spec : AttentionVariants()) {
    for (uint32_t open : {1u, 33u, 129u}) {
      if (spec.context && open > 1) continue;
      const uint32_t context = spec.context.value_or(open);
      const uint32_t slots = spec.slots.value_or(3);
      for (uint32_t count : {1u, 5u, 9u}) {
        if (spec.rows && count > 1) continue;
        const uint32_t rows = spec.rows.value_or(count);
        // Lengths are one more. The last position is beyond the cache: all of it is read.
        for (uint32_t position : {0u, 30u, 31u, 32u, 126u, 127u, 128u, context - 1, context + 5}) {
          if (position > context + 5) continue;
          for (Values values : kAllValues) {
            // Batches have more of the same: a part of the inputs will do.
            if (rows > 1 && values != Values::kNormal && position + 1 != context) continue;
            const Shape shape{spec, context, slots, Rows(spec, rows, slots, position)};
            cases.push_back(Case(shape, values, seed));
          }
        }
        // Nothing to attend to.
        std::vector<Place> none(rows, Place{0, UINT32_MAX});
        cases.push_back(Case({spec, context, slots, none}, Values::kNormal, seed));
        if (spec.slots == 1) continue;
        std::vector<Place> unknown = Rows(spec, rows, slots, 7);
        unknown[0].slot = slots;
        cases.push_back(Case({spec, context, slots, unknown}, Values::kNormal, seed));
      }
    }
  }
  return cases;
}

FuzzFamily AttentionFuzz() { return MakeFuzzFamily<Fuzz>(); }

std::vector<CaseMaker> GroupAttentionCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  AttentionSpec several;
  several.slots = 2;
  for (const GroupAttentionSpec& spec : GroupAttentionVariants()) {
    for (uint32_t position : {0u, 31u, 32u, spec.context - 1, spec.context + 5}) {
      for (Values values : kAllValues) {
        if (spec.rows > 5 && values != Values::kNormal && position != 32) continue;
        cases.push_back(
            GroupCase(spec, Rows(several, spec.rows, spec.slots, position), values, seed));
      }
    }
    std::vector<Place> unknown = Rows(several, spec.rows, spec.slots, 7);
    unknown[0].slot = spec.slots;
    cases.push_back(GroupCase(spec, unknown, Values::kNormal, seed));
  }
  return cases;
}

FuzzFamily GroupAttentionFuzz() { return MakeFuzzFamily<GroupFuzz>(); }

}  // namespace ptxsmith

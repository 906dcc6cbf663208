#include "ptx_templates/tiles/joins.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "ptx_templates/kv_cache.h"
#include "ptx_templates/tiles/column_image.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/attention.h"
#include "tools/fuzz/reference/ops.h"
#include "tools/fuzz/reference/projection.h"
#include "tools/fuzz/reference/tiles.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

using reference::Expected;

// What gemm_tiles may have left: all columns of all slices, and the sums of the rows that count,
// added up as the kernels do.
struct SomeParts {
  std::vector<float> parts, sums;
};
SomeParts DrawParts(Rng& rng, Values values, uint32_t slices, uint32_t columns, uint32_t rows,
                    uint32_t n) {
  const size_t slice = size_t{columns} * n;
  SomeParts result{rng.Floats(values, slices * slice), std::vector<float>(size_t{rows} * n)};
  for (size_t i = 0; i < result.sums.size() && slices > 0; ++i) {
    result.sums[i] = result.parts[i];
    for (uint32_t s = 1; s < slices; ++s) result.sums[i] += result.parts[s * slice + i];
  }
  return result;
}

// The argument of the sums of squares of a norm, and its factor for each row, rounded as the
// kernels do. Sums of `normed` squares of about the size of those of real rows.
struct SomeNorms {
  std::vector<float> squares, factors;
};
SomeNorms DrawNorms(Rng& rng, uint32_t rows, uint32_t normed, float eps) {
  SomeNorms result;
  for (uint32_t r = 0; r < rows && normed != 0; ++r) {
    float total = 0;
    for (uint32_t i = 0; i < normed / 256; ++i) {
      result.squares.push_back(static_cast<float>(256 * (0.01 + rng.Uniform())));
      total += result.squares.back();
    }
    result.factors.push_back(1.0f / std::sqrt(total / static_cast<float>(normed) + eps));
  }
  return result;
}

// Adds the argument and multiplies the sums, rows of n.
void ApplyNorms(const SomeNorms& norms, uint32_t n, KernelCase& result, std::vector<float>& sums) {
  if (norms.factors.empty()) return;
  result.args.emplace_back(ToBytes(norms.squares));
  for (size_t i = 0; i < sums.size(); ++i) sums[i] *= norms.factors[i / n];
}

void Append(const Expected& more, Expected& to) {
  to.value.insert(to.value.end(), more.value.begin(), more.value.end());
  to.bound.insert(to.bound.end(), more.bound.begin(), more.bound.end());
}

Verdict CheckImage(const Bytes& image, uint32_t n, uint32_t columns, uint32_t rows,
                   const Expected& want) {
  const reference::ImageContents contents = reference::FromColumnImage(image, n, columns, rows);
  Verdict close = CheckClose(contents.x, reference::RoundedInImage(want));
  if (close && !contents.sums_agree) return Wrong("the sums of the image are not its own");
  if (close && !contents.units_agree) return Wrong("a unit is not that of its block's largest");
  return close;
}

std::string Inputs(Values values, uint64_t seed) {
  return absl::StrCat("values=", ToString(values), " seed=", seed);
}

CaseMaker MakeCase(const JoinNormSpec& spec, Values values, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    std::vector<float> x = rng.Floats(values, size_t{spec.rows} * spec.n);
    const SomeParts parts = DrawParts(rng, values, spec.slices, spec.columns, spec.rows, spec.n);
    const std::vector<float> weight = rng.Floats(Values::kNormal, spec.n);
    KernelCase result = CaseOf(spec, BuildJoinNorm);
    const uint32_t sums = spec.n / 256;
    result.args = {Bytes(ColumnImageBytes(spec.n, spec.columns)),
                   Bytes(size_t{spec.rows} * sums * sizeof(float)), ToBytes(x)};
    if (spec.slices != 0) result.args.emplace_back(ToBytes(parts.parts));
    result.args.emplace_back(ToBytes(weight));
    for (size_t i = 0; i < x.size() && spec.slices != 0; ++i) x[i] += parts.sums[i];
    Expected image, squares{std::vector<double>(size_t{spec.rows} * sums), {}};
    for (size_t i = 0; i < x.size(); ++i) {
      const double product = double{x[i]} * weight[i % spec.n];
      image.value.push_back(product);
      image.bound.push_back(reference::kRoundoff * std::abs(product) + reference::kTiny);
      squares.value[i / 256] += double{x[i]} * x[i];
    }
    for (double square : squares.value) {
      squares.bound.push_back(reference::kRoundoff * 16 * square + 256 * reference::kTiny);
    }
    result.check = [=](absl::Span<const Bytes> after) {
      Verdict close = CheckImage(after[0], spec.n, spec.columns, spec.rows, image);
      if (!close) return close;
      if (Verdict sum = CheckClose(FromBytes<float>(after[1]), squares); !sum) return sum;
      Verdict same = CheckBits(FromBytes<float>(after[2]), x);
      return same ? close : same;
    };
    return result;
  };
  return {FieldsText(spec), Inputs(values, seed), uint64_t{spec.n} * spec.rows * (spec.slices + 1),
          body};
}

CaseMaker MakeCase(const JoinGluSpec& spec, Values values, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    SomeParts parts = DrawParts(rng, values, spec.slices, spec.columns, spec.rows, 2 * spec.n);
    KernelCase result = CaseOf(spec, BuildJoinGlu);
    result.args = {Bytes(ColumnImageBytes(spec.n, spec.columns)), ToBytes(parts.parts)};
    ApplyNorms(DrawNorms(rng, spec.rows, spec.normed, spec.eps), 2 * spec.n, result, parts.sums);
    Expected gate, up;
    for (size_t i = 0; i < parts.sums.size(); ++i) {
      (i / spec.n % 2 == 0 ? gate : up).value.push_back(parts.sums[i]);
    }
    gate.bound = up.bound = std::vector<double>(gate.value.size());
    const Expected want = reference::SwiGluOf(gate, up);
    result.check = [=](absl::Span<const Bytes> after) {
      return CheckImage(after[0], spec.n, spec.columns, spec.rows, want);
    };
    return result;
  };
  return {FieldsText(spec), Inputs(values, seed), uint64_t{spec.n} * spec.rows * spec.slices * 2,
          body};
}

CaseMaker MakeCase(const JoinHeadsSpec& spec, Values values, uint64_t seed) {
  // Keys and values beyond the largest f16 are infinite in the cache.
  if (values == Values::kLargest || values == Values::kRandomBits) values = Values::kHeavyTailed;
  const auto body = [=] {
    Rng rng(seed);
    const uint32_t dim = spec.head_dim;
    const uint32_t all_heads = spec.heads + 2 * spec.kv_heads;
    const uint32_t n = all_heads * dim;
    SomeParts parts = DrawParts(rng, values, spec.slices, spec.columns, spec.rows, n);
    const std::vector<float> bias = rng.Floats(Values::kNormal, n);
    std::vector<uint32_t> positions, slots;
    for (uint32_t r = 0; r < spec.rows; ++r) {
      // Every slot once at most, some of them and some positions beyond what there is.
      slots.push_back(r);
      positions.push_back(rng.Below(spec.context + 1));
    }
    const size_t cache_bytes =
        size_t{spec.slots} * spec.kv_heads * spec.context * KvCellBytes(QuantType::kF16, dim);
    const Bytes keys(cache_bytes, 0x11), values_before(cache_bytes, 0x22);
    KernelCase result = CaseOf(spec, BuildJoinHeads);
    result.args = {Bytes(size_t{spec.rows} * spec.heads * dim * sizeof(float)), keys, values_before,
                   ToBytes(parts.parts)};
    ApplyNorms(DrawNorms(rng, spec.rows, spec.normed, spec.eps), n, result, parts.sums);
    result.args.emplace_back(ToBytes(positions));
    result.args.emplace_back(ToBytes(slots));
    result.args.emplace_back(ToBytes(RopeRates(dim, 10000.0, 1.0, {})));
    if (spec.bias) {
      const auto part = [&](uint32_t first, uint32_t heads) {
        return ToBytes(
            std::vector<float>(bias.begin() + first * dim, bias.begin() + (first + heads) * dim));
      };
      result.args.emplace_back(part(0, spec.heads));
      result.args.emplace_back(part(spec.heads, spec.kv_heads));
      result.args.emplace_back(part(spec.heads + spec.kv_heads, spec.kv_heads));
      for (size_t i = 0; i < parts.sums.size(); ++i) parts.sums[i] += bias[i % n];
    }
    reference::RopeSpec rule;
    rule.pairs = spec.pairing == RopePairing::kAdjacent ? reference::RopePairs::kAdjacent
                                                        : reference::RopePairs::kHalfSplit;
    rule.dims = dim;
    rule.angle_roundings = 0x1p-23;
    Expected queries, cached_keys, cached_values;
    // The cells that are written, in the order of the rows.
    std::vector<size_t> cells;
    for (uint32_t r = 0; r < spec.rows; ++r) {
      const auto row = absl::MakeConstSpan(parts.sums).subspan(size_t{r} * n, n);
      const Expected rotated =
          reference::Rope(row.first((spec.heads + spec.kv_heads) * dim), dim, positions[r], rule);
      const auto slice = [&](const std::vector<double>& v, size_t from, size_t count) {
        return std::vector<double>(v.begin() + from, v.begin() + from + count);
      };
      const size_t q = size_t{spec.heads} * dim;
      const size_t kv = size_t{spec.kv_heads} * dim;
      Append({slice(rotated.value, 0, q), slice(rotated.bound, 0, q)}, queries);
      if (positions[r] >= spec.context || slots[r] >= spec.slots) continue;
      Append({slice(rotated.value, q, kv), slice(rotated.bound, q, kv)}, cached_keys);
      Append({std::vector<double>(row.end() - kv, row.end()), std::vector<double>(kv)},
             cached_values);
      for (uint32_t h = 0; h < spec.kv_heads; ++h) {
        cells.push_back((size_t{slots[r]} * spec.kv_heads + h) * spec.context + positions[r]);
      }
    }
    result.check = [=](absl::Span<const Bytes> after) -> Verdict {
      if (Verdict close = CheckClose(FromBytes<float>(after[0]), queries); !close) return close;
      const auto check = [&](const Bytes& cache, uint8_t before, const Expected& want) {
        const size_t cell_bytes = KvCellBytes(QuantType::kF16, dim);
        Bytes left = cache;
        Bytes written;
        for (size_t cell : cells) {
          const auto begin = left.begin() + static_cast<std::ptrdiff_t>(cell * cell_bytes);
          const auto end = begin + static_cast<std::ptrdiff_t>(cell_bytes);
          written.insert(written.end(), begin, end);
          std::fill(begin, end, before);
        }
        if (std::any_of(left.begin(), left.end(), [&](uint8_t b) { return b != before; })) {
          return Wrong("a cell of another position was written");
        }
        return CheckClose(reference::HalvesToFloats(FromBytes<uint16_t>(written)),
                          reference::RoundedToHalf(want));
      };
      Verdict close = check(after[1], 0x11, cached_keys);
      return close ? check(after[2], 0x22, cached_values) : close;
    };
    return result;
  };
  return {FieldsText(spec), Inputs(values, seed),
          uint64_t{spec.rows} * (spec.heads + 2 * spec.kv_heads) * spec.head_dim * spec.slices,
          body};
}

CaseMaker MakeCase(const JoinAttentionSpec& spec, Values values, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const uint32_t n = spec.heads * spec.head_dim;
    std::vector<float> partial;
    for (uint32_t part = 0; part < spec.rows * spec.heads * spec.splits; ++part) {
      const bool empty = rng.Below(4) == 0 || part < spec.splits;  // the first head has nothing
      const std::vector<float> sums =
          empty ? std::vector<float>(spec.head_dim) : rng.Floats(values, spec.head_dim);
      partial.insert(partial.end(), sums.begin(), sums.end());
      partial.push_back(empty ? -INFINITY : static_cast<float>(20 * rng.Normal()));
      partial.push_back(empty ? 0.0f : static_cast<float>(1 + 50 * rng.Uniform()));
    }
    KernelCase result = CaseOf(spec, BuildJoinAttention);
    result.args = {Bytes(ColumnImageBytes(n, spec.columns)), ToBytes(partial)};
    const Expected want = reference::JoinPartials(partial, spec.head_dim, spec.splits);
    result.check = [=](absl::Span<const Bytes> after) {
      return CheckImage(after[0], n, spec.columns, spec.rows, want);
    };
    return result;
  };
  return {FieldsText(spec), Inputs(values, seed),
          uint64_t{spec.rows} * spec.heads * spec.splits * spec.head_dim, body};
}

CaseMaker MakeCase(const JoinSumSpec& spec, Values values, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const uint32_t rows = spec.skip + spec.rows;
    SomeParts parts = DrawParts(rng, values, spec.slices, spec.columns, rows, spec.n);
    KernelCase result = CaseOf(spec, BuildJoinSum);
    result.args = {Bytes(size_t{spec.rows} * spec.n * sizeof(float)), ToBytes(parts.parts)};
    ApplyNorms(DrawNorms(rng, rows, spec.normed, spec.eps), spec.n, result, parts.sums);
    parts.sums.erase(parts.sums.begin(), parts.sums.begin() + size_t{spec.skip} * spec.n);
    result.check = [sums = parts.sums](absl::Span<const Bytes> after) {
      return CheckBits(FromBytes<float>(after[0]), sums);
    };
    return result;
  };
  return {FieldsText(spec), Inputs(values, seed), uint64_t{spec.n} * spec.rows * spec.slices, body};
}

// Makes what was drawn apart agree, and small.
void FitSpec(JoinNormSpec& spec) {
  Limit(spec.slices, 9);
  spec.n = std::min(spec.n, 8192u);
}
void FitNorm(uint32_t& normed) { normed = normed % 16 * 256; }
void FitSpec(JoinGluSpec& spec) {
  FitNorm(spec.normed);
  Limit(spec.slices, 9);
  spec.n = std::min(spec.n, 4096u);
}
void FitSpec(JoinHeadsSpec& spec) {
  FitNorm(spec.normed);
  Limit(spec.slices, 9);
  Limit(spec.heads, 9);
  Limit(spec.kv_heads, 9);
  Limit(spec.context, 40);
  Limit(spec.slots, 33);
}
void FitSpec(JoinAttentionSpec& spec) {
  Limit(spec.heads, 9);
  while (spec.heads * spec.head_dim % 256 != 0) ++spec.heads;
}
void FitSpec(JoinSumSpec& spec) {
  spec.rows = std::min(spec.rows, spec.columns);
  spec.skip %= spec.columns - spec.rows + 1;
  FitNorm(spec.normed);
  Limit(spec.slices, 9);
  spec.n = std::min(spec.n, 5000u);
}

template <class S>
struct Fuzzer {
  using Spec = S;
  using Sizes = NoSizes;
  static void Fit(Spec& spec, Sizes&) {
    FitSpec(spec);
    spec.rows = std::min(spec.rows, spec.columns);
  }
  static CaseMaker Make(const Spec& spec, const Sizes&, Values values, uint64_t seed) {
    return MakeCase(spec, values, seed);
  }
};

template <class Spec>
std::vector<CaseMaker> CasesOf(const std::vector<Spec>& variants, uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const Spec& spec : variants) {
    for (Values values : kAllValues) {
      CaseMaker maker = MakeCase(spec, values, seed);
      if (values == Values::kNormal || maker.work < 500'000) cases.push_back(std::move(maker));
    }
  }
  return cases;
}

}  // namespace

std::vector<CaseMaker> JoinNormCases(uint64_t seed) { return CasesOf(JoinNormVariants(), seed); }
std::vector<CaseMaker> JoinGluCases(uint64_t seed) { return CasesOf(JoinGluVariants(), seed); }
std::vector<CaseMaker> JoinHeadsCases(uint64_t seed) { return CasesOf(JoinHeadsVariants(), seed); }
std::vector<CaseMaker> JoinAttentionCases(uint64_t seed) {
  return CasesOf(JoinAttentionVariants(), seed);
}
std::vector<CaseMaker> JoinSumCases(uint64_t seed) { return CasesOf(JoinSumVariants(), seed); }

FuzzFamily JoinNormFuzz() { return MakeFuzzFamily<Fuzzer<JoinNormSpec>>(); }
FuzzFamily JoinGluFuzz() { return MakeFuzzFamily<Fuzzer<JoinGluSpec>>(); }
FuzzFamily JoinHeadsFuzz() { return MakeFuzzFamily<Fuzzer<JoinHeadsSpec>>(); }
FuzzFamily JoinAttentionFuzz() { return MakeFuzzFamily<Fuzzer<JoinAttentionSpec>>(); }
FuzzFamily JoinSumFuzz() { return MakeFuzzFamily<Fuzzer<JoinSumSpec>>(); }

}  // namespace ptxsmith

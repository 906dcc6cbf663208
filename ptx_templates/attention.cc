#include "ptx_templates/attention.h"

#include <cmath>
#include <deque>
#include <limits>

#include "absl/strings/str_cat.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"
#include "codegen/warp.h"

namespace ptxsmith {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr uint32_t kPairs = 2 * kWarpLanes;  // elements that a warp takes at once

// A lane holds elements 2 l and 2 l + 1 of every 64 of a head, so that two halves are one load.
uint32_t PerLane(uint32_t head_dim) { return (head_dim + kPairs - 1) / kPairs * 2; }

// Whether the lane's elements 2 i and 2 i + 1 exist: the last 64 of a head need not be whole.
Pred HasPair(KernelBuilder& k, uint32_t head_dim, uint32_t i) {
  return (i + 1) * kPairs <= head_dim ? k.True() : k.Lane() < (head_dim - i * kPairs) / 2;
}

// The index in the head of the lane's element 2 i.
Val<U32> PairIndex(const Val<U32>& lane, uint32_t i) { return lane * 2 + i * kPairs; }

// The two elements from `index`, an even number, on.
Vec<F32, 2> LoadPair(const In<U8>& cell, QuantType type, const Val<U32>& index) {
  if (type == QuantType::kF16) return UnpackHalf2(cell.As<U32>().Load(index / 2));
  const In<U8> block = cell.At(index / kQ8_0Weights, kQ8_0Bytes);
  const Val<F32> d = ToF32(block.As<F16>().Load(0));
  // Flipping the sign bits turns q into q + 128, an unsigned byte.
  const Val<U32> quants = block.At(kQ8_0Quants).As<U16>().Load(index % kQ8_0Weights / 2) ^ 0x8080;
  const Vec<F32, 4> q = BytesToF32(quants, 128);
  return Vec<F32, 2>({q[0] * d, q[1] * d});
}

// The lane's elements of a cell; those beyond the head are 0.
std::vector<Val<F32>> LoadCell(KernelBuilder& k, const In<U8>& cell, const AttentionSpec& spec,
                               const Val<U32>& lane) {
  std::vector<Val<F32>> values;
  for (uint32_t i = 0; i < PerLane(spec.head_dim) / 2; ++i) {
    const Pred exists = HasPair(k, spec.head_dim, i);
    const Val<U32> index = PairIndex(lane, i);
    const Vec<F32, 2> pair =
        LoadPair(cell, spec.type, exists.constant() ? index : Min(index, spec.head_dim - 2));
    for (const Val<F32>& v : pair) values.push_back(Select<F32>(exists, v, 0.0f));
  }
  return values;
}

// What a warp, or a block, knows of one query after some positions.
struct Running {
  Running(KernelBuilder& k, uint32_t elements)
      : best(&k.recorder(), kMinusInfinity), weights(&k.recorder(), 0.0f) {
    for (uint32_t j = 0; j < elements; ++j) sums.emplace_back(&k.recorder(), Operand<F32>(0.0f));
  }

  // One more position.
  void Take(const Val<F32>& score, const std::vector<Val<F32>>& value) {
    const Val<F32> new_best = Max(best, score);
    const Val<F32> shrink = Exp(best - new_best);
    const Val<F32> weight = Exp(score - new_best);
    best = new_best;
    weights = Fma(weights, shrink, weight);
    for (size_t j = 0; j < sums.size(); ++j) sums[j] = Fma(value[j], weight, sums[j] * shrink);
  }

  Var<F32> best;              // the largest score
  Var<F32> weights;           // the sum of e^(score - best)
  std::deque<Var<F32>> sums;  // of values, so weighted
};

// One element of the join of `count` partial results, in their order; `best`, `weights` and `sum`
// load those of one. A result without positions has no weight.
struct Joined {
  Val<F32> best, weights, sum;
};
template <class Best, class Weights, class Sum>
Joined Join(KernelBuilder& k, uint32_t count, Best&& best, Weights&& weights, Sum&& sum) {
  Var<F32> overall = k.NewVar<F32>(kMinusInfinity);
  k.For(0, count, {}, [&](const Val<U32>& i) { overall = Max(overall, best(i)); });
  Var<F32> total = k.NewVar<F32>(0.0f);
  Var<F32> joined = k.NewVar<F32>(0.0f);
  k.For(0, count, {}, [&](const Val<U32>& i) {
    const Val<F32> part = weights(i);
    const Val<F32> share = Select<F32>(part == 0.0f, 0.0f, Exp(best(i) - overall));
    total.Fma(part, share);
    joined.Fma(sum(i), share);
  });
  return {overall, total, joined};
}

// The element of the result; 0 where there was nothing to attend to.
Val<F32> Normalised(const Joined& joined) {
  return Select<F32>(joined.weights == 0.0f, 0.0f, joined.sum / joined.weights);
}

absl::Status Check(const AttentionSpec& spec) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckKvCell(AttentionSpec::kFamily, spec.type, spec.head_dim));
  if (spec.heads % spec.kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "attention: heads=", spec.heads, " is not a multiple of kv_heads=", spec.kv_heads));
  }
  if (!(spec.softcap >= 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("attention: softcap=", spec.softcap, " is negative"));
  }
  if (spec.queries > 1 && spec.slots != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("attention: queries=", spec.queries,
                     " share what they read, which rows with slots of their own cannot"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<KernelSpec> BuildAttention(const AttentionSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(Check(spec));
  KernelBuilder k(KeyOf(spec, target), AttentionSpec::kFamily, target);

  const uint32_t dim = spec.head_dim;
  const uint32_t per_lane = PerLane(dim);
  const uint32_t cell_bytes = KvCellBytes(spec.type, dim);
  const bool several = spec.slots != 1;
  uint32_t next_param = several ? 6 : 5;
  const auto size = [&](const std::optional<uint32_t>& baked) {
    return baked ? SizeExpr(*baked) : SizeExpr::Param(next_param++);
  };
  const SizeExpr context_size = size(spec.context);
  const SizeExpr rows_size = size(spec.rows);
  const SizeExpr slots_size = size(spec.slots);
  const SizeExpr cache_size = slots_size * context_size * (uint64_t{spec.kv_heads} * cell_bytes);
  const SizeExpr row_heads = rows_size * spec.heads;
  const bool split = spec.splits > 1;
  const auto o = k.Param<Out<F32>>(split ? "partial" : "o",
                                   {.count = row_heads * (split ? spec.splits * (dim + 2) : dim)});
  const auto q = k.Param<In<F32>>("q", {.count = row_heads * dim});
  const auto k_cache = k.Param<In<U8>>("k_cache", {.count = cache_size});
  const auto v_cache = k.Param<In<U8>>("v_cache", {.count = cache_size});
  const auto positions = k.Param<In<U32>>("positions", {.count = rows_size, .alignment = 4});
  std::optional<In<U32>> row_slots;
  if (several) row_slots = k.Param<In<U32>>("row_slots", {.count = rows_size, .alignment = 4});
  const Dim context = k.ParamDim("context", spec.context);
  const Dim rows = k.ParamDim("rows", spec.rows);
  const Dim slots = k.ParamDim("slots", spec.slots);

  k.Launch({.block = {32 * spec.warps, 1, 1},
            .grid = {spec.heads * spec.splits, CeilDiv(rows_size, spec.queries), 1},
            .programmatic = spec.programmatic});
  // For a full cache; a shorter sequence reads its share.
  k.Costs(
      {.bytes = cache_size * 2 + row_heads * dim * 8, .flops = context_size * row_heads * dim * 4});

  if (spec.programmatic) {
    k.LaunchDependents();
    k.WaitForPredecessors();
  }
  const Val<U32> lane = k.Lane();
  const Val<U32> warp = k.Warp();
  const Val<U32> head = k.CtaX() / spec.splits;

  // The block's rows. The last block takes the last row for those it lacks and does not store them.
  struct Query {
    Val<U32> row, begin, end;      // of the positions of this block
    std::vector<Val<F32>> values;  // scaled; the lane's
  };
  std::vector<Query> queries;
  std::deque<Running> running;  // of each
  // The scale goes into the query once instead of into every score.
  const float scale = spec.scale != 0 ? spec.scale : 1.0f / std::sqrt(static_cast<float>(dim));
  std::optional<Val<U32>> slot;
  for (uint32_t t = 0; t < spec.queries; ++t) {
    const Val<U32> row = k.CtaY() * spec.queries + t;
    const Val<U32> source = spec.queries == 1 ? row : Min(row, rows - 1);
    if (several) slot.emplace(row_slots->Load(source));
    const Val<U32> cached = Min(positions.Load(source) + 1, context);
    const Val<U32> length = several ? Select<U32>(*slot < slots, cached, 0) : cached;
    const Val<U32> first = spec.window == 0 ? k.Const<U32>(0) : length - Min(length, spec.window);
    const Val<U32> share = (length - first + (spec.splits - 1)) / spec.splits;
    const Val<U32> begin = Min(first + k.CtaX() % spec.splits * share, length);
    std::vector<Val<F32>> values;
    const In<F32> from = q.At((source * spec.heads + head) * dim);
    for (uint32_t i = 0; i < per_lane / 2; ++i) {
      const Pred exists = HasPair(k, dim, i);
      const Val<U32> index = PairIndex(lane, i);
      const Vec<F32, 2> pair = from.Load<2>(exists.constant() ? index : Min(index, dim - 2));
      for (const Val<F32>& v : pair) values.push_back(Select<F32>(exists, v * scale, 0.0f));
    }
    queries.push_back({row, begin, Min(begin + share, length), values});
    running.emplace_back(k, per_lane);
  }
  const Val<U32> kv_head = head / (spec.heads / spec.kv_heads);
  const Val<U32> cells = (several ? *slot * spec.kv_heads + kv_head : kv_head) * context;
  const In<U8> keys = k_cache.At(cells, cell_bytes);
  const In<U8> values = v_cache.At(cells, cell_bytes);

  Var<U32> begin = k.NewVar<U32>(queries[0].begin);
  Var<U32> end = k.NewVar<U32>(queries[0].end);
  for (uint32_t t = 1; t < spec.queries; ++t) {
    begin = Min(begin, queries[t].begin);
    end = Max(end, queries[t].end);
  }
  // The warp's first position from `begin` on, so that which warp takes a position depends on
  // nothing else.
  const Val<U32> mine = begin + (warp - begin) % spec.warps;
  k.For(mine, end, {.step = spec.warps}, [&](const Val<U32>& p) {
    const std::vector<Val<F32>> key = LoadCell(k, keys.At(p, cell_bytes), spec, lane);
    const std::vector<Val<F32>> value = LoadCell(k, values.At(p, cell_bytes), spec, lane);
    for (uint32_t t = 0; t < spec.queries; ++t) {
      const Query& query = queries[t];
      const Pred sees =
          spec.queries == 1 ? k.True() : Pred(p >= query.begin) && Pred(p < query.end);
      k.If(sees, [&] {
        Var<F32> dot = k.NewVar<F32>(0.0f);
        for (uint32_t j = 0; j < per_lane; ++j) dot.Fma(query.values[j], key[j]);
        const Val<F32> score = WarpSum(dot);
        running[t].Take(
            spec.softcap == 0 ? score : Tanh(score * (1.0f / spec.softcap)) * spec.softcap, value);
      });
    }
  });

  // Join the warps.
  const uint32_t results = spec.queries * spec.warps;
  const Shared<F32> bests = k.SharedArray<F32>("bests", results);
  const Shared<F32> weights = k.SharedArray<F32>("weights", results);
  const Shared<F32> sums = k.SharedArray<F32>("sums", results * dim);
  for (uint32_t t = 0; t < spec.queries; ++t) {
    const Val<U32> result = warp + t * spec.warps;
    k.If(lane == 0, [&] {
      bests.Store(result, running[t].best);
      weights.Store(result, running[t].weights);
    });
    for (uint32_t i = 0; i < per_lane / 2; ++i) {
      k.If(HasPair(k, dim, i), [&] {
        sums.At(result * dim)
            .Store<2>(PairIndex(lane, i),
                      Vec<F32, 2>({running[t].sums[2 * i], running[t].sums[2 * i + 1]}));
      });
    }
  }
  k.Barrier();
  for (uint32_t t = 0; t < spec.queries; ++t) {
    const Val<U32> row = queries[t].row;
    k.If(spec.queries == 1 ? k.True() : row < rows, [&] {
      k.For(k.ThreadX(), dim, {.step = 32 * spec.warps}, [&](const Val<U32>& d) {
        const Joined joined = Join(
            k, spec.warps, [&](const Val<U32>& w) { return bests.Load(w + t * spec.warps); },
            [&](const Val<U32>& w) { return weights.Load(w + t * spec.warps); },
            [&](const Val<U32>& w) { return sums.Load((w + t * spec.warps) * dim + d); });
        if (!split) {
          o.Store((row * spec.heads + head) * dim + d, Normalised(joined));
          return;
        }
        const Out<F32> partial = o.At((row * (spec.heads * spec.splits) + k.CtaX()) * (dim + 2));
        partial.Store(d, joined.sum);
        k.If(d == 0, [&] {
          partial.Store(dim, joined.best);
          partial.Store(dim + 1, joined.weights);
        });
      });
    });
  }
  return std::move(k).Finish();
}

std::vector<AttentionSpec> AttentionVariants() {
  constexpr QuantType kQ8 = QuantType::kQ8_0;
  std::vector<AttentionSpec> variants;
  for (uint32_t dim : {32u, 64u, 80u, 96u, 128u, 256u}) {
    for (uint32_t warps : {1u, 4u, 16u}) variants.push_back({4, 2, dim, 64, warps});
  }
  for (uint32_t dim : {16u, 48u, 112u}) variants.push_back({4, 2, dim, 33, 4});
  variants.push_back({32, 8, 128, 4096, 8});
  variants.push_back({3, 1, 64, std::nullopt, 2});
  const auto add = [&](AttentionSpec spec, auto change) {
    change(spec);
    variants.push_back(spec);
  };
  for (uint32_t dim : {32u, 64u, 96u, 128u, 256u}) {
    add({4, 2, dim, 33, 4}, [&](AttentionSpec& s) { s.type = kQ8; });
  }
  const AttentionSpec small{4, 2, 64, 65, 4};
  add(small, [](AttentionSpec& s) { s.window = 7; });
  add(small, [](AttentionSpec& s) { s.softcap = 30; });
  add(small, [](AttentionSpec& s) { s.scale = 0.25f; });
  // Several sequences.
  add(small, [](AttentionSpec& s) { s.rows = 3, s.slots = 5; });
  add(small, [](AttentionSpec& s) {
    s.context = s.rows = s.slots = std::nullopt, s.type = kQ8, s.window = 20, s.splits = 3;
  });
  // Prefill.
  add(small, [](AttentionSpec& s) { s.rows = 5; });
  add(small, [](AttentionSpec& s) { s.rows = std::nullopt, s.queries = 2, s.head_dim = 80; });
  add(small, [](AttentionSpec& s) { s.rows = std::nullopt, s.queries = 4, s.head_dim = 128; });
  add(small, [](AttentionSpec& s) {
    s.rows = 11, s.queries = 8, s.window = 9, s.type = kQ8, s.softcap = 5, s.splits = 2;
  });
  for (uint32_t splits : {2u, 8u, 64u}) {
    add(small, [&](AttentionSpec& s) { s.splits = splits; });
  }
  add(small, [](AttentionSpec& s) { s.splits = 2, s.programmatic = true; });
  return variants;
}

absl::StatusOr<KernelSpec> BuildAttentionCombine(const AttentionCombineSpec& spec,
                                                 const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), AttentionCombineSpec::kFamily, target);
  const uint32_t dim = spec.head_dim;
  const SizeExpr rows = spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(2);
  const SizeExpr row_heads = rows * spec.heads;
  const auto o = k.Param<Out<F32>>("o", {.count = row_heads * dim});
  const auto partial =
      k.Param<In<F32>>("partial", {.count = row_heads * (spec.splits * (dim + 2))});
  k.ParamDim("rows", spec.rows);

  const uint32_t threads = (dim + kWarpLanes - 1) / kWarpLanes * kWarpLanes;
  k.Launch({.block = {threads, 1, 1}, .grid = {spec.heads, rows, 1}});
  k.Costs({.bytes = row_heads * (spec.splits * (dim + 2) + dim) * 4,
           .flops = row_heads * (spec.splits * dim * 4)});

  const Val<U32> d = k.ThreadX();
  const Val<U32> result = k.CtaY() * spec.heads + k.CtaX();
  const In<F32> parts = partial.At(result * spec.splits, 4 * (dim + 2));
  k.If(threads == dim ? k.True() : d < dim, [&] {
    const Joined joined = Join(
        k, spec.splits, [&](const Val<U32>& i) { return parts.At(i * (dim + 2)).Load(dim); },
        [&](const Val<U32>& i) { return parts.At(i * (dim + 2)).Load(dim + 1); },
        [&](const Val<U32>& i) { return parts.At(i * (dim + 2)).Load(d); });
    o.Store(result * dim + d, Normalised(joined));
  });
  return std::move(k).Finish();
}

std::vector<AttentionCombineSpec> AttentionCombineVariants() {
  return {{4, 64, 2, 1}, {3, 80, 8, 2}, {2, 128, 64, std::nullopt}, {1, 256, 5, 3}, {1, 16, 3, 1}};
}

}  // namespace ptxsmith

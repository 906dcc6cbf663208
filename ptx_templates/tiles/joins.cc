#include "ptx_templates/tiles/joins.h"

#include <deque>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"
#include "codegen/warp.h"
#include "ptx_templates/kv_cache.h"
#include "ptx_templates/tiles/column_image.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kEight = 8;  // elements of a thread
constexpr uint32_t kSumThreads = 256;
constexpr uint32_t kSquares = 256;  // elements to a sum of squares

absl::Status CheckRows(absl::string_view family, uint32_t rows, uint32_t columns) {
  if (rows <= columns) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(family, ": rows=", rows, " exceed columns=", columns));
}

void StartAfterPredecessors(KernelBuilder& k, bool programmatic) {
  if (!programmatic) return;
  k.LaunchDependents();
  k.WaitForPredecessors();
}

// The parameter of [slices][columns][n] and the sums over its slices.
class Parts {
 public:
  Parts(KernelBuilder& k, uint32_t slices, uint32_t columns, uint32_t n)
      : from_(k.Param<In<F32>>("parts", {.count = uint64_t{slices} * columns * n})),
        k_(k),
        slices_(slices),
        stride_(columns * n),
        n_(n) {}

  uint64_t bytes(uint32_t rows) const { return uint64_t{slices_} * rows * n_ * 4; }

  // N elements of a row from `element` on, aligned to them.
  template <size_t N>
  Vec<F32, N> Load(const Val<U32>& row, const Val<U32>& element) const {
    const In<F32> at = from_.At(row * n_ + element);
    std::vector<Vec<F32, N>> slices;
    for (uint32_t s = 0; s < slices_; ++s) slices.push_back(at.At(s * stride_).Load<N>(0));
    return MakeVec<N>([&](size_t i) {
      Var<F32> total = k_.NewVar<F32>(slices[0][i]);
      for (uint32_t s = 1; s < slices_; ++s) total += slices[s][i];
      return Val<F32>(total);
    });
  }

 private:
  In<F32> from_;
  KernelBuilder& k_;
  uint32_t slices_, stride_, n_;
};

Vec<F32, kEight> Concatenate(const Vec<F32, 4>& a, const Vec<F32, 4>& b) {
  return MakeVec<kEight>([&](size_t i) { return i < 4 ? a[i] : b[i - 4]; });
}
Vec<F32, kEight> LoadEight(const Parts& parts, const Val<U32>& row, const Val<U32>& element) {
  return Concatenate(parts.Load<4>(row, element), parts.Load<4>(row, element + 4));
}
template <class P>
Vec<F32, kEight> LoadEight(const P& at) {
  return Concatenate(at.template Load<4>(0), at.template Load<4>(4));
}

// The parameter of sums of squares, and 1 / rms of a row of `normed` elements; 1 where there is no
// norm.
class RowFactor {
 public:
  RowFactor(KernelBuilder& k, uint32_t rows, uint32_t normed, float eps)
      : k_(k), normed_(normed), eps_(eps) {
    if (normed == 0) return;
    squares_.emplace(k.Param<In<F32>>("squares", {.count = uint64_t{rows} * (normed / kSquares)}));
  }

  // Loads the row's.
  std::optional<Val<F32>> Load(const Val<U32>& row) const {
    if (!squares_) return std::nullopt;
    const uint32_t count = normed_ / kSquares;
    const In<F32> from = squares_->At(row * count);
    std::vector<Val<F32>> sums;
    for (uint32_t i = 0; i < count; ++i) sums.push_back(from.Load(i));
    Var<F32> total = k_.NewVar<F32>(sums[0]);
    for (uint32_t i = 1; i < count; ++i) total += sums[i];
    const Val<F32> mean = Val<F32>(total) / static_cast<float>(normed_);
    return Constant<F32>(mean, 1.0f) / Sqrt(mean + eps_);
  }

 private:
  KernelBuilder& k_;
  uint32_t normed_;
  float eps_;
  std::optional<In<F32>> squares_;
};

Val<F32> Times(const Val<F32>& value, const std::optional<Val<F32>>& factor) {
  return factor ? value * *factor : value;
}

Out<U8> ImageParam(KernelBuilder& k, uint32_t n, uint32_t columns) {
  return k.Param<Out<U8>>("image", {.count = ColumnImageBytes(n, columns)});
}

// A thread for each eight elements of `rows` rows of n; returns which eight of its row it has. A
// warp for a block: larger ones gather on fewer SMs (64 threads: 12478 instead of 13045 tokens/s
// for 32 sequences, 8B, H200, 2026-11-20).
Val<U32> LaunchEights(KernelBuilder& k, uint32_t n, uint32_t rows, bool programmatic) {
  k.Launch({.block = {kWarpLanes, 1, 1},
            .grid = {n / (kEight * kWarpLanes), rows, 1},
            .programmatic = programmatic});
  return k.GlobalThread();
}

}  // namespace

absl::StatusOr<KernelSpec> BuildJoinNorm(const JoinNormSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckRows(JoinNormSpec::kFamily, spec.rows, spec.columns));
  KernelBuilder k(KeyOf(spec, target), JoinNormSpec::kFamily, target);
  const Out<U8> image = ImageParam(k, spec.n, spec.columns);
  const auto squares =
      k.Param<Out<F32>>("squares", {.count = uint64_t{spec.rows} * (spec.n / kSquares)});
  const auto x = k.Param<InOut<F32>>("x", {.count = uint64_t{spec.rows} * spec.n});
  std::optional<Parts> parts;
  if (spec.slices != 0) parts.emplace(k, spec.slices, spec.columns, spec.n);
  const auto weight = k.Param<In<F32>>("weight", {.count = spec.n, .constant = true});
  const Val<U32> eight = LaunchEights(k, spec.n, spec.rows, spec.programmatic);
  const uint64_t elements = uint64_t{spec.rows} * spec.n;
  k.Costs({.bytes = elements * 10 + uint64_t{spec.n} * 4 + (parts ? parts->bytes(spec.rows) : 0),
           .flops = elements * 4});

  const Val<U32> row = k.CtaY();
  const Vec<F32, kEight> scale = LoadEight(weight.At(eight * kEight));
  StartAfterPredecessors(k, spec.programmatic);
  const InOut<F32> own = x.At(row * spec.n + eight * kEight);
  const Vec<F32, kEight> before = LoadEight(own);
  const auto joined = [&] {
    if (!parts) return before;
    const Vec<F32, kEight> more = LoadEight(*parts, row, eight * kEight);
    return MakeVec<kEight>([&](size_t i) { return before[i] + more[i]; });
  };
  const Vec<F32, kEight> now = joined();
  if (parts) {
    for (uint32_t i = 0; i < kEight; i += 4) {
      own.Store<4>(i, MakeVec<4>([&](size_t j) { return now[i + j]; }));
    }
  }
  const Val<F32> sum = WarpSum(Sum(MakeVec<kEight>([&](size_t i) { return now[i] * now[i]; })));
  k.If(eight % kWarpLanes == 0,
       [&] { squares.Store(row * (spec.n / kSquares) + eight / kWarpLanes, sum); });
  StoreColumns(k, image, spec.columns, row, eight,
               MakeVec<kEight>([&](size_t i) { return now[i] * scale[i]; }));
  return std::move(k).Finish();
}

std::vector<JoinNormSpec> JoinNormVariants() {
  return {{256, 1, 1, 8},         {512, 8, 0, 8},    {1536, 5, 2, 8},
          {768, 32, 3, 32, true}, {4096, 11, 8, 16}, {8192, 2, 1, 8, true}};
}

absl::StatusOr<KernelSpec> BuildJoinGlu(const JoinGluSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckRows(JoinGluSpec::kFamily, spec.rows, spec.columns));
  KernelBuilder k(KeyOf(spec, target), JoinGluSpec::kFamily, target);
  const Out<U8> image = ImageParam(k, spec.n, spec.columns);
  const Parts parts(k, spec.slices, spec.columns, 2 * spec.n);
  const RowFactor factors(k, spec.rows, spec.normed, spec.eps);
  const Val<U32> eight = LaunchEights(k, spec.n, spec.rows, spec.programmatic);
  const uint64_t elements = uint64_t{spec.rows} * spec.n;
  k.Costs({.bytes = elements * 2 + parts.bytes(spec.rows), .flops = elements * 4});

  StartAfterPredecessors(k, spec.programmatic);
  const Vec<F32, kEight> gates = LoadEight(parts, k.CtaY(), eight * kEight);
  const Vec<F32, kEight> ups = LoadEight(parts, k.CtaY(), eight * kEight + spec.n);
  const std::optional<Val<F32>> factor = factors.Load(k.CtaY());
  StoreColumns(k, image, spec.columns, k.CtaY(), eight, MakeVec<kEight>([&](size_t i) {
                 const Val<F32> gate = Times(gates[i], factor);
                 return gate / (Exp(Neg(gate)) + 1.0f) * Times(ups[i], factor);
               }));
  return std::move(k).Finish();
}

std::vector<JoinGluSpec> JoinGluVariants() {
  return {{256, 1, 1, 8},
          {1280, 8, 2, 8},
          {512, 31, 1, 32, 768, 1e-6f, true},
          {14336, 9, 2, 16, 4096, 1e-5f, true}};
}

absl::StatusOr<KernelSpec> BuildJoinHeads(const JoinHeadsSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckRows(JoinHeadsSpec::kFamily, spec.rows, spec.columns));
  KernelBuilder k(KeyOf(spec, target), JoinHeadsSpec::kFamily, target);
  const uint32_t dim = spec.head_dim;
  const uint32_t all_heads = spec.heads + 2 * spec.kv_heads;
  const uint32_t cell_bytes = KvCellBytes(QuantType::kF16, dim);
  const uint64_t cache_size = uint64_t{spec.slots} * spec.kv_heads * spec.context * cell_bytes;
  const auto q = k.Param<Out<F32>>("q", {.count = uint64_t{spec.rows} * spec.heads * dim});
  const auto k_cache = k.Param<InOut<U8>>("k_cache", {.count = cache_size});
  const auto v_cache = k.Param<InOut<U8>>("v_cache", {.count = cache_size});
  const Parts parts(k, spec.slices, spec.columns, all_heads * dim);
  const RowFactor factors(k, spec.rows, spec.normed, spec.eps);
  const auto positions = k.Param<In<U32>>("positions", {.count = spec.rows, .alignment = 4});
  const auto row_slots = k.Param<In<U32>>("row_slots", {.count = spec.rows, .alignment = 4});
  const auto rates = k.Param<In<F32>>("rates", {.count = dim, .constant = true});
  std::vector<In<F32>> biases;
  if (spec.bias) {
    for (const auto& [name, heads] :
         {std::pair("q_bias", spec.heads), std::pair("k_bias", spec.kv_heads),
          std::pair("v_bias", spec.kv_heads)}) {
      biases.push_back(k.Param<In<F32>>(name, {.count = uint64_t{heads} * dim, .constant = true}));
    }
  }
  const uint32_t pairs = dim / 2;
  const uint32_t threads = (pairs + kWarpLanes - 1) / kWarpLanes * kWarpLanes;
  k.Launch({.block = {threads, 1, 1},
            .grid = {all_heads, spec.rows, 1},
            .programmatic = spec.programmatic});
  const uint64_t elements = uint64_t{spec.rows} * all_heads * dim;
  k.Costs({.bytes = parts.bytes(spec.rows) + elements * 4, .flops = elements * 4});

  const Val<U32> head = k.CtaX();
  const Val<U32> row = k.CtaY();
  const Val<U32> pair = k.ThreadX();
  StartAfterPredecessors(k, spec.programmatic);
  k.If(threads == pairs ? k.True() : pair < pairs, [&] {
    const bool adjacent = spec.pairing == RopePairing::kAdjacent;
    const Val<U32> first = adjacent ? pair * 2 : pair;
    const uint32_t apart = adjacent ? 1 : pairs;
    const Val<U32> position = positions.Load(row);
    const Val<U32> slot = row_slots.Load(row);
    const std::optional<Val<F32>> factor = factors.Load(row);
    const auto load = [&](uint32_t heads_before, const In<F32>* bias) {
      const auto element = [&](const Val<U32>& of_head) {
        const Val<F32> sum = Times(parts.Load<1>(row, head * dim + of_head)[0], factor);
        return bias == nullptr ? sum : sum + bias->Load((head - heads_before) * dim + of_head);
      };
      return Vec<F32, 2>({element(first), element(first + apart)});
    };
    const auto rotated = [&](const Vec<F32, 2>& v) {
      const auto [hi, lo] = rates.Load<2>(pair * 2);
      const auto [cosine, sine] = CosSinTurns(FractionOfTurns(ToF32(position), hi, lo));
      return Vec<F32, 2>({v[0] * cosine - v[1] * sine, v[0] * sine + v[1] * cosine});
    };
    const auto append = [&](const InOut<U8>& cache, const Val<U32>& kv_head, const Vec<F32, 2>& v) {
      k.If(position < spec.context && slot < spec.slots, [&] {
        const Val<U32> cell = (slot * spec.kv_heads + kv_head) * spec.context + position;
        const InOut<F16> to = cache.At(cell, cell_bytes).As<F16>();
        to.Store(first, ToF16(v[0]));
        to.Store(first + apart, ToF16(v[1]));
      });
    };
    const uint32_t first_value = spec.heads + spec.kv_heads;
    k.If(
        head < spec.heads,
        [&] {
          const Vec<F32, 2> v = rotated(load(0, spec.bias ? &biases[0] : nullptr));
          const Out<F32> to = q.At((row * spec.heads + head) * dim);
          to.Store(first, v[0]);
          to.Store(first + apart, v[1]);
        },
        [&] {
          k.If(
              head < first_value,
              [&] {
                append(k_cache, head - spec.heads,
                       rotated(load(spec.heads, spec.bias ? &biases[1] : nullptr)));
              },
              [&] {
                append(v_cache, head - first_value,
                       load(first_value, spec.bias ? &biases[2] : nullptr));
              });
        });
  });
  return std::move(k).Finish();
}

std::vector<JoinHeadsSpec> JoinHeadsVariants() {
  constexpr RopePairing kHalf = RopePairing::kHalfSplit;
  return {{4, 2, 64, 9, 3, 2},
          {2, 1, 80, 5, 4, 3, 2, 8, kHalf, true, 256},
          {3, 3, 128, 4, 1, 5, 2, 8, RopePairing::kAdjacent, true},
          {32, 8, 128, 64, 32, 32, 2, 32, kHalf, false, 4096, 1e-5f, true}};
}

absl::StatusOr<KernelSpec> BuildJoinAttention(const JoinAttentionSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckRows(JoinAttentionSpec::kFamily, spec.rows, spec.columns));
  const uint32_t dim = spec.head_dim;
  const uint32_t n = spec.heads * dim;
  if (n % 256 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("join_attention: heads=", spec.heads,
                                                   " of head_dim=", dim,
                                                   " are no multiple of 256 elements"));
  }
  KernelBuilder k(KeyOf(spec, target), JoinAttentionSpec::kFamily, target);
  const Out<U8> image = ImageParam(k, n, spec.columns);
  const uint64_t partial_count = uint64_t{spec.rows} * spec.heads * spec.splits * (dim + 2);
  const auto partial = k.Param<In<F32>>("partial", {.count = partial_count});
  const Val<U32> eight = LaunchEights(k, n, spec.rows, spec.programmatic);
  k.Costs({.bytes = partial_count * 4 + uint64_t{spec.rows} * n * 2, .flops = partial_count * 2});

  StartAfterPredecessors(k, spec.programmatic);
  const Val<U32> head = k.CtaY() * spec.heads + eight / (dim / kEight);
  const Val<U32> element = eight % (dim / kEight) * kEight;
  const In<F32> parts = partial.At(head * spec.splits, 4 * (dim + 2));
  const auto part = [&](const Val<U32>& s) { return parts.At(s, 4 * (dim + 2)); };
  Var<F32> best = k.NewVar<F32>(parts.Load(dim));
  k.For(1, spec.splits, {.unroll = 8},
        [&](const Val<U32>& s) { best = Max(Val<F32>(best), part(s).Load(dim)); });
  Var<F32> weights = k.NewVar<F32>(0.0f);
  std::deque<Var<F32>> sums;
  for (uint32_t i = 0; i < kEight; ++i) sums.emplace_back(&k.recorder(), 0.0f);
  k.For(0, spec.splits, {.unroll = 2}, [&](const Val<U32>& s) {
    const In<F32> from = part(s);
    const Val<F32> weight = from.Load(dim + 1);
    // A split without positions has no weight, and no largest score.
    const Val<F32> share = Select<F32>(weight == 0.0f, 0.0f, Exp(from.Load(dim) - best));
    weights.Fma(weight, share);
    for (uint32_t i = 0; i < kEight; i += 2) {
      const Vec<F32, 2> two = from.At(element).Load<2>(i);
      sums[i].Fma(two[0], share);
      sums[i + 1].Fma(two[1], share);
    }
  });
  // A row without a sequence has found nothing.
  const Pred nothing = Val<F32>(weights) == 0.0f;
  const Val<F32> inverse = Select<F32>(nothing, 0.0f, Constant<F32>(best, 1.0f) / weights);
  StoreColumns(k, image, spec.columns, k.CtaY(), eight,
               MakeVec<kEight>([&](size_t i) { return sums[i] * inverse; }));
  return std::move(k).Finish();
}

std::vector<JoinAttentionSpec> JoinAttentionVariants() {
  return {{4, 64, 2, 3}, {8, 96, 3, 1}, {2, 128, 2, 9, 16, true}, {32, 128, 8, 32, 32, true}};
}

absl::StatusOr<KernelSpec> BuildJoinSum(const JoinSumSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckRows(JoinSumSpec::kFamily, spec.rows + spec.skip, spec.columns));
  KernelBuilder k(KeyOf(spec, target), JoinSumSpec::kFamily, target);
  const auto y = k.Param<Out<F32>>("y", {.count = uint64_t{spec.rows} * spec.n});
  const Parts parts(k, spec.slices, spec.columns, spec.n);
  const RowFactor factors(k, spec.rows + spec.skip, spec.normed, spec.eps);
  const bool fours = spec.n % 4 == 0;
  const uint32_t items = fours ? spec.n / 4 : spec.n;  // of a row
  k.Launch({.block = {kSumThreads, 1, 1},
            .grid = {(items + kSumThreads - 1) / kSumThreads, spec.rows, 1},
            .programmatic = spec.programmatic});
  const uint64_t elements = uint64_t{spec.rows} * spec.n;
  k.Costs({.bytes = elements * 4 + parts.bytes(spec.rows), .flops = elements * spec.slices});

  StartAfterPredecessors(k, spec.programmatic);
  const Val<U32> item = k.GlobalThread();
  const Val<U32> row = k.CtaY() + spec.skip;
  k.If(items % kSumThreads == 0 ? k.True() : item < items, [&] {
    const std::optional<Val<F32>> factor = factors.Load(row);
    if (fours) {
      const Vec<F32, 4> sums = parts.Load<4>(row, item * 4);
      y.At(k.CtaY() * spec.n + item * 4).Store<4>(0, MakeVec<4>([&](size_t j) {
                                                    return Times(sums[j], factor);
                                                  }));
    } else {
      y.Store(k.CtaY() * spec.n + item, Times(parts.Load<1>(row, item)[0], factor));
    }
  });
  return std::move(k).Finish();
}

std::vector<JoinSumSpec> JoinSumVariants() {
  return {{256, 1, 1, 8},
          {1000, 8, 2, 8},
          {77, 13, 3, 16, 512},
          {128, 2, 2, 16, 256, 1e-5f, true, 11},
          {128256, 32, 2, 32, 4096, 1e-5f, true}};
}

}  // namespace ptxsmith

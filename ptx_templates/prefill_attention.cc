#include "ptx_templates/prefill_attention.h"

#include <cmath>
#include <deque>
#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/async.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"
#include "codegen/mma.h"
#include "codegen/status_macros.h"
#include "codegen/warp.h"
#include "ptx_templates/blocked_half.h"

namespace ptxsmith {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr float kLog2E = 1.44269504f;
constexpr uint32_t kWarpRows = 16;  // of an mma
constexpr uint32_t kPiece = 8;      // halves of 16 bytes: what one lane copies
// Rows in shared memory are padded by one piece: their distance is then an odd number of pieces, so
// that the eight rows of a matrix lie in different banks.
constexpr uint32_t kPad = kPiece;
constexpr uint32_t kStages = 2;

absl::Status Check(const PrefillAttentionSpec& spec) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  if (spec.heads % spec.kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "prefill_attention: heads=", spec.heads, " is not a multiple of kv_heads=", spec.kv_heads));
  }
  if (spec.heads / spec.kv_heads > kWarpRows * spec.warps) {
    return absl::InvalidArgumentError(absl::StrCat(
        "prefill_attention: ", spec.heads / spec.kv_heads,
        " heads share their keys; warps=", spec.warps, " take ", kWarpRows * spec.warps));
  }
  if (!(spec.softcap >= 0) || !(spec.scale >= 0)) {
    return absl::InvalidArgumentError(absl::StrCat("prefill_attention: softcap=", spec.softcap,
                                                   " or scale=", spec.scale, " is negative"));
  }
  if (spec.blocked) {
    return CheckBlocked(PrefillAttentionSpec::kFamily, "heads * head_dim",
                        spec.heads * spec.head_dim);
  }
  return absl::OkStatus();
}

// The two stages of keys or of values in shared memory.
class Stages {
 public:
  Stages(KernelBuilder& k, const char* name, const PrefillAttentionSpec& spec)
      : k_(k),
        spec_(spec),
        halves_(k.SharedArray<F16>(name, kStages * spec.tile * (spec.head_dim + kPad))) {}

  InOut<F16> Stage(const Val<U32>& tile) const {
    return halves_.At(tile % kStages * (spec_.tile * (spec_.head_dim + kPad)));
  }

  // Starts copying the tile from position `first` on. Positions beyond `last` become copies of
  // `last`: whatever the cache holds there might be a NaN, which a weight of 0 does not silence.
  void Copy(const Val<U32>& tile, const In<F16>& cells, const Val<U32>& first,
            const Val<U32>& last) const {
    const uint32_t row_pieces = spec_.head_dim / kPiece;
    const uint32_t pieces = spec_.tile * row_pieces;
    const uint32_t threads = kWarpLanes * spec_.warps;
    const InOut<F16> to = Stage(tile);
    for (uint32_t done = 0; done < pieces; done += threads) {
      const Val<U32> piece = k_.ThreadX() + done;
      k_.If(done + threads <= pieces ? k_.True() : piece < pieces, [&] {
        const Val<U32> row = piece / row_pieces;
        const Val<U32> column = piece % row_pieces * kPiece;
        const In<F16> from =
            cells.At(Min(first + row, last), spec_.head_dim * kByteSize<F16>).At(column);
        CopyAsync16(to.At(row * (spec_.head_dim + kPad) + column).As<U8>(), from.As<U8>());
      });
    }
  }

 private:
  KernelBuilder& k_;
  const PrefillAttentionSpec& spec_;
  const Shared<F16> halves_;
};

// What the lane's four neighbours of one row make together.
template <class F>
Val<F32> QuadReduce(const Val<F32>& value, F&& combine) {
  const Val<F32> pair = combine(value, ShuffleXor(value, 1));
  return combine(pair, ShuffleXor(pair, 2));
}

Vec<U32, 2> Half(const Vec<U32, 4>& matrices, uint32_t half) {
  return Vec<U32, 2>({matrices[2 * half], matrices[2 * half + 1]});
}

// One of the two rows that a lane holds a part of: rows g and g + 8 of its warp's tile.
struct Row {
  Row(KernelBuilder& k, const Val<U32>& token, const Val<U32>& head, const Pred& exists,
      const Val<U32>& position)
      : token(token),
        head(head),
        exists(exists),
        position(position),
        best(&k.recorder(), kMinusInfinity),
        weights(&k.recorder(), 0.0f) {}

  Val<U32> token, head;
  Pred exists;  // else it is computed and not stored
  Val<U32> position;
  Var<F32> best;     // the largest score, the same in the row's four lanes
  Var<F32> weights;  // the lane's part of the sum of e^(score - best)
};

// A's fragments of the warp's rows of q, one per 16 elements. Those of large heads lie in shared
// memory, as the sums take most of the registers.
class Queries {
 public:
  Queries(KernelBuilder& k, const PrefillAttentionSpec& spec, const In<F32>& q,
          const std::deque<Row>& rows) {
    const Val<U32> lane = k.Lane();
    const uint32_t stride = spec.head_dim + kPad;
    if (spec.head_dim > kMostInRegisters) {
      shared_.emplace(k.SharedArray<F16>("queries", spec.warps * kWarpRows * stride)
                          .At(k.Warp() * (kWarpRows * stride)));
    }
    for (uint32_t step = 0; step < spec.head_dim / 16; ++step) {
      const auto word = [&](size_t i) {
        const Row& row = rows[i % 2];
        const Val<U32> element = lane % 4 * 2 + (step * 16 + static_cast<uint32_t>(i / 2) * 8);
        const Vec<F32, 2> pair =
            q.At((row.token * spec.heads + row.head) * spec.head_dim).Load<2>(element);
        const Val<U32> packed = PackHalf2(pair[0], pair[1]);
        if (shared_) {
          const Val<U32> at = (lane / 4 + static_cast<uint32_t>(i % 2) * 8) * stride + element;
          shared_->At(at).As<U32>().Store(0, packed);
        }
        return packed;
      };
      fragments_.push_back(MakeVec<4>(word));
    }
    if (!shared_) return;
    k.WarpBarrier();
    shared_.emplace(shared_->At(lane % 16 * stride + lane / 16 * kPiece));
  }

  Vec<U32, 4> Fragment(uint32_t step) const {
    return shared_ ? LoadMatrices(shared_->At(step * 16), false) : fragments_[step];
  }

 private:
  static constexpr uint32_t kMostInRegisters = 128;  // elements of a head

  std::vector<Vec<U32, 4>> fragments_;
  std::optional<InOut<F16>> shared_;  // in the end the lane's row: see LoadMatrices
};

// The scores of the tile become weights e^(score - best); what is summed so far shrinks to the new
// best. Elements 2 r and 2 r + 1 of every tile belong to rows[r].
void Soften(const PrefillAttentionSpec& spec, std::deque<MmaTile>& scores,
            std::deque<MmaTile>& sums, std::deque<Row>& rows) {
  const float scale =
      spec.scale != 0 ? spec.scale : 1.0f / std::sqrt(static_cast<float>(spec.head_dim));
  const float exponent = spec.softcap != 0 ? kLog2E : scale * kLog2E;  // of 2, per score
  for (size_t r = 0; r < rows.size(); ++r) {
    Row& row = rows[r];
    Var<F32> largest(row.best.recorder(), row.best);
    for (const MmaTile& tile : scores) {
      largest = Max(largest, Max(tile.Element(2 * r), tile.Element(2 * r + 1)));
    }
    const Val<F32> best =
        QuadReduce(largest, [](const Val<F32>& a, const Val<F32>& b) { return Max(a, b); });
    // A row whose window has not begun yet has seen nothing.
    const Val<F32> base = spec.window == 0 ? best : Select<F32>(best == kMinusInfinity, 0.0f, best);
    const Val<F32> shrink = Exp2Approx((row.best - base) * exponent);
    const Val<F32> offset = base * -exponent;
    row.best = best;
    row.weights *= shrink;
    for (MmaTile& tile : scores) {
      for (size_t i : {2 * r, 2 * r + 1}) {
        const Val<F32> weight = Exp2Approx(Fma(tile.Element(i), exponent, offset));
        row.weights += weight;
        tile.SetElement(i, weight);
      }
    }
    for (MmaTile& sum : sums) {
      for (size_t i : {2 * r, 2 * r + 1}) sum.SetElement(i, sum.Element(i) * shrink);
    }
  }
}

}  // namespace

absl::StatusOr<KernelSpec> BuildPrefillAttention(const PrefillAttentionSpec& spec,
                                                 const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(Check(spec));
  KernelBuilder k(KeyOf(spec, target), PrefillAttentionSpec::kFamily, target);

  const uint32_t dim = spec.head_dim;
  const uint32_t group = spec.heads / spec.kv_heads;
  const uint32_t block_tokens = kWarpRows * spec.warps / group;
  uint32_t next_param = 5;
  const auto size = [&](const std::optional<uint32_t>& baked) {
    return baked ? SizeExpr(*baked) : SizeExpr::Param(next_param++);
  };
  const SizeExpr context_size = size(spec.context);
  const SizeExpr rows_size = size(spec.rows);
  const SizeExpr cache_size = context_size * (spec.kv_heads * dim);
  const SizeExpr elements = rows_size * (spec.heads * dim);
  const auto o = k.Param<Out<F16>>(
      "o", {.count = spec.blocked ? BlockedCount(rows_size, spec.heads * dim) : elements});
  const auto q = k.Param<In<F32>>("q", {.count = elements});
  const auto k_cache = k.Param<In<F16>>("k_cache", {.count = cache_size});
  const auto v_cache = k.Param<In<F16>>("v_cache", {.count = cache_size});
  const auto positions = k.Param<In<U32>>("positions", {.count = rows_size, .alignment = 4});
  const Dim context = k.ParamDim("context", spec.context);
  const Dim tokens = k.ParamDim("rows", spec.rows);
  const SizeExpr blocks = CeilDiv(rows_size, block_tokens);
  k.Launch({.block = {kWarpLanes * spec.warps, 1, 1},
            .grid = {spec.kv_heads, blocks, 1},
            .min_blocks_per_sm = 1});
  // As if all rows saw all of the cache.
  k.Costs({.bytes = cache_size * 4 + elements * 6, .flops = elements * context_size * 4});

  // The block's tokens, the latest first, as they see most.
  const Val<U32> block = (tokens + (block_tokens - 1)) / block_tokens - 1 - k.CtaY();
  const Val<U32> first_token = block * block_tokens;
  const Val<U32> last_position =
      Min(positions.Load(Min(first_token + (block_tokens - 1), tokens - 1)), context - 1);
  const Val<U32> first_position = positions.Load(first_token);
  const Val<U32> begin = spec.window == 0
                             ? k.Const<U32>(0)
                             : first_position + 1 - Min(first_position + 1, spec.window);
  const Val<U32> tiles = (last_position - begin) / spec.tile + 1;

  const Val<U32> lane = k.Lane();
  const Val<U32> t = lane % 4;
  std::deque<Row> rows;
  for (uint32_t r = 0; r < 2; ++r) {
    const Val<U32> local = k.Warp() * kWarpRows + lane / 4 + 8 * r;
    const Val<U32> token = first_token + local / group;
    const Pred exists = token < tokens && local < block_tokens * group;
    const Val<U32> source = Min(token, tokens - 1);
    rows.emplace_back(k, source, k.CtaX() * group + local % group, exists, positions.Load(source));
  }
  const Queries queries(k, spec, q, rows);
  std::deque<MmaTile> sums;
  for (uint32_t i = 0; i < dim / 8; ++i) sums.emplace_back(k);

  const Stages keys(k, "keys", spec);
  const Stages values(k, "values", spec);
  const uint32_t cell_bytes = dim * kByteSize<F16>;
  const In<F16> key_cells = k_cache.At(k.CtaX() * context, cell_bytes);
  const In<F16> value_cells = v_cache.At(k.CtaX() * context, cell_bytes);
  // Where the lane's row of four matrices lies in a stage: see LoadMatrices and, for the order of
  // the four, the uses below.
  const uint32_t stride = dim + kPad;
  const Val<U32> key_row = (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * kPiece;
  const Val<U32> value_row = lane % 16 * stride + lane / 16 * kPiece;

  keys.Copy(k.Const<U32>(0), key_cells, begin, last_position);
  CommitCopies(k);
  values.Copy(k.Const<U32>(0), value_cells, begin, last_position);
  CommitCopies(k);
  k.For(0, tiles, {}, [&](const Val<U32>& i) {
    const Val<U32> first = begin + i * spec.tile;
    // When all warps have seen this tile's keys arrive they are through with the stage before it.
    const auto arrive_and_copy_next = [&](const Stages& stages, const In<F16>& cells) {
      WaitForCopies(k, 1);
      k.Barrier();
      k.If(i + 1 < tiles, [&] { stages.Copy(i + 1, cells, first + spec.tile, last_position); });
      CommitCopies(k);
    };
    arrive_and_copy_next(keys, key_cells);
    std::deque<MmaTile> scores;  // 8 positions each
    for (uint32_t p = 0; p < spec.tile / 8; ++p) scores.emplace_back(k);
    const InOut<F16> key_lane = keys.Stage(i).At(key_row);
    for (uint32_t step = 0; step < dim / 16; ++step) {
      const Vec<U32, 4> a = queries.Fragment(step);
      for (uint32_t p = 0; p < spec.tile / 16; ++p) {
        // 8 positions by 16 elements, then the next 8 positions.
        const Vec<U32, 4> b = LoadMatrices(key_lane.At(p * 16 * stride + step * 16), false);
        scores[2 * p].MultiplyAdd16(a, Half(b, 0));
        scores[2 * p + 1].MultiplyAdd16(a, Half(b, 1));
      }
    }
    if (spec.softcap != 0) {
      const float scale =
          (spec.scale != 0 ? spec.scale : 1.0f / std::sqrt(static_cast<float>(dim))) / spec.softcap;
      for (MmaTile& tile : scores) {
        for (size_t e = 0; e < 4; ++e) {
          tile.SetElement(e, Tanh(tile.Element(e) * scale) * spec.softcap);
        }
      }
    }
    const Pred beyond = first + (spec.tile - 1) > first_position;
    const Pred before = spec.window == 0 ? !k.True() : first + spec.window <= last_position;
    k.If(beyond || before, [&] {
      for (uint32_t p = 0; p < scores.size(); ++p) {
        for (size_t e = 0; e < 4; ++e) {
          const Val<U32> position = first + (t * 2 + static_cast<uint32_t>(p * 8 + e % 2));
          const Val<U32>& own = rows[e / 2].position;
          const Pred seen =
              spec.window == 0 ? position <= own : position <= own && position + spec.window > own;
          scores[p].SetElement(e, Select<F32>(seen, scores[p].Element(e), kMinusInfinity));
        }
      }
    });
    Soften(spec, scores, sums, rows);

    arrive_and_copy_next(values, value_cells);
    const InOut<F16> value_lane = values.Stage(i).At(value_row);
    for (uint32_t p = 0; p < spec.tile / 16; ++p) {
      // The accumulator's fragment of two tiles of weights is A's of one.
      const Vec<U32, 4> a = MakeVec<4>([&](size_t e) {
        const MmaTile& tile = scores[2 * p + e / 2];
        return PackHalf2(tile.Element(e % 2 * 2), tile.Element(e % 2 * 2 + 1));
      });
      for (uint32_t d = 0; d < dim / 16; ++d) {
        // 16 positions by 8 elements, then the next 8 elements.
        const Vec<U32, 4> b = LoadMatrices(value_lane.At(p * 16 * stride + d * 16), true);
        sums[2 * d].MultiplyAdd16(a, Half(b, 0));
        sums[2 * d + 1].MultiplyAdd16(a, Half(b, 1));
      }
    }
  });

  for (size_t r = 0; r < rows.size(); ++r) {
    const Row& row = rows[r];
    const Val<F32> share =
        1.0f / QuadReduce(row.weights, [](const Val<F32>& a, const Val<F32>& b) { return a + b; });
    k.If(row.exists, [&] {
      const Out<F16> out = o.At((row.token * spec.heads + row.head) * dim);
      for (uint32_t j = 0; j < sums.size(); ++j) {
        const Out<F16> piece = spec.blocked ? o.At(BlockedPiece(row.token, row.head * dim + 8 * j,
                                                                k.Const<U32>(spec.heads * dim)))
                                            : out.At(8 * j);
        piece.As<U32>().Store(
            t, PackHalf2(sums[j].Element(2 * r) * share, sums[j].Element(2 * r + 1) * share));
      }
    });
  }
  return std::move(k).Finish();
}

std::vector<PrefillAttentionSpec> PrefillAttentionVariants() {
  std::vector<PrefillAttentionSpec> variants;
  for (uint32_t dim : {16u, 64u, 80u, 96u, 128u}) variants.push_back({4, 2, dim, 70, 37, 2, 32});
  variants.push_back({2, 1, 256, 40, 19, 1, 16});
  variants.push_back({32, 8, 128, std::nullopt, std::nullopt, 4, 32});
  const PrefillAttentionSpec small{4, 2, 64, 70, 37, 4, 32};
  const auto add = [&](auto change) {
    PrefillAttentionSpec spec = small;
    change(spec);
    variants.push_back(spec);
  };
  add([](PrefillAttentionSpec& s) { s.window = 9; });
  add([](PrefillAttentionSpec& s) { s.window = 40, s.tile = 16; });
  add([](PrefillAttentionSpec& s) { s.softcap = 30, s.tile = 64; });
  add([](PrefillAttentionSpec& s) { s.scale = 0.25f, s.warps = 8; });
  add([](PrefillAttentionSpec& s) { s.heads = 6, s.kv_heads = 1, s.warps = 1; });  // 4 rows idle
  add([](PrefillAttentionSpec& s) { s.heads = s.kv_heads = 3, s.rows = 1; });
  add([](PrefillAttentionSpec& s) { s.context = s.rows = std::nullopt; });
  add([](PrefillAttentionSpec& s) { s.blocked = true; });
  return variants;
}

}  // namespace ptxsmith

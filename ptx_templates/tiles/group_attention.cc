#include "ptx_templates/tiles/group_attention.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/async.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"
#include "codegen/status_macros.h"
#include "codegen/warp.h"
#include "ptx_templates/kv_cache.h"
#include "ptx_templates/tiles/column_image.h"
#include "ptx_templates/tiles/tile_ring.h"

namespace ptxsmith {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
constexpr uint32_t kChunk = kWarpLanes;  // positions
constexpr uint32_t kKeyPad = 16;         // bytes after a key, so that lanes meet different banks
constexpr uint32_t kMaxWarps = 8;
constexpr uint32_t kMaxStages = 4;
constexpr uint32_t kStageRoom = 72 * 1024;  // so that three blocks fit on an SM
constexpr uint32_t kFewBlocks = 128;        // no more than GPUs of sm_90 have SMs
constexpr uint32_t kEight = 8;
constexpr uint32_t kChains = 4;  // of additions, side by side

// What a warp knows of a query head after some positions.
struct Running {
  Running(KernelBuilder& k, uint32_t elements)
      : best(&k.recorder(), kMinusInfinity), weights(&k.recorder(), 0.0f) {
    for (uint32_t i = 0; i < elements; ++i) sums.emplace_back(&k.recorder(), 0.0f);
  }
  Var<F32> best;              // the largest score
  Var<F32> weights;           // the sum of e^(score - best)
  std::deque<Var<F32>> sums;  // of values, so weighted
};

class GroupAttention {
 public:
  GroupAttention(KernelBuilder& k, const GroupAttentionSpec& spec, uint32_t groups);
  void Run();

 private:
  // By all lanes of one warp: starts the copies of a chunk.
  void Ask(const Val<U32>& chunk);
  void LoadQueries();
  void Attend(const Val<U32>& head, const Val<U32>& stage, const Val<U32>& count, Running& running);
  Val<F32> Score(const Val<U32>& head, const InOut<U8>& keys, const Val<U32>& count);
  void StoreImage(std::deque<Running>& running);
  void StorePartial(std::deque<Running>& running);

  uint32_t Group() const { return spec_.heads / spec_.kv_heads; }
  uint32_t Heads() const { return groups_ * Group(); }  // of a block
  uint32_t HeadsOfWarp() const { return Heads() / warps_; }
  uint32_t CellBytes() const { return KvCellBytes(QuantType::kF16, spec_.head_dim); }
  uint32_t KeyBytes() const { return CellBytes() + kKeyPad; }
  uint32_t StageBytes() const { return groups_ * kChunk * (KeyBytes() + CellBytes()); }
  uint32_t Pairs() const { return (spec_.head_dim / 2 + kWarpLanes - 1) / kWarpLanes; }
  // Where pair i of the lane begins in a head; of those that do not exist, the last one.
  Val<U32> PairAt(uint32_t i) const {
    const Val<U32> at = (*lane_ + i * kWarpLanes) * 2;
    return HasPair(i).constant() ? at : Min(at, spec_.head_dim - 2);
  }
  Pred HasPair(uint32_t i) const {
    return (i + 1) * kWarpLanes * 2 <= spec_.head_dim
               ? k_.True()
               : *lane_ + i * kWarpLanes < spec_.head_dim / 2;
  }
  Val<U32> HeadOf(uint32_t t) const { return *warp_ * HeadsOfWarp() + t; }
  InOut<U8> KeysOf(const Val<U32>& stage, const Val<U32>& group) const {
    return stages_->At(stage, StageBytes()).At(group, kChunk * KeyBytes());
  }
  InOut<U8> ValuesOf(const Val<U32>& stage, const Val<U32>& group) const {
    return stages_->At(stage, StageBytes())
        .At(groups_ * kChunk * KeyBytes())
        .At(group, kChunk * CellBytes());
  }

  KernelBuilder& k_;
  const GroupAttentionSpec& spec_;
  const uint32_t groups_;  // of a block
  uint32_t warps_ = 1;
  uint32_t stage_count_ = 1;
  std::optional<Out<F32>> partial_;
  std::optional<Out<U8>> image_;
  std::optional<In<F32>> q_;
  std::optional<In<U8>> keys_, values_;  // of the sequence, from the block's first group on
  std::optional<Val<U32>> row_, split_, first_head_, warp_, lane_, begin_, end_;
  std::optional<Shared<F32>> queries_, results_;
  std::optional<Shared<U8>> stages_;
  std::optional<MBarriers> full_, empty_;
};

GroupAttention::GroupAttention(KernelBuilder& k, const GroupAttentionSpec& spec, uint32_t groups)
    : k_(k), spec_(spec), groups_(groups) {
  warps_ = std::min(kMaxWarps, Heads());
  while (Heads() % warps_ != 0) --warps_;
  stage_count_ = std::clamp(kStageRoom / StageBytes(), 1u, kMaxStages);
}

void GroupAttention::Run() {
  const uint32_t dim = spec_.head_dim;
  const uint64_t cache = uint64_t{spec_.slots} * spec_.kv_heads * spec_.context * CellBytes();
  const uint64_t q_count = uint64_t{spec_.rows} * spec_.heads * dim;
  if (spec_.splits == 1) {
    image_.emplace(
        k_.Param<Out<U8>>("image", {.count = ColumnImageBytes(spec_.heads * dim, spec_.columns)}));
  } else {
    partial_.emplace(k_.Param<Out<F32>>(
        "partial", {.count = uint64_t{spec_.rows} * spec_.heads * spec_.splits * (dim + 2)}));
  }
  q_.emplace(k_.Param<In<F32>>("q", {.count = q_count}));
  const auto k_cache = k_.Param<In<U8>>("k_cache", {.count = cache});
  const auto v_cache = k_.Param<In<U8>>("v_cache", {.count = cache});
  const auto positions = k_.Param<In<U32>>("positions", {.count = spec_.rows, .alignment = 4});
  const auto row_slots = k_.Param<In<U32>>("row_slots", {.count = spec_.rows, .alignment = 4});
  k_.Launch({.block = {warps_ * kWarpLanes, 1, 1},
             .grid = {spec_.heads / Heads() * spec_.splits, spec_.rows, 1},
             .programmatic = spec_.programmatic});
  // For a full cache; a shorter sequence reads its share.
  k_.Costs({.bytes = cache * 2 + q_count * 6, .flops = spec_.context * q_count * 4});

  queries_.emplace(k_.SharedArray<F32>("queries", Heads() * dim));
  results_.emplace(k_.SharedArray<F32>("results", Heads() * dim));
  stages_.emplace(k_.SharedArray<U8>("stages", stage_count_ * StageBytes()));
  if (spec_.heads / Heads() * spec_.splits * spec_.rows <= kFewBlocks) {
    KeepApart(k_, stage_count_ * StageBytes());
  }
  full_.emplace(k_, "full", stage_count_);
  empty_.emplace(k_, "empty", stage_count_);
  k_.If(k_.ThreadX() < stage_count_, [&] {
    full_->Init(k_.ThreadX(), 1);
    empty_->Init(k_.ThreadX(), warps_);
    FenceMBarrierInit(k_);
  });
  if (spec_.programmatic) {
    k_.LaunchDependents();
    k_.WaitForPredecessors();
  }
  row_.emplace(k_.CtaY());
  split_.emplace(k_.CtaX() % spec_.splits);
  const Val<U32> block = k_.CtaX() / spec_.splits;
  first_head_.emplace(block * Heads());
  warp_.emplace(k_.Warp());
  lane_.emplace(k_.Lane());
  const Val<U32> slot = row_slots.Load(*row_);
  const Val<U32> cached = Min(positions.Load(*row_) + 1, spec_.context);
  const Val<U32> length = Select<U32>(slot < spec_.slots, cached, 0);
  const Val<U32> share = (length + (spec_.splits - 1)) / spec_.splits;
  begin_.emplace(Min(*split_ * share, length));
  end_.emplace(Min(*begin_ + share, length));
  const Val<U32> first_cell =
      (Min(slot, spec_.slots - 1) * spec_.kv_heads + block * groups_) * spec_.context;
  keys_.emplace(k_cache.At(first_cell, CellBytes()));
  values_.emplace(v_cache.At(first_cell, CellBytes()));
  k_.Barrier();
  const Val<U32> chunks = (*end_ - *begin_ + (kChunk - 1)) / kChunk;
  for (uint32_t s = 0; s < stage_count_; ++s) {
    k_.If(*warp_ == s % warps_ && s < chunks, [&] { Ask(k_.Const<U32>(s)); });
  }
  LoadQueries();
  k_.Barrier();

  std::deque<Running> running;
  for (uint32_t t = 0; t < HeadsOfWarp(); ++t) running.emplace_back(k_, 2 * Pairs());
  k_.For(0, chunks, {}, [&](const Val<U32>& chunk) {
    const Val<U32> stage = chunk % stage_count_;
    const Val<U32> parity = chunk / stage_count_ % 2;
    const Val<U32> count = Min(*end_ - *begin_ - chunk * kChunk, kChunk);
    full_->Wait(k_, stage, parity);
    for (uint32_t t = 0; t < HeadsOfWarp(); ++t) Attend(HeadOf(t), stage, count, running[t]);
    k_.WarpBarrier();
    const Val<U32> next = chunk + stage_count_;
    k_.If(next < chunks, [&] {
      k_.If(*lane_ == 0, [&] { empty_->Arrive(stage, 1); });
      k_.If(*warp_ == 0, [&] {
        empty_->Wait(k_, stage, parity);
        Ask(next);
      });
    });
  });
  image_ ? StoreImage(running) : StorePartial(running);
}

void GroupAttention::Ask(const Val<U32>& chunk) {
  const Val<U32> stage = chunk % stage_count_;
  const Val<U32> first = *begin_ + chunk * kChunk;
  const Val<U32> count = Min(*end_ - first, kChunk);
  k_.If(*lane_ == 0, [&] { full_->ArriveExpecting(stage, count * (groups_ * 2 * CellBytes())); });
  k_.WarpBarrier();
  for (uint32_t g = 0; g < groups_; ++g) {
    const Val<U32> cell = first + g * spec_.context;
    k_.If(*lane_ < count, [&] {
      CopyBulk(KeysOf(stage, k_.Const<U32>(g)).At(*lane_, KeyBytes()),
               keys_->At(cell + *lane_, CellBytes()), CellBytes(), *full_, stage);
    });
    k_.If(*lane_ == 0, [&] {
      CopyBulk(ValuesOf(stage, k_.Const<U32>(g)), values_->At(cell, CellBytes()),
               count * CellBytes(), *full_, stage);
    });
  }
}

// The scale goes into the queries once instead of into every score.
void GroupAttention::LoadQueries() {
  const uint32_t dim = spec_.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  const In<F32> from = q_->At((*row_ * spec_.heads + *first_head_) * dim);
  k_.For(k_.ThreadX(), Heads() * dim / 4, {.step = warps_ * kWarpLanes}, [&](const Val<U32>& i) {
    const Vec<F32, 4> four = from.At(i * 4).Load<4>(0);
    queries_->At(i * 4).Store<4>(0, MakeVec<4>([&](size_t e) { return four[e] * scale; }));
  });
}

// Of the lane's position; those that do not exist have none.
Val<F32> GroupAttention::Score(const Val<U32>& head, const InOut<U8>& keys, const Val<U32>& count) {
  const InOut<U32> key = keys.At(Min(*lane_, count - 1), KeyBytes()).As<U32>();
  const InOut<F32> query = queries_->At(head * spec_.head_dim);
  std::deque<Var<F32>> dots;
  for (uint32_t i = 0; i < kChains; ++i) dots.emplace_back(&k_.recorder(), 0.0f);
  k_.For(0, spec_.head_dim / kEight, {.unroll = 4}, [&](const Val<U32>& piece) {
    const Vec<U32, 4> words = key.At(piece * 4).Load<4>(0);
    for (uint32_t half = 0; half < 2; ++half) {
      const Vec<F32, 4> q = query.At(piece * kEight + half * 4).Load<4>(0);
      for (uint32_t w = 0; w < 2; ++w) {
        const Vec<F32, 2> pair = UnpackHalf2(words[half * 2 + w]);
        dots[2 * w].Fma(q[2 * w], pair[0]);
        dots[2 * w + 1].Fma(q[2 * w + 1], pair[1]);
      }
    }
  });
  const Val<F32> dot = (dots[0] + Val<F32>(dots[1])) + (dots[2] + Val<F32>(dots[3]));
  return Select<F32>(*lane_ < count, dot, kMinusInfinity);
}

void GroupAttention::Attend(const Val<U32>& head, const Val<U32>& stage, const Val<U32>& count,
                            Running& running) {
  const Val<U32> group = groups_ == 1 ? k_.Const<U32>(0) : head / Group();
  const Val<F32> score = Score(head, KeysOf(stage, group), count);
  const Val<F32> new_best = Max(running.best, WarpMax(score));
  const Val<F32> shrink = Exp(running.best - new_best);
  const Val<F32> weight = Select<F32>(*lane_ < count, Exp(score - new_best), 0.0f);
  running.best = new_best;
  running.weights = Fma(running.weights, shrink, WarpSum(weight));
  for (Var<F32>& sum : running.sums) sum = Val<F32>(sum) * shrink;
  const InOut<U8> values = ValuesOf(stage, group);
  k_.For(0, count, {.unroll = 8}, [&](const Val<U32>& p) {
    const Val<F32> share = Broadcast(weight, p);
    for (uint32_t i = 0; i < Pairs(); ++i) {
      const Vec<F32, 2> pair = UnpackHalf2(values.At(p, CellBytes()).As<U32>().Load(PairAt(i) / 2));
      for (uint32_t e = 0; e < 2; ++e) running.sums[2 * i + e].Fma(pair[e], share);
    }
  });
}

void GroupAttention::StoreImage(std::deque<Running>& running) {
  const uint32_t dim = spec_.head_dim;
  for (uint32_t t = 0; t < HeadsOfWarp(); ++t) {
    // A row without a sequence has found nothing.
    const Val<F32> weights = running[t].weights;
    const Val<F32> inverse =
        Select<F32>(weights == 0.0f, 0.0f, Constant<F32>(weights, 1.0f) / weights);
    for (uint32_t i = 0; i < Pairs(); ++i) {
      k_.If(HasPair(i), [&] {
        const Vec<F32, 2> pair(
            {running[t].sums[2 * i] * inverse, running[t].sums[2 * i + 1] * inverse});
        results_->At(HeadOf(t) * dim).Store<2>(PairAt(i), pair);
      });
    }
  }
  k_.Barrier();
  k_.For(*warp_, Heads() * dim / kTileColumns, {.step = warps_}, [&](const Val<U32>& b) {
    const Val<U32> eight = b * kWarpLanes + *lane_;
    const InOut<F32> from = results_->At(eight * kEight);
    const Vec<F32, 4> low = from.Load<4>(0), high = from.Load<4>(4);
    StoreColumns(k_, *image_, spec_.columns, *row_, *first_head_ * (dim / kEight) + eight,
                 MakeVec<8>([&](size_t i) { return i < 4 ? low[i] : high[i - 4]; }));
  });
}

void GroupAttention::StorePartial(std::deque<Running>& running) {
  const uint32_t dim = spec_.head_dim;
  for (uint32_t t = 0; t < HeadsOfWarp(); ++t) {
    const Val<U32> head = *row_ * spec_.heads + *first_head_ + HeadOf(t);
    const Out<F32> to = partial_->At((head * spec_.splits + *split_) * (dim + 2));
    for (uint32_t i = 0; i < Pairs(); ++i) {
      k_.If(HasPair(i), [&] {
        to.Store<2>(PairAt(i), Vec<F32, 2>({running[t].sums[2 * i], running[t].sums[2 * i + 1]}));
      });
    }
    k_.If(*lane_ == 0, [&] {
      to.Store(dim, running[t].best);
      to.Store(dim + 1, running[t].weights);
    });
  }
}

}  // namespace

absl::StatusOr<KernelSpec> BuildGroupAttention(const GroupAttentionSpec& spec,
                                               const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckTileTarget(GroupAttentionSpec::kFamily, target));
  if (spec.heads % spec.kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "group_attention: heads=", spec.heads, " is not a multiple of kv_heads=", spec.kv_heads));
  }
  if (spec.rows > spec.columns) {
    return absl::InvalidArgumentError(
        absl::StrCat("group_attention: rows=", spec.rows, " exceed columns=", spec.columns));
  }
  const uint32_t group_width = spec.heads / spec.kv_heads * spec.head_dim;
  uint32_t groups = 1;
  while (spec.splits == 1 && groups < spec.kv_heads &&
         (spec.kv_heads % groups != 0 || groups * group_width % kTileColumns != 0)) {
    ++groups;
  }
  if (spec.splits == 1 && groups * group_width % kTileColumns != 0) {
    return absl::InvalidArgumentError(absl::StrCat("group_attention: heads=", spec.heads,
                                                   " of head_dim=", spec.head_dim,
                                                   " are no multiple of 256 elements"));
  }
  KernelBuilder k(KeyOf(spec, target), GroupAttentionSpec::kFamily, target);
  GroupAttention(k, spec, groups).Run();
  return std::move(k).Finish();
}

std::vector<GroupAttentionSpec> GroupAttentionVariants() {
  return {{4, 1, 64, 40, 3, 2},
          {8, 4, 32, 33, 4, 3},                  // all groups in one block
          {16, 8, 96, 70, 2, 5, 1, 8, true},     // heads that are no whole 64, two for a warp
          {32, 8, 128, 300, 3, 9, 1, 16, true},  // more chunks than stages
          {12, 2, 128, 512, 32, 32, 4, 32, true},
          {4, 2, 256, 65, 2, 1, 2}};
}

}  // namespace ptxsmith

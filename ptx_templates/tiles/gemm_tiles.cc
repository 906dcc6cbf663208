#include "ptx_templates/tiles/gemm_tiles.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codegen/async.h"
#include "codegen/kernel_builder.h"
#include "codegen/warp.h"
#include "ptx_templates/tiles/column_image.h"
#include "ptx_templates/tiles/gemm_tiles_wide.h"
#include "ptx_templates/tiles/row_sums.h"
#include "ptx_templates/tiles/tile_mma.h"
#include "ptx_templates/tiles/tile_ring.h"

namespace ptxsmith {
namespace {

// Blocks of columns in a slice: so many warps share a row tile. More cost a barrier for fewer
// tiles, fewer more traffic of parts.
constexpr uint32_t kMaxPerSlice = 8;
// Left to a small kernel, the next one of a step, so that its blocks wait on the SM for their
// start.
constexpr uint32_t kSharedOfOthers = 24 * 1024;
constexpr uint32_t kMaxWarps = 16;
constexpr uint32_t kPieceSumBytes = 512;  // of a row tile, for eight tokens

// Rows of one type.
struct Segment {
  const TileFormat& format;
  In<U8> tiles;
  uint32_t first_row;
  uint32_t rows;
  RowRange own;      // row tiles of this block
  Val<U32> of_warp;  // how many of them are the warp's
};

class GemmTiles {
 public:
  GemmTiles(KernelBuilder& k, const GemmTilesSpec& spec, const GemmTilesPlan& plan);
  void Run();

 private:
  Segment MakeSegment(QuantType quant, const In<U8>& tiles, uint32_t first_row, uint32_t rows);
  // Starts the copy of the warp's tile number i, if there is one. By one lane.
  void Ask(const Val<U32>& i);
  void Multiply(const Segment& segment);
  // The warp's tile at hand, added to the sums at `place`, of one row tile and warp.
  void OneTile(const Segment& segment, const InOut<F32>& place);
  // Joins the warps' sums of the row tiles from `first` on and stores them.
  void StoreRound(const Segment& segment, const Val<U32>& first, const InOut<F32>& sums);

  uint32_t pieces() const { return spec_.columns / kPieceTokens; }
  uint32_t PlaceFloats() const { return pieces() * kPieceSumBytes / 4; }
  uint32_t RoundTiles() const { return round_ * plan_.sets; }

  KernelBuilder& k_;
  const GemmTilesSpec& spec_;
  const GemmTilesPlan plan_;
  const uint32_t blocks_;
  const Out<F32> parts_;
  Val<U32> group_, slice_, warp_, lane_, part_, set_, block_;
  Pred active_;  // the warp has a block of columns
  std::vector<Segment> segments_;
  uint32_t slot_bytes_ = 0;
  uint32_t slots_ = 0;  // of a warp
  uint32_t round_ = 0;  // row tiles of a set between two barriers
  std::optional<MBarriers> full_;
  std::optional<Shared<U8>> ring_;
  std::optional<Shared<F32>> sums_;
  std::optional<Val<U64>> policy_;
  std::optional<Var<U32>> next_;    // the warp's tile at hand
  std::optional<Var<U32>> rounds_;  // that have been
  std::vector<PieceFragments> x_;
};

Out<F32> PartsParam(KernelBuilder& k, const GemmTilesSpec& spec, const GemmTilesPlan& plan) {
  return k.Param<Out<F32>>("parts",
                           {.count = uint64_t{plan.slices} * spec.columns * (spec.n + spec.n2)});
}

GemmTiles::GemmTiles(KernelBuilder& k, const GemmTilesSpec& spec, const GemmTilesPlan& plan)
    : k_(k),
      spec_(spec),
      plan_(plan),
      blocks_(spec.k / kTileColumns),
      parts_(PartsParam(k, spec, plan)),
      group_(k.CtaX() / plan.slices),
      slice_(k.CtaX() % plan.slices),
      warp_(k.Warp()),
      lane_(k.Lane()),
      part_(warp_ % plan.per_slice),
      set_(warp_ / plan.per_slice),
      block_(slice_ * blocks_ / plan.slices + part_),
      active_(blocks_ % plan.slices == 0 ? k.True()
                                         : block_ < (slice_ + 1) * blocks_ / plan.slices) {
  const auto tiles = [&](absl::string_view name, QuantType quant, uint32_t rows) {
    return k.Param<In<U8>>(
        name, {.count = TileBytes(TileFormatOf(quant), spec.k, rows), .constant = true});
  };
  const In<U8> first = tiles("tiles", spec.quant, spec.n);
  std::optional<In<U8>> second;
  if (spec.n2 != 0) second = tiles("tiles2", spec.quant2, spec.n2);
  segments_.push_back(MakeSegment(spec.quant, first, 0, spec.n));
  if (second) segments_.push_back(MakeSegment(spec.quant2, *second, spec.n, spec.n2));
}

Segment GemmTiles::MakeSegment(QuantType quant, const In<U8>& tiles, uint32_t first_row,
                               uint32_t rows) {
  const TileFormat& format = TileFormatOf(quant);
  const uint32_t row_tiles = RowTileCount(rows);
  const RowRange tiles_of_group = RowTilesOf(group_, plan_.groups, row_tiles);
  // A thread block beyond the groups has nothing to do.
  const RowRange own{tiles_of_group.first,
                     Select<U32>(group_ < plan_.groups, tiles_of_group.count, 0)};
  const Val<U32> count = (own.count + (plan_.sets - 1) - set_) / plan_.sets;
  return {format, tiles, first_row, rows, own, Select<U32>(active_, count, 0)};
}

void GemmTiles::Run() {
  const uint32_t warps = plan_.warps();
  uint64_t tile_bytes = 0;
  uint32_t most = 0;  // row tiles of a set
  for (const Segment& segment : segments_) {
    slot_bytes_ = std::max(slot_bytes_, segment.format.bytes);
    tile_bytes += TileBytes(segment.format, spec_.k, segment.rows);
    most = std::max(most, DivideUp(DivideUp(RowTileCount(segment.rows), plan_.groups), plan_.sets));
  }
  const uint64_t image_bytes = ColumnImageBytes(spec_.k, spec_.columns);
  const auto x = k_.Param<In<U8>>("x", {.count = image_bytes});
  k_.Launch({.block = {warps * kWarpLanes, 1, 1},
             .grid = {spec_.ctas, 1, 1},
             .min_blocks_per_sm = 1,
             .programmatic = spec_.programmatic});
  const uint64_t rows = spec_.n + spec_.n2;
  k_.Costs({.bytes = tile_bytes + image_bytes + rows * spec_.columns * plan_.slices * 4,
            .flops = rows * spec_.k * spec_.columns * 2});

  slots_ = std::max(1u, spec_.ring * 1024 / (warps * slot_bytes_));
  const uint32_t barriers = warps * slots_;
  const uint32_t taken = barriers * (slot_bytes_ + 8);
  const uint32_t room = k_.target().limits().max_shared - kSharedOfOthers;
  const uint32_t left = room - std::min(room, taken);
  const uint32_t sums_bytes = 2 * warps * PlaceFloats() * 4;  // of a round of one
  round_ = std::clamp(left / sums_bytes, 1u, most);
  full_.emplace(k_, "full", barriers);
  ring_.emplace(k_.SharedArray<U8>("ring", barriers * slot_bytes_));
  sums_.emplace(k_.SharedArray<F32>("sums", round_ * sums_bytes / 4));
  KeepApart(k_, taken + round_ * sums_bytes);

  // Each warp looks after its own ring.
  policy_.emplace(EvictFirst(k_));
  k_.If(lane_ == 0, [&] {
    for (uint32_t i = 0; i < slots_; ++i) full_->Init(warp_ * slots_ + i, 1);
    FenceMBarrierInit(k_);
    for (uint32_t i = 0; i < slots_; ++i) Ask(k_.Const<U32>(i));
  });
  k_.WarpBarrier();
  if (spec_.programmatic) {
    k_.LaunchDependents();
    k_.WaitForPredecessors();
  }
  const Val<U32> block = active_.constant() ? block_ : Min(block_, blocks_ - 1);
  for (uint32_t i = 0; i < pieces(); ++i) {
    x_.emplace_back(x.At(block * pieces() + i, kPieceBytes), lane_);
  }
  next_.emplace(&k_.recorder(), 0);
  rounds_.emplace(&k_.recorder(), 0);
  for (const Segment& segment : segments_) Multiply(segment);
}

void GemmTiles::Ask(const Val<U32>& i) {
  const Val<U32> slot = warp_ * slots_ + i % slots_;
  const auto copy = [&](const Segment& segment, const Val<U32>& of_warp) {
    const Val<U32> row_tile = segment.own.first + set_ + of_warp * plan_.sets;
    full_->ArriveExpecting(slot, segment.format.bytes);
    CopyBulk(ring_->At(slot, slot_bytes_),
             segment.tiles.At(row_tile * blocks_ + block_, segment.format.bytes),
             segment.format.bytes, *full_, slot, *policy_);
  };
  const Segment& first = segments_[0];
  if (segments_.size() == 1) {
    k_.If(i < first.of_warp, [&] { copy(first, i); });
    return;
  }
  const Segment& second = segments_[1];
  k_.If(
      i < first.of_warp, [&] { copy(first, i); },
      [&] {
        const Val<U32> of_second = i - first.of_warp;
        k_.If(of_second < second.of_warp, [&] { copy(second, of_second); });
      });
}

void GemmTiles::Multiply(const Segment& segment) {
  k_.For(0, segment.own.count, {.step = RoundTiles()}, [&](const Val<U32>& first) {
    // The sums of the round before are still being joined: rounds alternate between two places.
    const InOut<F32> sums =
        sums_->At(Val<U32>(*rounds_) % 2 * (RoundTiles() * plan_.per_slice * PlaceFloats()));
    k_.For(0, round_, {}, [&](const Val<U32>& i) {
      const Val<U32> of_round = i * plan_.sets + set_;
      const InOut<F32> place = sums.At((of_round * plan_.per_slice + part_) * PlaceFloats());
      k_.If(first + of_round < segment.own.count, [&] {
        k_.If(
            active_, [&] { OneTile(segment, place); },
            [&] {
              const Val<F32> zero = k_.Const<F32>(0.0f);
              for (uint32_t j = 0; j < pieces(); ++j) {
                place.At(j * (kPieceSumBytes / 4) + lane_ * 4)
                    .Store<4>(0, Vec<F32, 4>({zero, zero, zero, zero}));
              }
            });
      });
    });
    k_.Barrier();
    StoreRound(segment, first, sums);
    *rounds_ += 1;
  });
}

void GemmTiles::OneTile(const Segment& segment, const InOut<F32>& place) {
  const Val<U32> i = *next_;
  const Val<U32> slot = warp_ * slots_ + i % slots_;
  full_->Wait(k_, slot, i / slots_ % 2);
  FragmentSums tile_sums(k_, x_);
  const std::vector<Vec<F32, 4>> sums =
      MultiplyTile(k_, segment.format, ring_->At(slot, slot_bytes_), tile_sums, lane_, [&] {
        k_.WarpBarrier();
        k_.If(lane_ == 0, [&] { Ask(i + slots_); });
      });
  for (uint32_t j = 0; j < pieces(); ++j) {
    place.At(j * (kPieceSumBytes / 4) + lane_ * 4).Store<4>(0, sums[j]);
  }
  *next_ += 1;
}

void GemmTiles::StoreRound(const Segment& segment, const Val<U32>& first, const InOut<F32>& sums) {
  const uint32_t rows = spec_.n + spec_.n2;
  k_.For(warp_, RoundTiles() * pieces(), {.step = plan_.warps()}, [&](const Val<U32>& unit) {
    const Val<U32> of_round = unit / pieces();
    const Val<U32> piece = unit % pieces();
    k_.If(first + of_round < segment.own.count, [&] {
      const InOut<F32> from = sums.At(of_round * (plan_.per_slice * PlaceFloats()) +
                                      piece * (kPieceSumBytes / 4) + lane_ * 4);
      std::vector<Vec<F32, 4>> places;
      for (uint32_t p = 0; p < plan_.per_slice; ++p) {
        places.push_back(from.Load<4>(p * PlaceFloats()));
      }
      const Vec<F32, 4> totals = MakeVec<4>([&](size_t e) {
        Var<F32> total = k_.NewVar<F32>(places[0][e]);
        for (uint32_t p = 1; p < plan_.per_slice; ++p) total += places[p][e];
        return Val<F32>(total);
      });
      const Val<U32> row = (segment.own.first + first + of_round) * kTileRows + lane_ / 4;
      const Val<U32> token = slice_ * spec_.columns + piece * kPieceTokens + lane_ % 4 * 2;
      const Out<F32> to = parts_.At(token * rows + segment.first_row + row);
      for (uint32_t e = 0; e < 4; ++e) {
        const Val<U32> at = row + e / 2 * 8;
        k_.If(segment.rows % kTileRows == 0 ? k_.True() : at < segment.rows,
              [&] { to.Store(e % 2 * rows + e / 2 * 8, totals[e]); });
      }
    });
  });
}

}  // namespace

GemmTilesPlan PlanOf(const GemmTilesSpec& spec) {
  constexpr uint32_t kTokens = 16;  // in the middle, as a plan must not depend on `columns`
  const uint32_t blocks = spec.k / kTileColumns;
  const uint32_t row_tiles[] = {RowTileCount(spec.n), RowTileCount(spec.n2)};
  const uint32_t tile_bytes[] = {TileFormatOf(spec.quant).bytes, TileFormatOf(spec.quant2).bytes};
  const uint32_t least = DivideUp(blocks, kMaxPerSlice);
  GemmTilesPlan best{};
  uint64_t best_bytes = std::numeric_limits<uint64_t>::max();
  for (uint32_t slices = least; slices <= std::min({4 * least, blocks, spec.ctas}); ++slices) {
    const uint32_t per_slice = DivideUp(blocks, slices);
    const uint32_t groups = std::min(spec.ctas / slices, row_tiles[0] + row_tiles[1]);
    uint64_t bytes = uint64_t{per_slice} * ColumnImageBytes(kTileColumns, kTokens);
    for (uint32_t i = 0; i < 2; ++i) {
      const uint64_t most = DivideUp(row_tiles[i], groups);
      // Parts are written and read once, the latter while nothing else goes on: that counts thrice.
      bytes += most * (uint64_t{per_slice} * tile_bytes[i] + 4 * kTileRows * kTokens * 4);
    }
    if (bytes >= best_bytes) continue;
    best_bytes = bytes;
    best = {slices, per_slice, groups, kMaxWarps / per_slice};
  }
  return best;
}

absl::StatusOr<KernelSpec> BuildGemmTiles(const GemmTilesSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckTileTarget(GemmTilesSpec::kFamily, target));
  const GemmTilesPlan plan = PlanOf(spec);
  if (plan.slices == 0) {
    return absl::InvalidArgumentError(absl::StrCat("gemm_tiles: k=", spec.k, " for ", spec.ctas,
                                                   " blocks; a block takes ",
                                                   kMaxPerSlice * kTileColumns, " columns"));
  }
  if (InRows(spec.columns)) return BuildWideGemmTiles(spec, target);
  KernelBuilder k(KeyOf(spec, target), GemmTilesSpec::kFamily, target);
  GemmTiles(k, spec, plan).Run();
  return std::move(k).Finish();
}

std::vector<GemmTilesSpec> GemmTilesVariants() {
  std::vector<GemmTilesSpec> variants;
  for (const TileFormat& format : AllTileFormats()) {
    for (uint32_t columns : {8u, 16u, 32u}) {
      variants.push_back({format.type, 512, 160, QuantType::kQ4K, 0, columns, 3});
      variants.push_back({format.type, 2304, 50, QuantType::kQ6K, 40, columns, 4, 64, true});
      variants.push_back({format.type, 4096, 2048, QuantType::kQ6K, 1024, columns, 132, 72, true});
    }
  }
  // Slices of unequal width, more rounds than one, and a ring of few slots.
  variants.push_back({QuantType::kQ4K, 4352, 300, QuantType::kQ4K, 0, 8, 6, 37});
  variants.push_back({QuantType::kQ5K, 256, 3000, QuantType::kQ4K, 0, 32, 2, 1});
  return variants;
}

}  // namespace ptxsmith

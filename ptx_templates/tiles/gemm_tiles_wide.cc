#include "ptx_templates/tiles/gemm_tiles_wide.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "codegen/async.h"
#include "codegen/kernel_builder.h"
#include "codegen/status_macros.h"
#include "codegen/warp.h"
#include "codegen/wgmma.h"
#include "ptx_templates/tiles/column_image.h"
#include "ptx_templates/tiles/row_sums.h"
#include "ptx_templates/tiles/tile_mma.h"
#include "ptx_templates/tiles/tile_ring.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kTeamWarps = kWarpGroupWarps;
constexpr uint32_t kMaxTeams = 4;

// Rows of one type.
struct Segment {
  const TileFormat& format;
  In<U8> tiles;
  uint32_t first_row;
  uint32_t rows;
  uint32_t first_quad;  // of four row tiles

  uint32_t row_tiles() const { return RowTileCount(rows); }
  uint32_t quads() const { return DivideUp(row_tiles(), kTeamWarps); }
};

class WideGemmTiles {
 public:
  WideGemmTiles(KernelBuilder& k, const GemmTilesSpec& spec);
  void Run();

 private:
  void AddSegment(absl::string_view name, QuantType quant, uint32_t first_row, uint32_t rows);
  // By one thread: the slice's activations, block after block.
  void AskForX(const In<U8>& x);
  // Starts the copy of the warp's next tile into the slot, if there is one more.
  void AskForTile(const Val<U32>& slot);
  void Multiply(const Segment& segment, const Val<U32>& quad);
  void Store(const Segment& segment, const Val<U32>& row_tile, const std::deque<Var<F32>>& totals);

  uint32_t pieces() const { return spec_.columns / kPieceTokens; }
  uint32_t XBytes() const { return pieces() * kPieceExtras; }
  uint32_t ExtrasBytes() const { return pieces() * kExtraBytes; }
  const Segment& LastSegment() const { return segments_.back(); }
  // Calls body with the segment that the quad is of.
  template <class F>
  void InSegment(const Val<U32>& quad, F&& body) {
    if (segments_.size() == 1) return body(segments_[0]);
    k_.If(
        quad < LastSegment().first_quad, [&] { body(segments_[0]); }, [&] { body(segments_[1]); });
  }

  KernelBuilder& k_;
  const GemmTilesSpec& spec_;
  const GemmTilesPlan plan_;
  const uint32_t blocks_;
  const Out<F32> parts_;
  std::vector<Segment> segments_;
  std::optional<Val<U32>> slice_, warp_, lane_, team_, of_team_;
  std::optional<Val<U32>> first_block_, count_;  // of the slice
  std::optional<Val<U32>> end_;                  // of the thread block's quads
  uint32_t teams_ = 0;
  uint32_t slot_bytes_ = 0;
  uint32_t slots_ = 0;  // of a warp
  std::optional<MBarriers> full_, x_full_;
  std::optional<Shared<F16>> x_;
  std::optional<Shared<U8>> extras_, ring_;
  std::optional<Val<U64>> policy_;
  std::optional<Var<U32>> ask_quad_, ask_block_;  // of the tile to be asked for next
  std::optional<Var<U32>> slot_, parity_;         // of the tile at hand
  std::unique_ptr<RowSums> sums_;
};

WideGemmTiles::WideGemmTiles(KernelBuilder& k, const GemmTilesSpec& spec)
    : k_(k),
      spec_(spec),
      plan_(PlanOf(spec)),
      blocks_(spec.k / kTileColumns),
      parts_(k.Param<Out<F32>>(
          "parts", {.count = uint64_t{plan_.slices} * spec.columns * (spec.n + spec.n2)})) {
  AddSegment("tiles", spec.quant, 0, spec.n);
  if (spec.n2 != 0) AddSegment("tiles2", spec.quant2, spec.n, spec.n2);
}

void WideGemmTiles::AddSegment(absl::string_view name, QuantType quant, uint32_t first_row,
                               uint32_t rows) {
  const TileFormat& format = TileFormatOf(quant);
  const auto tiles =
      k_.Param<In<U8>>(name, {.count = TileBytes(format, spec_.k, rows), .constant = true});
  const uint32_t first_quad =
      segments_.empty() ? 0 : LastSegment().first_quad + LastSegment().quads();
  segments_.push_back({format, tiles, first_row, rows, first_quad});
  slot_bytes_ = std::max(slot_bytes_, format.bytes);
}

void WideGemmTiles::Run() {
  const uint32_t quads = LastSegment().first_quad + LastSegment().quads();
  const uint32_t groups = std::min(spec_.ctas / plan_.slices, quads);
  teams_ = std::min(kMaxTeams, DivideUp(quads, groups));
  const uint32_t warps = teams_ * kTeamWarps;
  const uint64_t image_bytes = ColumnImageBytes(spec_.k, spec_.columns);
  const auto x = k_.Param<In<U8>>("x", {.count = image_bytes});
  k_.Launch({.block = {warps * kWarpLanes, 1, 1},
             .grid = {spec_.ctas, 1, 1},
             .min_blocks_per_sm = 1,
             .programmatic = spec_.programmatic});
  uint64_t tile_bytes = 0;
  for (const Segment& s : segments_) tile_bytes += TileBytes(s.format, spec_.k, s.rows);
  const uint64_t rows = spec_.n + spec_.n2;
  k_.Costs({.bytes = tile_bytes + image_bytes + rows * spec_.columns * plan_.slices * 4,
            .flops = rows * spec_.k * spec_.columns * 2});

  slots_ = std::max(1u, spec_.ring * 1024 / (warps * slot_bytes_));
  x_.emplace(k_.AlignedSharedArray<F16>("x_rows", plan_.per_slice * XBytes() / kByteSize<F16>,
                                        SwizzledRows::kAlignment));
  extras_.emplace(k_.SharedArray<U8>("extras", plan_.per_slice * ExtrasBytes()));
  ring_.emplace(k_.SharedArray<U8>("ring", warps * slots_ * slot_bytes_));
  KeepApart(k_, plan_.per_slice * (XBytes() + ExtrasBytes()) + warps * slots_ * slot_bytes_);
  full_.emplace(k_, "full", warps * slots_);
  x_full_.emplace(k_, "x_full", plan_.per_slice);

  const Val<U32> group = k_.CtaX() / plan_.slices;
  slice_.emplace(k_.CtaX() % plan_.slices);
  warp_.emplace(k_.Warp());
  lane_.emplace(k_.Lane());
  team_.emplace(Broadcast(*warp_ / kTeamWarps, 0));
  of_team_.emplace(*warp_ % kTeamWarps);
  first_block_.emplace(*slice_ * blocks_ / plan_.slices);
  count_.emplace(blocks_ % plan_.slices == 0
                     ? k_.Const<U32>(plan_.per_slice)
                     : (*slice_ + 1) * blocks_ / plan_.slices - *first_block_);
  // A thread block beyond the groups has nothing to do.
  const RowRange own = RowTilesOf(group, groups, quads);
  end_.emplace(Min(own.first + own.count, quads));
  ask_quad_.emplace(&k_.recorder(), own.first + *team_);
  ask_block_.emplace(&k_.recorder(), 0);
  slot_.emplace(&k_.recorder(), 0);
  parity_.emplace(&k_.recorder(), 0);

  // Each warp looks after its own ring.
  policy_.emplace(EvictFirst(k_));
  k_.If(*lane_ == 0, [&] {
    for (uint32_t i = 0; i < slots_; ++i) full_->Init(*warp_ * slots_ + i, 1);
    FenceMBarrierInit(k_);
  });
  k_.If(k_.ThreadX() < plan_.per_slice, [&] {
    x_full_->Init(k_.ThreadX(), 1);
    FenceMBarrierInit(k_);
  });
  k_.WarpBarrier();
  for (uint32_t i = 0; i < slots_; ++i) AskForTile(k_.Const<U32>(i));
  k_.Barrier();
  if (spec_.programmatic) {
    k_.LaunchDependents();
    k_.WaitForPredecessors();
  }
  k_.If(k_.ThreadX() == 0 && own.first < quads, [&] { AskForX(x); });
  const bool groups_multiply = k_.target().sm == 90;
  sums_ = groups_multiply ? NewGroupSums(k_, pieces(), *lane_) : NewWarpSums(k_, pieces(), *lane_);
  k_.For(own.first + *team_, *end_, {.step = teams_}, [&](const Val<U32>& quad) {
    InSegment(quad, [&](const Segment& segment) { Multiply(segment, quad); });
  });
}

void WideGemmTiles::AskForX(const In<U8>& x) {
  k_.For(0, *count_, {}, [&](const Val<U32>& b) {
    const In<U8> from = x.At(*first_block_ + b, XBytes() + ExtrasBytes());
    x_full_->ArriveExpecting(b, XBytes() + ExtrasBytes());
    CopyBulk(x_->At(b, XBytes()).As<U8>(), from, XBytes(), *x_full_, b);
    CopyBulk(extras_->At(b, ExtrasBytes()), from.At(XBytes()), ExtrasBytes(), *x_full_, b);
  });
}

void WideGemmTiles::AskForTile(const Val<U32>& slot) {
  k_.If(*lane_ == 0 && Val<U32>(*ask_quad_) < *end_, [&] {
    const Val<U32> place = *warp_ * slots_ + slot;
    InSegment(*ask_quad_, [&](const Segment& segment) {
      const uint32_t bytes = segment.format.bytes;
      const Val<U32> row_tile =
          (Val<U32>(*ask_quad_) - segment.first_quad) * kTeamWarps + *of_team_;
      const Val<U32> source =
          segment.row_tiles() % kTeamWarps == 0 ? row_tile : Min(row_tile, segment.row_tiles() - 1);
      full_->ArriveExpecting(place, bytes);
      CopyBulk(ring_->At(place, slot_bytes_),
               segment.tiles.At(source * blocks_ + *first_block_ + *ask_block_, bytes), bytes,
               *full_, place, *policy_);
    });
  });
  const Val<U32> next = Val<U32>(*ask_block_) + 1;
  const Pred turns = next == *count_;
  *ask_quad_ = Select<U32>(turns, Val<U32>(*ask_quad_) + teams_, *ask_quad_);
  *ask_block_ = Select<U32>(turns, 0, next);
}

void WideGemmTiles::Multiply(const Segment& segment, const Val<U32>& quad) {
  std::deque<Var<F32>> totals;
  // What is added to -0 keeps all its bits.
  for (uint32_t i = 0; i < 4 * pieces(); ++i) totals.emplace_back(&k_.recorder(), -0.0f);
  k_.For(0, *count_, {}, [&](const Val<U32>& b) {
    x_full_->Wait(k_, b, 0);
    const Val<U32> slot = *slot_;
    const Val<U32> place = *warp_ * slots_ + slot;
    full_->Wait(k_, place, *parity_);
    sums_->Begin(x_->At(b, XBytes()), extras_->At(b, ExtrasBytes()));
    const std::vector<Vec<F32, 4>> results =
        MultiplyTile(k_, segment.format, ring_->At(place, slot_bytes_), *sums_, *lane_, [&] {
          k_.WarpBarrier();
          AskForTile(slot);
        });
    for (uint32_t i = 0; i < totals.size(); ++i) totals[i] += results[i / 4][i % 4];
    const Val<U32> next = slot + 1;
    const Pred wraps = next == slots_;
    *parity_ = Select<U32>(wraps, 1 - Val<U32>(*parity_), *parity_);
    *slot_ = Select<U32>(wraps, 0, next);
  });
  const Val<U32> row_tile = (quad - segment.first_quad) * kTeamWarps + *of_team_;
  k_.If(segment.row_tiles() % kTeamWarps == 0 ? k_.True() : row_tile < segment.row_tiles(),
        [&] { Store(segment, row_tile, totals); });
}

void WideGemmTiles::Store(const Segment& segment, const Val<U32>& row_tile,
                          const std::deque<Var<F32>>& totals) {
  const uint32_t rows = spec_.n + spec_.n2;
  const Val<U32> row = row_tile * kTileRows + *lane_ / 4;
  const Val<U32> token = *slice_ * spec_.columns + *lane_ % 4 * 2;
  const Out<F32> to = parts_.At(token * rows + segment.first_row + row);
  for (uint32_t far = 0; far < 2; ++far) {
    const Pred exists =
        segment.rows % kTileRows == 0 ? k_.True() : Pred(row + far * 8 < segment.rows);
    k_.If(exists, [&] {
      for (uint32_t i = 0; i < pieces(); ++i) {
        for (uint32_t e = 0; e < 2; ++e) {
          to.Store((i * kPieceTokens + e) * rows + far * 8, totals[4 * i + 2 * far + e]);
        }
      }
    });
  }
}

}  // namespace

absl::StatusOr<KernelSpec> BuildWideGemmTiles(const GemmTilesSpec& spec, const Target& target) {
  Target specific = target;
  if (target.sm == 90) {
    PTXSMITH_ASSIGN_OR_RETURN(specific, target.Specific());
  }
  KernelBuilder k(KeyOf(spec, target), GemmTilesSpec::kFamily, specific);
  WideGemmTiles(k, spec).Run();
  return std::move(k).Finish();
}

}  // namespace ptxsmith

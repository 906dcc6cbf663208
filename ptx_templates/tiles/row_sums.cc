#include "ptx_templates/tiles/row_sums.h"

#include <algorithm>

#include "ptx_templates/tiles/tile_dot.h"

namespace ptxsmith {

RowRange RowTilesOf(const Val<U32>& cta, uint32_t ctas, uint32_t row_tiles) {
  const Val<U32> first = cta * row_tiles / ctas;
  return {first, (cta + 1) * row_tiles / ctas - first};
}

TileWalk::TileWalk(const Val<U32>& warp, uint32_t warps, uint32_t blocks)
    : TileWalk(warp, warps, blocks, blocks > warps ? warp : warp % blocks,
               blocks > warps ? 0 : kTileRows) {}

// `block_slot`: floats from a block's slot to the next one's.
TileWalk::TileWalk(const Val<U32>& warp, uint32_t warps, uint32_t blocks,
                   const Val<U32>& first_slot, uint32_t block_slot)
    : blocks(Constant<U32>(warp, blocks)),
      block(warp % blocks),
      slot(warp / blocks * RowTileFloats(warps) + first_slot * kTileRows),
      block_step(Constant<U32>(warp, warps % blocks)),
      slot_step(
          Constant<U32>(warp, warps / blocks * RowTileFloats(warps) + warps % blocks * block_slot)),
      slot_over(Constant<U32>(warp, RowTileFloats(warps) - blocks * block_slot)) {}

TileWalk::TileWalk(const Pred& p, const TileWalk& a, const TileWalk& b)
    : blocks(Select(p, a.blocks, b.blocks)),
      block(Select(p, a.block, b.block)),
      slot(Select(p, a.slot, b.slot)),
      block_step(Select(p, a.block_step, b.block_step)),
      slot_step(Select(p, a.slot_step, b.slot_step)),
      slot_over(Select(p, a.slot_over, b.slot_over)) {}

TileProduct::TileProduct(KernelBuilder& k, const Shape& shape)
    : k_(k),
      shape_(shape),
      images_(k.SharedArray<U8>("images", shape.max_blocks * kImageBytes)),
      sums_(k.SharedArray<F32>("sums", shape.max_rows * RowTileFloats(shape.warps))) {}

void TileProduct::Multiply(TileRing& ring, const TileFormat& format, const TileWalk& walk,
                           const Val<U32>& row_tiles, const Val<U32>& first, const Val<U32>& warp,
                           const Val<U32>& lane) {
  const LaneImage images(images_, lane, shape_.terms);
  const InOut<F32> own = sums_.At(RowOfLane(lane));
  const bool stays = walk.block_step.constant() == 0u;
  Var<U32> block = k_.NewVar<U32>(walk.block);
  Var<U32> slot = k_.NewVar<U32>(first * RowTileFloats(shape_.warps) + walk.slot);
  ring.Consume(format, row_tiles * walk.blocks, warp, lane,
               [&](const InOut<U8>& tile, TileRing::Loaded loaded) {
                 const Val<U32> here = block;
                 const Val<F32> sum =
                     JoinLanes(format, DotTile(format, tile, images.At(here), lane, loaded), lane);
                 k_.If((lane & 2) == 0, [&] {
                   Var<F32> total = k_.NewVar<F32>(sum);
                   // A warp meets a row tile every `warps` blocks, for the first time below that.
                   k_.If(here >= shape_.warps, [&] { total += own.Load(slot); });
                   own.Store(slot, total);
                 });
                 slot += walk.slot_step;
                 if (stays) return;
                 const Val<U32> next = here + walk.block_step;
                 const Pred over = next >= walk.blocks;
                 block = Select<U32>(over, next - walk.blocks, next);
                 slot += Select<U32>(over, walk.slot_over, 0);
               });
}

Val<F32> TileProduct::SumOf(uint32_t blocks, const InOut<F32>& slots) const {
  const uint32_t count = std::min(blocks, shape_.warps);
  // Four sums side by side, so that not every addition waits for the one before.
  const uint32_t chains = count >= 4 ? 4 : 1;
  const auto chain = [&](size_t i) -> Val<F32> {
    const auto first = static_cast<uint32_t>(i);
    Var<F32> total = k_.NewVar<F32>(slots.Load(first * kTileRows));
    for (uint32_t j = first + chains; j < count; j += chains) total += slots.Load(j * kTileRows);
    return total;
  };
  return chains == 4 ? Sum(MakeVec<4>(chain)) : chain(0);
}

}  // namespace ptxsmith

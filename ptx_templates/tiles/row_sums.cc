#include "ptx_templates/tiles/row_sums.h"

#include <algorithm>

#include "ptx_templates/tiles/tile_dot.h"

namespace ptxsmith {

RowRange RowTilesOf(const Val<U32>& cta, uint32_t ctas, uint32_t row_tiles) {
  const Val<U32> first = cta * row_tiles / ctas;
  return {first, (cta + 1) * row_tiles / ctas - first};
}

TileProduct::TileProduct(KernelBuilder& k, const Shape& shape)
    : k_(k),
      shape_(shape),
      images_(k.SharedArray<U8>("images", shape.max_blocks * kImageBytes)),
      sums_(k.SharedArray<F32>("sums", shape.max_rows * RowTileFloats())) {}

void TileProduct::Multiply(TileRing& ring, const TileFormat& format, uint32_t blocks,
                           const Val<U32>& row_tiles, const Val<U32>& first, const Val<U32>& warp,
                           const Val<U32>& lane) {
  const InOut<F32> own = sums_.At(warp * kTileRows + RowOfLane(lane));
  ring.Consume(format, row_tiles * blocks, warp, lane,
               [&](const Val<U32>& u, const InOut<U8>& tile, TileRing::Loaded loaded) {
                 const Val<U32> block = shape_.warps % blocks == 0 ? warp % blocks : u % blocks;
                 const RowPair share =
                     DotTile(format, tile, image(block), lane, shape_.terms, loaded);
                 const Val<F32> sum = JoinLanes(format, share, lane);
                 const InOut<F32> slot = own.At((first + u / blocks) * RowTileFloats());
                 k_.If((lane & 2) == 0, [&] {
                   if (blocks <= shape_.warps) return slot.Store(0, sum);
                   // A warp meets a row tile every `warps` blocks, for the first time below that.
                   Var<F32> total = k_.NewVar<F32>(sum);
                   k_.If(block >= shape_.warps, [&] { total += slot.Load(0); });
                   slot.Store(0, total);
                 });
               });
}

Val<F32> TileProduct::RowSum(uint32_t blocks, const Val<U32>& local, const Val<U32>& order,
                             const Val<U32>& row) const {
  const InOut<F32> slots = sums_.At(local * RowTileFloats() + row);
  const uint32_t count = std::min(blocks, shape_.warps);
  // With fewer blocks than warps the row tile's tiles went to the warps from this one on.
  const Val<U32> start = count < shape_.warps ? order * blocks % shape_.warps : k_.Const<U32>(0);
  const auto slot = [&](uint32_t i) {
    const Val<U32> warp = start + i;
    if (count == shape_.warps) return slots.Load(warp * kTileRows);
    return slots.Load(Select<U32>(warp >= shape_.warps, warp - shape_.warps, warp) * kTileRows);
  };
  // Four sums side by side, so that not every addition waits for the one before.
  const uint32_t chains = count >= 4 ? 4 : 1;
  const auto chain = [&](size_t i) -> Val<F32> {
    Var<F32> total = k_.NewVar<F32>(slot(static_cast<uint32_t>(i)));
    for (uint32_t j = static_cast<uint32_t>(i) + chains; j < count; j += chains) total += slot(j);
    return total;
  };
  return chains == 4 ? Sum(MakeVec<4>(chain)) : chain(0);
}

}  // namespace ptxsmith

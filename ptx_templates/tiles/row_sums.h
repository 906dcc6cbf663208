// Matrix-vector products of a block over tiles: which rows the block owns, the image of the
// activations, and the sums of the rows, added up over the warps in a fixed order.
//
//   TileProduct product(k, {.warps = 14, .terms = 2, .max_rows = 14, .max_blocks = 56});
//   product.Multiply(ring, format, TileWalk(warp, 14, blocks), row_tiles, first, warp, lane);
//   k.NamedBarrier(...);
//   const Val<F32> sum = product.SumOf(blocks, product.SlotsOf(row_tile, row));   // any thread
//
// The sum of a row is kept in as many slots as there are warps, or blocks if these are fewer. Block
// i's tile is added to slot i % warps, whose tiles one warp meets in order; SumOf adds the slots
// in order. So the bits do not depend on timing.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_ROW_SUMS_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_ROW_SUMS_H_

#include <cstdint>

#include "codegen/kernel_builder.h"
#include "ptx_templates/tiles/activation_image.h"
#include "ptx_templates/tiles/tile_ring.h"

namespace ptxsmith {

// The row tiles of block `cta` of `ctas`: as even as can be.
struct RowRange {
  Val<U32> first, count;
};
RowRange RowTilesOf(const Val<U32>& cta, uint32_t ctas, uint32_t row_tiles);
// The most that any block has.
constexpr uint32_t MostRowTiles(uint32_t ctas, uint32_t row_tiles) {
  return (row_tiles + ctas - 1) / ctas;
}

// Floats from the sums of a row tile to the next: 16 more than needed, which spreads them over the
// banks.
constexpr uint32_t RowTileFloats(uint32_t warps) { return (warps + 1) * kTileRows; }

// How the tiles of a matrix go round the warps: tile u, block u % blocks of row tile u / blocks, to
// warp u % warps. As few instructions as can be, for a loop over tiles of whatever matrix.
struct TileWalk {
  TileWalk(const Val<U32>& warp, uint32_t warps, uint32_t blocks);
  // The one or the other.
  TileWalk(const Pred& p, const TileWalk& a, const TileWalk& b);

  Val<U32> blocks;       // K / 256
  Val<U32> block, slot;  // of the warp's first tile; slots are counted in floats
  // To its next tile. Where the block then is beyond the last, it is of the next row tile, and the
  // slot `slot_over` further on.
  Val<U32> block_step, slot_step, slot_over;

 private:
  TileWalk(const Val<U32>& warp, uint32_t warps, uint32_t blocks, const Val<U32>& first_slot,
           uint32_t block_slot);
};

class TileProduct {
 public:
  struct Shape {
    uint32_t warps;
    uint32_t terms;       // of the activations
    uint32_t max_rows;    // row tiles at a time
    uint32_t max_blocks;  // K / 256 of the widest matrix
  };
  TileProduct(KernelBuilder& k, const Shape& shape);

  // The image of block `i` of 256 columns.
  InOut<U8> image(const Val<U32>& i) const { return images_.At(i, kImageBytes); }
  const Shared<U8>& images() const { return images_; }

  // Adds `row_tiles` row tiles out of the ring to the local row tiles from `first` on, which
  // nothing was added to before. By every lane of every compute warp.
  void Multiply(TileRing& ring, const TileFormat& format, const TileWalk& walk,
                const Val<U32>& row_tiles, const Val<U32>& first, const Val<U32>& warp,
                const Val<U32>& lane);

  // Where the slots of row `row` of a local row tile begin, and their sum. By any thread.
  InOut<F32> SlotsOf(const Val<U32>& local, const Val<U32>& row) const {
    return sums_.At(local * RowTileFloats(shape_.warps) + row);
  }
  Val<F32> SumOf(uint32_t blocks, const InOut<F32>& slots) const;

 private:
  KernelBuilder& k_;
  Shape shape_;
  Shared<U8> images_;
  Shared<F32> sums_;  // [max_rows][slots][16]
};

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_ROW_SUMS_H_

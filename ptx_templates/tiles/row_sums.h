// Matrix-vector products of a block over tiles: which rows the block owns, the image of the
// activations, and the sums of the rows, added up over the warps in a fixed order.
//
//   TileProduct product(k, {.warps = 14, .terms = 2, .max_rows = 14, .max_blocks = 56});
//   product.Multiply(ring, format, blocks, row_tiles, first, warp, lane);   // compute warps
//   k.NamedBarrier(...);
//   const Val<F32> sum = product.RowSum(blocks, row_tile, row);             // any thread
//
// The sum of a row is kept in one slot per warp: a warp adds the tiles it meets in order, RowSum
// adds the slots in order, so the bits do not depend on timing.
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

  // Adds `row_tiles` row tiles of `blocks` tiles each out of the ring to the local row tiles from
  // `first` on, which nothing was added to before. By every lane of every compute warp.
  void Multiply(TileRing& ring, const TileFormat& format, uint32_t blocks,
                const Val<U32>& row_tiles, const Val<U32>& first, const Val<U32>& warp,
                const Val<U32>& lane);

  // Row `row` of a local row tile, counted from the `first` of its Multiply in `order`, which says
  // which warps met it.
  Val<F32> RowSum(uint32_t blocks, const Val<U32>& local, const Val<U32>& order,
                  const Val<U32>& row) const;

 private:
  // Floats from a row tile to the next: 16 more than needed, which spreads them over the banks.
  uint32_t RowTileFloats() const { return (shape_.warps + 1) * kTileRows; }

  KernelBuilder& k_;
  Shape shape_;
  Shared<U8> images_;
  Shared<F32> sums_;  // [max_rows][warps][16]
};

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_ROW_SUMS_H_

// The product of one tile with the activations of its 256 columns, by one warp, with integer dot
// products on whole bytes: a byte holds q(row g) + 16 q(row g + 8), so the first dp4a of a word
// needs no mask and the second one only one.
//
//   const RowPair share = DotTile(format, tile, LaneImage(images, lane, terms).At(block), lane,
//                                 [&] { ... tile is free ... });
//   const Val<F32> sum = JoinLanes(format, share, lane);   // row RowOfLane(lane) of the tile
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_TILE_DOT_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_TILE_DOT_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "codegen/kernel_builder.h"
#include "ptx_templates/tiles/tile_format.h"

namespace ptxsmith {

// The lane's words of a plane: `blocks` loads of 16 bytes from 512 bytes each.
std::vector<Val<U32>> LoadPlane(const InOut<U8>& plane, const Val<U32>& lane, uint32_t blocks);

// A lane's share of rows g and g + 8, divided by the format's scale.
struct RowPair {
  Val<F32> low, high;
};

// What a lane reads of images (activation_image.h) in `terms` terms.
class LaneImage {
 public:
  LaneImage(const InOut<U8>& images, const Val<U32>& lane, uint32_t terms);
  // The one of block `i` of 256 columns.
  LaneImage At(const Val<U32>& i) const;

  uint32_t terms() const { return terms_; }
  // Columns 16 c to 16 c + 15 of the lane's 64: four words of a term.
  Vec<U32, 4> Columns(uint32_t c, uint32_t term) const;
  // d of the two blocks of 32 columns, then their sums.
  Vec<F32, 4> ScalesAndSums() const { return scales_.Load<4>(0); }
  Vec<F32, 2> Scales() const { return scales_.Load<2>(0); }
  Vec<F32, 4> SumsOf16() const { return scales_.At(4).Load<4>(0); }
  // 128 * first + second, or the only one.
  Val<S32> Join(absl::FunctionRef<Val<S32>(uint32_t term)> of_term) const;

 private:
  LaneImage(const InOut<U8>& columns, const InOut<F32>& scales, uint32_t terms)
      : columns_(columns), scales_(scales), terms_(terms) {}

  InOut<U8> columns_;
  InOut<F32> scales_;
  uint32_t terms_;
};

// `tile` and `image` lie in shared memory. Calls `loaded` when the tile is in registers and may be
// overwritten.
RowPair DotTile(const TileFormat& format, const InOut<U8>& tile, const LaneImage& image,
                const Val<U32>& lane, absl::FunctionRef<void()> loaded);

// The sums over the four lanes of a quad. Lanes whose bit 1 is clear hold the one of row
// RowOfLane(lane).
Val<F32> JoinLanes(const TileFormat& format, const RowPair& share, const Val<U32>& lane);
inline Val<U32> RowOfLane(const Val<U32>& lane) { return lane / 4 + (lane % 2) * 8; }

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_TILE_DOT_H_

// The product of one tile with the activations of its 256 columns, by one warp, with integer dot
// products on whole bytes: a byte holds q(row g) + 16 q(row g + 8), so the first dp4a of a word
// needs no mask and the second one only one.
//
//   const RowPair share = DotTile(format, tile, image, lane, terms, [&] { ... tile is free ... });
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

// `tile` and `image` lie in shared memory. Calls `loaded` when the tile is in registers and may be
// overwritten. terms: as StoreImage wrote them.
RowPair DotTile(const TileFormat& format, const InOut<U8>& tile, const InOut<U8>& image,
                const Val<U32>& lane, uint32_t terms, absl::FunctionRef<void()> loaded);

// The sums over the four lanes of a quad. Lanes whose bit 1 is clear hold the one of row
// RowOfLane(lane).
Val<F32> JoinLanes(const TileFormat& format, const RowPair& share, const Val<U32>& lane);
inline Val<U32> RowOfLane(const Val<U32>& lane) { return lane / 4 + (lane % 2) * 8; }

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_TILE_DOT_H_

// The product of one tile in layout kMma with the activations of its 256 columns for 8, 16 or 32
// tokens, by one warp on the tensor cores.
//
//   const std::vector<Vec<F32, 4>> sums =
//       MultiplyTile(k, format, tile, pieces, lane, [&] { ... the tile is free ... });
//   // sums[i]: rows g and g + 8 for tokens 8 i + 2 t and 8 i + 2 t + 1, as in codegen/mma.h
//
// A word of nibbles becomes fragments with a mask: as f16 bits the integers 0 to 1023 are
// subnormal and exact, so q times the integer scale of its block is exact, too, in what f16 holds
// (q4_k, q5_k: 11 bits; q6_k: rounded to 11 bits). The sums of the tensor cores then need one
// factor per tile and row. Minimums are one more mma, with the sums of the activations' blocks.
// Types with an f16 for each block (q4_0, q8_0) add up block by block instead.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_TILE_MMA_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_TILE_MMA_H_

#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "codegen/kernel_builder.h"
#include "ptx_templates/tiles/column_image.h"
#include "ptx_templates/tiles/tile_format.h"

namespace ptxsmith {

// `tile` lies in shared memory. Calls `loaded` when the tile is in registers and may be
// overwritten.
std::vector<Vec<F32, 4>> MultiplyTile(KernelBuilder& k, const TileFormat& format,
                                      const InOut<U8>& tile,
                                      const std::vector<PieceFragments>& pieces,
                                      const Val<U32>& lane, absl::FunctionRef<void()> loaded);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_TILE_MMA_H_

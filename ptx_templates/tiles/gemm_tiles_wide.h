// The kernel of gemm_tiles.h for more than 8 tokens, where tensor cores cost as much as memory: the
// activations lie in shared memory, so that wgmma can read them there on sm_90, which goes on while
// the next weights are unpacked; elsewhere each warp loads fragments. Used by BuildGemmTiles.
//
//   PTXSMITH_ASSIGN_OR_RETURN(KernelSpec kernel, BuildWideGemmTiles(spec, target));
//
// Geometry     thread blocks have a slice of the columns and a group of the rows, as there. Four
//              warps have 64 rows, a row tile each, and go through the blocks of columns with their
//              sums in registers; no warp waits for another's sums.
// Numerics     the sums of a slice have the order of the narrow kernel, and the same bits.
// Errors       as BuildGemmTiles, which has checked the fields.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_GEMM_TILES_WIDE_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_GEMM_TILES_WIDE_H_

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "ptx_templates/tiles/gemm_tiles.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildWideGemmTiles(const GemmTilesSpec& spec, const Target& target);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_GEMM_TILES_WIDE_H_

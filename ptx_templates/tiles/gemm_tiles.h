// Y = W X for up to 32 tokens with the weights in tiles: the product of a step of many sequences,
// at the speed of memory, from sm_90 on.
//
// Mathematics  the sum over s of parts[s][t][r] = sum over c of W[r][c] x[t][c], for rows r < n of
//              W and, where n2 is not 0, n2 rows more of a matrix of another type.
// Layout       tiles, tiles2: what `repack` made in layout mma; x: column_image.h for `columns`
//              tokens; parts: [slices][columns][n + n2] f32, `slices` as PlanOf says.
// Geometry     the blocks of 256 columns are divided into slices and the row tiles into groups, a
//              thread block for each pair, and further ones, which do nothing, up to `ctas`: where
//              an SM is empty all the blocks of the next kernel gather. So x is read once per group
//              of rows, not once per SM: with K = 14336 and 32 tokens that would be as much as the
//              weights. Each warp has a ring of tiles of its own. For 8 tokens it keeps the
//              activations of one block of columns in registers for all its tiles, and warps that
//              share a row tile are added up through shared memory; for more see gemm_tiles_wide.h.
//              Slices are added up by the kernel that reads them.
// Traffic      every byte of the tiles once; x once per group; parts once.
// Numerics     f16 x, weights exact but for q6_k (scale times q in f16), f32 sums by tensor cores.
//              A token's bits depend neither on the others nor on `columns` or `ring`.
// Launch       `programmatic`: the rings fill before the wait for the kernel that writes x.
// Limits       k a multiple of 256; of 8 * ctas * 256 at most.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_GEMM_TILES_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_GEMM_TILES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/tiles/tile_format.h"

namespace ptxsmith {

struct GemmTilesSpec {
  QuantType quant = QuantType::kQ4K;
  uint32_t k = 256;
  uint32_t n = 16;
  QuantType quant2 = QuantType::kQ4K;
  uint32_t n2 = 0;
  uint32_t columns = 8;
  uint32_t ctas = 132;
  uint32_t ring = 36;
  bool programmatic = false;

  static constexpr absl::string_view kFamily = "gemm_tiles";
  static constexpr absl::string_view kSummary = "Y = W X for up to 32 tokens, weights in tiles";
  static constexpr auto kFields = Fields(
      Field("quant", &GemmTilesSpec::quant, kTileQuantRule, "type of W"),
      Field("k", &GemmTilesSpec::k, AtLeast(kTileColumns, kTileColumns), "weights per row"),
      Field("n", &GemmTilesSpec::n, AtLeast(1), "rows"),
      Field("quant2", &GemmTilesSpec::quant2, kTileQuantRule, "type of further rows"),
      Field("n2", &GemmTilesSpec::n2, {}, "further rows; 0: none, and no tiles2"),
      Field("columns", &GemmTilesSpec::columns, OneOf(8, 16, 32), "tokens"),
      Field("ctas", &GemmTilesSpec::ctas, Between(1, 1024), "blocks at most, one per SM"),
      Field("ring", &GemmTilesSpec::ring, Between(1, 200), "KiB of shared memory for tiles"),
      Field("programmatic", &GemmTilesSpec::programmatic, {}, "programmatic dependent launch"));
};

// Who does what.
struct GemmTilesPlan {
  uint32_t slices;     // of the columns
  uint32_t per_slice;  // blocks of 256 columns, at most: warps that share a row tile
  uint32_t groups;     // of the row tiles
  uint32_t sets;       // of warps, each with row tiles of its own
  uint32_t warps() const { return per_slice * sets; }
};
// The division with the fewest bytes for the busiest block: more slices leave fewer activations to
// each, and more parts. A function of the matrices and ctas, but for `sets`.
GemmTilesPlan PlanOf(const GemmTilesSpec& spec);

// Arguments: parts (out), tiles (in), tiles2 (in, when n2 is not 0), x (in). InvalidArgument when a
// field breaks its rule, FailedPrecondition when the target lacks bulk copies or shared memory.
absl::StatusOr<KernelSpec> BuildGemmTiles(const GemmTilesSpec& spec, const Target& target);

std::vector<GemmTilesSpec> GemmTilesVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_GEMM_TILES_H_

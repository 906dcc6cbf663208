// y = W x for one token with the weights in tiles (tile_format.h): the matrix-vector product at the
// speed of memory, from sm_90 on. `decode_token` is made of the same parts.
//
// Mathematics  y[r] = sum over c of W[r][c] * x[c], x rounded to 8-bit integers in one or two terms
//              (activation_image.h).
// Layout       tiles: what `repack` made of n rows of k weights; x: k f32; y: n f32.
// Geometry     one block per SM (`ctas`), warps that compute and one that fills the ring
//              (tile_ring.h); a block owns a range of row tiles.
// Traffic      every byte of the tiles once; x once per block.
// Numerics     f32 and exact integers, in an order fixed by the spec.
// Launch       `programmatic`: the ring fills before the wait for the kernel that writes x.
// Limits       k a multiple of 256; the image of x, 3 bytes a column, and the ring fit in shared
//              memory: k <= 16384.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_GEMV_TILES_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_GEMV_TILES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/tiles/tile_format.h"

namespace ptxsmith {

struct GemvTilesSpec {
  QuantType quant = QuantType::kQ4K;
  uint32_t k = 256;
  uint32_t n = 16;
  uint32_t ctas = 132;
  uint32_t warps = 16;
  uint32_t in_flight = 6;
  uint32_t terms = 2;
  bool programmatic = false;

  static constexpr absl::string_view kFamily = "gemv_tiles";
  static constexpr absl::string_view kSummary = "y = W x with the weights in tiles";
  static constexpr auto kFields = Fields(
      Field("quant", &GemvTilesSpec::quant, kTileQuantRule, "type of W"),
      Field("k", &GemvTilesSpec::k, AtLeast(kTileColumns, kTileColumns), "weights per row"),
      Field("n", &GemvTilesSpec::n, AtLeast(1), "rows"),
      Field("ctas", &GemvTilesSpec::ctas, Between(1, 1024), "blocks, one per SM"),
      Field("warps", &GemvTilesSpec::warps, Between(1, 31), "warps that compute"),
      Field("in_flight", &GemvTilesSpec::in_flight, Between(1, 15), "chunks asked for ahead"),
      Field("terms", &GemvTilesSpec::terms, OneOf(1, 2), "8-bit terms of an activation"),
      Field("programmatic", &GemvTilesSpec::programmatic, {}, "programmatic dependent launch"));
};

// Arguments: y (out), tiles (in), x (in). InvalidArgument when a field breaks its rule,
// FailedPrecondition when the target lacks bulk copies or shared memory.
absl::StatusOr<KernelSpec> BuildGemvTiles(const GemvTilesSpec& spec, const Target& target);

std::vector<GemvTilesSpec> GemvTilesVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_GEMV_TILES_H_

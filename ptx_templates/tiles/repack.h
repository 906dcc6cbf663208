// Weights from the blocks of the GGUF file to the tiles that the decode kernels read
// (tile_format.h).
//
// Mathematics  none: every weight's bits and every scale, in another order.
// Layout       tiles: TileBytes(quant, k, n) bytes in `layout`; w: n rows of k weights in the
//              file's blocks. Row r of the tiles is row SourceRow(order, head_dim, r) of w: with
//              `pairs` the two rows that RoPE rotates together are neighbours; with `interleaved`
//              there are two matrices w and w2 of n / 2 rows, and every tile holds eight rows of
//              each, so that the product of a row of gate and the same row of up end in one lane.
//              Rows beyond n repeat the last one.
// Geometry     one block of 256 threads per tile: the warps decode two rows each into shared
//              memory, then all threads put the tile together.
// Traffic      every byte once read and once written.
// Limits       k a multiple of 256; with `pairs` n of head_dim, with `interleaved` n of 16.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_REPACK_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_REPACK_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/tiles/tile_format.h"

namespace ptxsmith {

enum class RowOrder : uint32_t { kPlain, kPairs, kInterleaved };
// The row of its matrix that is row `row` of the tiles; a number or a value of a kernel.
template <class Row>
Row SourceRow(RowOrder order, uint32_t head_dim, const Row& row) {
  if (order == RowOrder::kInterleaved) return row / 16 * 8 + row % 8;
  if (order == RowOrder::kPlain) return row;
  const Row in_head = row % head_dim;
  return row - in_head + in_head / 2 + in_head % 2 * (head_dim / 2);
}

absl::string_view FieldText(TileLayout layout);
absl::Status ParseFieldText(absl::string_view text, TileLayout* layout);
absl::string_view FieldText(RowOrder order);
absl::Status ParseFieldText(absl::string_view text, RowOrder* order);

struct RepackSpec {
  QuantType quant = QuantType::kQ4K;
  uint32_t k = 256;
  uint32_t n = 16;
  RowOrder order = RowOrder::kPlain;
  uint32_t head_dim = 2;
  TileLayout layout = TileLayout::kDot;

  static constexpr absl::string_view kFamily = "repack";
  static constexpr absl::string_view kSummary = "weights in the tiles of the decode kernels";
  static constexpr auto kFields = Fields(
      Field("quant", &RepackSpec::quant, kTileQuantRule, "type of the weights"),
      Field("k", &RepackSpec::k, AtLeast(kTileColumns, kTileColumns), "weights per row"),
      Field("n", &RepackSpec::n, AtLeast(1), "rows, of both matrices when interleaved"),
      Field("order", &RepackSpec::order,
            OneOf(RowOrder::kPlain, RowOrder::kPairs, RowOrder::kInterleaved), "order of the rows"),
      Field("head_dim", &RepackSpec::head_dim, AtLeast(2, 2), "rows that pairs stay within"),
      Field("layout", &RepackSpec::layout, OneOf(TileLayout::kDot, TileLayout::kMma),
            "of the tiles"));
};

// Arguments: tiles (out), w (in), w2 (in) when interleaved. InvalidArgument when a field breaks its
// rule.
absl::StatusOr<KernelSpec> BuildRepack(const RepackSpec& spec, const Target& target);

std::vector<RepackSpec> RepackVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_REPACK_H_

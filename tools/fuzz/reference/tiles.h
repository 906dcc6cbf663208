// The tiles of ptx_templates/tiles/tile_format.h, written byte by byte from their definition and
// that of the GGUF blocks. Pure functions.
//
//   std::vector<uint8_t> tiles = Repack({QuantType::kQ4K, w, rows}, 4096, RowSource());
#ifndef PTXSMITH_TOOLS_FUZZ_REFERENCE_TILES_H_
#define PTXSMITH_TOOLS_FUZZ_REFERENCE_TILES_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/types/span.h"
#include "ptx_templates/quant_type.h"
#include "tools/fuzz/reference/ops.h"
#include "tools/fuzz/reference/projection.h"

namespace ptxsmith::reference {

// Row r of the tiles is row `row_of(r)` of the blocks; `rows` of them, then repetitions of the
// last. REQUIRES: k is a multiple of 256; the type is q4_0, q8_0, q4_k, q5_k or q6_k.
std::vector<uint8_t> Repack(const Matrix& w, uint32_t k, uint32_t rows,
                            const std::function<uint32_t(uint32_t)>& row_of);
// The same in the layout for tensor cores.
std::vector<uint8_t> RepackMma(const Matrix& w, uint32_t k, uint32_t rows,
                               const std::function<uint32_t(uint32_t)>& row_of);

// W x with x rounded to 8-bit integers in `terms` terms, 32 columns to a scale.
// Bound: that of Project, and half a step of the integers for every |W||x|.
Expected ProjectTiles(const Matrix& w, absl::Span<const float> x, uint32_t terms);

// Activations of tokens, rows of k, as `gemm_tiles` reads them: see column_image.h. Tokens up to
// `columns` that are not there are zeros.
std::vector<uint8_t> ColumnImage(absl::Span<const float> x, uint32_t k, uint32_t columns);

// The activations of the first `tokens` tokens of such an image. Whether the sums it holds are
// theirs, within the roundings of two f16, and whether its units are: of their largest.
struct ImageContents {
  std::vector<float> x;
  bool sums_agree = true;
  bool units_agree = true;
};
ImageContents FromColumnImage(absl::Span<const uint8_t> image, uint32_t k, uint32_t columns,
                              uint32_t tokens);

// What is left of values that such an image holds. REQUIRES: whole blocks of 256.
// Bound: 2^-11 of the value, or half of the least f16 in the unit of its block.
Expected RoundedInImage(const Expected& exact);

// W x with x rounded so, summed by tensor cores, minimums apart from the rest.
// Bound: that of ProjectF16; what sums of the activations lack as two f16; for q6_k half a step of
// f16 for scale times q.
Expected ProjectColumns(const Matrix& w, absl::Span<const float> x);

// Activations as decode_token passes them from matrix to matrix: rounded to the 11 bits of f16,
// then to 8-bit integers in two terms, 32 columns to a scale. REQUIRES: whole blocks of 32.
std::vector<float> Exchanged(absl::Span<const float> x);

}  // namespace ptxsmith::reference

#endif  // PTXSMITH_TOOLS_FUZZ_REFERENCE_TILES_H_

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

// W x with x rounded to 8-bit integers in `terms` terms, 32 columns to a scale.
// Bound: that of Project, and half a step of the integers for every |W||x|.
Expected ProjectTiles(const Matrix& w, absl::Span<const float> x, uint32_t terms);

// Activations as decode_token passes them from matrix to matrix: rounded to the 11 bits of f16,
// then to 8-bit integers in two terms, 32 columns to a scale. REQUIRES: whole blocks of 32.
std::vector<float> Exchanged(absl::Span<const float> x);

}  // namespace ptxsmith::reference

#endif  // PTXSMITH_TOOLS_FUZZ_REFERENCE_TILES_H_

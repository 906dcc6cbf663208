// How f16 matrices lie that `gemm_blocked` multiplies: in blocks of 128 rows by 64 columns, each as
// it has to lie in shared memory (codegen/wgmma.h), so that one bulk copy brings it. Used by the
// kernels that write such a matrix, by the one that reads it, and by whoever allocates it.
//
//   y.At(BlockedPiece(row, column, columns)).As<U32>().Store<4>(0, eight_halves);
//   BlockedCount(rows, columns)      // halves to allocate
//
// Blocks follow each other along a row of blocks; the 16-byte piece p of row r of a block is in the
// place of piece p ^ (r % 8). Columns are a multiple of 64. The last rows of blocks are whole: what
// lies in the rows beyond the end is read and never matters.
#ifndef PTXSMITH_PTX_TEMPLATES_BLOCKED_HALF_H_
#define PTXSMITH_PTX_TEMPLATES_BLOCKED_HALF_H_

#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "codegen/kernel_builder.h"

namespace ptxsmith {

inline constexpr uint32_t kBlockRows = 128;
inline constexpr uint32_t kBlockColumns = 64;
inline constexpr uint32_t kBlockHalves = kBlockRows * kBlockColumns;
inline constexpr uint32_t kPieceHalves = 8;

inline SizeExpr BlockedCount(const SizeExpr& rows, const SizeExpr& columns) {
  return CeilDiv(rows, kBlockRows) * kBlockRows * columns;
}
constexpr uint64_t BlockedCount(uint64_t rows, uint64_t columns) {
  return (rows + kBlockRows - 1) / kBlockRows * kBlockRows * columns;
}

// The index of the piece that `column` belongs to. `columns` is the width of the matrix.
inline Val<U32> BlockedPiece(const Val<U32>& row, const Val<U32>& column, const Val<U32>& columns) {
  const Val<U32> block = row / kBlockRows * (columns / kBlockColumns) + column / kBlockColumns;
  const Val<U32> piece = column % kBlockColumns / kPieceHalves ^ row % 8;
  return block * kBlockHalves + row % kBlockRows * kBlockColumns + piece * kPieceHalves;
}

// InvalidArgument unless a size that is baked is a whole number of blocks of columns.
inline absl::Status CheckBlocked(absl::string_view family, absl::string_view name,
                                 const std::optional<uint32_t>& columns) {
  if (!columns || *columns % kBlockColumns == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(family, ": ", name, "=", *columns,
                                                 " is not a multiple of ", kBlockColumns,
                                                 ", as blocked=1 needs"));
}

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_BLOCKED_HALF_H_

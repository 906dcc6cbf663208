// Activations of several tokens as `gemm_tiles` reads them: f16, in the order of the B fragments of
// mma.m16n8k16, eight tokens to a piece, so that a warp loads what it needs with a few loads of 512
// consecutive bytes and keeps it in registers.
//
//   piece  block * (columns / 8) + token / 8, of 4384 bytes: 256 columns of x for eight tokens
//     512 c + 16 lane        lane 4 g + t, token g: x[32 c + 8 t + 0, 2, 1, 3, 4, 6, 5, 7] / unit
//     4096 + 8 lane          the 32nd parts of the sums over the 32 columns of the chunks 2 t and
//                            2 t + 1: two f16, then what these lack, two f16
//     4352 + 4 g             unit of token g, f32: the power of two that brings the largest of its
//                            256 activations to 1024 to 2047
//
// Units, as activations may exceed the largest f16, and small ones would lose bits. Sums are of
// the rounded x: so the product with weights d (s q) - dmin m is that of the weights, however much
// of it cancels. Tokens beyond those that exist hold anything: nobody uses their results.
//
//   StoreColumns(k, image, columns, token, k.ThreadX(), eight_values);
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_COLUMN_IMAGE_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_COLUMN_IMAGE_H_

#include <cstdint>

#include "codegen/kernel_builder.h"

namespace ptxsmith {

inline constexpr uint32_t kPieceTokens = 8;
inline constexpr uint32_t kPieceBytes = 4384;
inline constexpr uint32_t kPieceSums = 4096;  // where they begin
inline constexpr uint32_t kPieceUnits = 4352;
inline constexpr float kPieceSumScale = 32.0f;

// Of `k` columns, a multiple of 256, for `columns` tokens, a multiple of 8.
constexpr uint64_t ColumnImageBytes(uint32_t k, uint32_t columns) {
  return uint64_t{k / 256} * (columns / kPieceTokens) * kPieceBytes;
}

// Stores columns 8 i to 8 i + 7 of `token`. By every lane of a warp, which has a block of 256: i is
// 32 j + lane.
void StoreColumns(KernelBuilder& k, const Out<U8>& image, uint32_t columns, const Val<U32>& token,
                  const Val<U32>& i, const Vec<F32, 8>& x);

// A piece in registers, as B fragments: steps of 16 columns, two to a chunk of 32.
class PieceFragments {
 public:
  PieceFragments(const In<U8>& piece, const Val<U32>& lane);

  Vec<U32, 2> Step(uint32_t step) const;
  const Vec<U32, 2>& Sums() const { return sums_; }
  // Of tokens 2 t and 2 t + 1, those of the lane's results.
  const Vec<F32, 2>& Units() const { return units_; }

 private:
  std::array<Vec<U32, 4>, 8> chunks_;
  Vec<U32, 2> sums_;
  Vec<F32, 2> units_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_COLUMN_IMAGE_H_

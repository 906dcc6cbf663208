// Activations of several tokens as `gemm_tiles` reads them: f16, in the order of the B fragments of
// mma.m16n8k16, eight tokens to a piece, so that a warp loads what it needs with a few loads of 512
// consecutive bytes and keeps it in registers.
//
//   piece  block * (columns / 8) + token / 8, of 4352 bytes: 256 columns of x for eight tokens
//     512 c + 16 lane        lane 4 g + t, token g: x[32 c + 8 t + 0, 2, 1, 3, 4, 6, 5, 7]
//     4096 + 8 lane          the 32nd parts of the sums over the 32 columns of the chunks 2 t and
//                            2 t + 1: two f16, then what these lack, two f16
//
// Sums are of the rounded x: so the product with weights d (s q) - dmin m is that of the weights,
// however much of it cancels. Values beyond the largest f16 become it. Tokens beyond those that
// exist hold anything: nobody uses their results.
//
//   StoreColumns(k, image, columns, token, k.ThreadX(), eight_values);
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_COLUMN_IMAGE_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_COLUMN_IMAGE_H_

#include <cstdint>

#include "codegen/kernel_builder.h"

namespace ptxsmith {

inline constexpr uint32_t kPieceTokens = 8;
inline constexpr uint32_t kPieceBytes = 4352;
inline constexpr uint32_t kPieceSums = 4096;  // where they begin
inline constexpr float kPieceSumScale = 32.0f;

// Of `k` columns, a multiple of 256, for `columns` tokens, a multiple of 8.
constexpr uint64_t ColumnImageBytes(uint32_t k, uint32_t columns) {
  return uint64_t{k / 256} * (columns / kPieceTokens) * kPieceBytes;
}

// Stores columns 8 i to 8 i + 7 of `token`. By every lane of a warp, which has eights 32 j + lane:
// the lanes of a quad add up their sums.
void StoreColumns(KernelBuilder& k, const Out<U8>& image, uint32_t columns, const Val<U32>& token,
                  const Val<U32>& i, const Vec<F32, 8>& x);

// A piece in registers, as B fragments: steps of 16 columns, two to a chunk of 32.
class PieceFragments {
 public:
  PieceFragments(const In<U8>& piece, const Val<U32>& lane);

  Vec<U32, 2> Step(uint32_t step) const;
  const Vec<U32, 2>& Sums() const { return sums_; }

 private:
  std::array<Vec<U32, 4>, 8> chunks_;
  Vec<U32, 2> sums_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_COLUMN_IMAGE_H_

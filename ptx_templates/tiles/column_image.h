// Activations of several tokens as `gemm_tiles` reads them: f16, in the order of the B fragments of
// mma.m16n8k16, and what goes with them, 4384 bytes for 256 columns of eight tokens. In a step of
// 16 columns s = 2 c + h are the columns 32 c + 8 t + 4 h + 0, 2 (the lower half of a fragment), 1,
// 3 (the upper half) for t = 0..3.
//
// For 8 tokens a warp keeps what it needs in registers, loaded 512 consecutive bytes at a
// time:
//
//   piece  block * (columns / 8) + token / 8
//     512 c + 16 lane        lane 4 g + t, token g: x[32 c + 8 t + 0, 2, 1, 3, 4, 6, 5, 7] / unit
//     4096                   the piece's extras
//
// For more they lie in shared memory, as codegen/wgmma.h reads them:
//
//   block  of 256 columns
//     128 (columns j + token)   rows of 64 columns, four steps, j = 0..3: of a step the lower
//     halves,
//                               then the upper ones, 16 bytes each; piece p in place p ^ (token %
//                               8)
//     512 columns               extras of eight tokens, one after the other
//
//   extras of eight tokens, 288 bytes
//     8 lane                 the 32nd parts of the sums over the 32 columns of the chunks 2 t and
//                            2 t + 1: two f16, then what these lack, two f16
//     256 + 4 g              unit of token g, f32: the power of two that brings the largest of its
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
inline constexpr uint32_t kPieceExtras = 4096;  // where they begin
inline constexpr uint32_t kExtraBytes = 288;
inline constexpr uint32_t kExtraUnits = 256;
inline constexpr float kPieceSumScale = 32.0f;

// Of `k` columns, a multiple of 256, for `columns` tokens, a multiple of 8.
constexpr uint64_t ColumnImageBytes(uint32_t k, uint32_t columns) {
  return uint64_t{k / 256} * (columns / kPieceTokens) * kPieceBytes;
}

// Whether this is the form for shared memory.
constexpr bool InRows(uint32_t columns) { return columns > kPieceTokens; }

// Stores columns 8 i to 8 i + 7 of `token`. By every lane of a warp, which has a block of 256: i is
// 32 j + lane.
void StoreColumns(KernelBuilder& k, const Out<U8>& image, uint32_t columns, const Val<U32>& token,
                  const Val<U32>& i, const Vec<F32, 8>& x);

// The sums of a lane's token, and the units of tokens 2 t and 2 t + 1, those of the lane's results.
template <class Bytes>
Vec<U32, 2> ExtraSums(const Bytes& extras, const Val<U32>& lane) {
  return extras.At(lane, 8).template As<U32>().template Load<2>(0);
}
template <class Bytes>
Vec<F32, 2> ExtraUnits(const Bytes& extras, const Val<U32>& lane) {
  return extras.At(kExtraUnits).At(lane % 4, 8).template As<F32>().template Load<2>(0);
}

// A piece in registers, as B fragments: steps of 16 columns, two to a chunk of 32.
class PieceFragments {
 public:
  PieceFragments(const In<U8>& piece, const Val<U32>& lane);

  Vec<U32, 2> Step(uint32_t step) const;
  const Vec<U32, 2>& Sums() const { return sums_; }
  const Vec<F32, 2>& Units() const { return units_; }

 private:
  std::array<Vec<U32, 4>, 8> chunks_;
  Vec<U32, 2> sums_;
  Vec<F32, 2> units_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_COLUMN_IMAGE_H_

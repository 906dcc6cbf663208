#include "ptx_templates/tiles/column_image.h"

#include <utility>

#include "codegen/warp.h"

namespace ptxsmith {
namespace {

// Exponents of f32 in place.
constexpr uint32_t kExponent = 0x7f800000;
constexpr uint32_t kOne = 127u << 23;
constexpr uint32_t kLargest = 10u << 23;  // of a block's activations: 1024
constexpr uint32_t kChunkBytes = 512;
constexpr uint32_t kRowBytes = 128;

template <size_t... I>
std::array<Vec<U32, 4>, 8> LoadChunks(const In<U32>& from, std::index_sequence<I...>) {
  return {from.At(uint32_t{I}, kChunkBytes).Load<4>(0)...};
}

}  // namespace

void StoreColumns(KernelBuilder& k, const Out<U8>& image, uint32_t columns, const Val<U32>& token,
                  const Val<U32>& i, const Vec<F32, 8>& x) {
  const Vec<F32, 8> sizes = MakeVec<8>([&](size_t j) { return Abs(x[j]); });
  const auto larger = [&](size_t j) { return Max(Max(sizes[j], sizes[j + 1]), sizes[j + 2]); };
  const Val<F32> own = Max(Max(larger(0), larger(3)), Max(sizes[6], sizes[7]));
  // Away from zero, so that the unit and its inverse are numbers.
  const Val<U32> power = Bitcast<U32>(WarpMax(Max(own, 0x1p-100f))) & kExponent;
  const Val<F32> inverse = Bitcast<F32>(Constant<U32>(power, 2 * kOne + kLargest) - power);
  const auto word = [&](size_t first, size_t second) {
    return PackHalf2(x[first] * inverse, x[second] * inverse);
  };
  const Vec<U32, 4> words({word(0, 2), word(1, 3), word(4, 6), word(5, 7)});
  const Vec<F32, 4> pairs = MakeVec<4>([&](size_t j) { return Sum(UnpackHalf2(words[j])); });
  const Val<F32> eight = Sum(pairs);
  const Val<F32> sixteen = eight + ShuffleXor(eight, 1);
  const Val<F32> sum = (sixteen + ShuffleXor(sixteen, 2)) * (1.0f / kPieceSumScale);
  const Val<F16> high = ToF16(sum);

  const Val<U32> chunk = i / 4 % 8;
  const Val<U32> row = token % kPieceTokens * 4;  // the lanes of the token
  const uint32_t pieces = columns / kPieceTokens;
  const Val<U32> block = i / 32;
  const auto put = [&] {
    if (!InRows(columns)) {
      const Out<U8> piece = image.At(block * pieces + token / kPieceTokens, kPieceBytes);
      piece.At(chunk, kChunkBytes).At(row + i % 4, 16).As<U32>().Store<4>(0, words);
      return piece.At(kPieceExtras);
    }
    const Out<U8> of_block = image.At(block, pieces * kPieceBytes);
    const Out<U32> tokens_row =
        of_block.At(chunk / 2 * columns + token, kRowBytes).At(i % 4, 4).As<U32>();
    for (uint32_t w = 0; w < 4; ++w) {
      tokens_row.Store(((chunk % 2 * 4 + w) ^ token % kPieceTokens) * 4, words[w]);
    }
    return of_block.At(pieces * kPieceExtras).At(token / kPieceTokens, kExtraBytes);
  };
  const Out<U8> extras = put();
  k.If(i % 32 == 0, [&] {
    extras.At(kExtraUnits).As<F32>().Store(token % kPieceTokens, Bitcast<F32>(power - kLargest));
  });
  k.If(i % 4 == 0, [&] {
    const Out<F16> sums = extras.At(row + chunk / 2, 8).As<F16>().At(chunk % 2);
    sums.Store(0, high);
    sums.Store(2, ToF16(sum - ToF32(high)));
  });
}

PieceFragments::PieceFragments(const In<U8>& piece, const Val<U32>& lane)
    : chunks_(LoadChunks(piece.At(lane, 16).As<U32>(), std::make_index_sequence<8>())),
      sums_(ExtraSums(piece.At(kPieceExtras), lane)),
      units_(ExtraUnits(piece.At(kPieceExtras), lane)) {}

Vec<U32, 2> PieceFragments::Step(uint32_t step) const {
  const Vec<U32, 4>& chunk = chunks_[step / 2];
  return Vec<U32, 2>({chunk[step % 2 * 2], chunk[step % 2 * 2 + 1]});
}

}  // namespace ptxsmith

#include "ptx_templates/tiles/activation_image.h"

#include "codegen/warp.h"

namespace ptxsmith {
namespace {

// Adding 1.5 * 2^23 leaves the nearest integer, in two's complement, in the low bits.
constexpr float kRound = 12582912.0f;

// Bytes 0 and 2 of two words.
Val<U32> EvenBytes(const Val<U32>& a, const Val<U32>& b) { return Permute(a, b, 0x6420); }

}  // namespace

void StoreImage(KernelBuilder& k, const InOut<U8>& image, const Val<U32>& lane,
                const Vec<F32, 8>& x, uint32_t terms) {
  // 16 columns are two lanes, 32 are four.
  const Val<F32> own = Sum(x);
  const Val<F32> sum16 = own + ShuffleXor(own, 1);
  const Val<F32> sum32 = sum16 + ShuffleXor(sum16, 2);
  const Vec<F32, 8> sizes = MakeVec<8>([&](size_t i) { return Abs(x[i]); });
  const Val<F32> own_max = Max(Max(Max(sizes[0], sizes[1]), Max(sizes[2], sizes[3])),
                               Max(Max(sizes[4], sizes[5]), Max(sizes[6], sizes[7])));
  const Val<F32> pair_max = Max(own_max, ShuffleXor(own_max, 1));
  // Away from zero, so that the quotient is finite; below it everything rounds to zero.
  const Val<F32> max = Max(Max(pair_max, ShuffleXor(pair_max, 2)), 1e-30f);
  const float largest = terms == 2 ? 127.0f * 128 : 127.0f;
  const Val<F32> inverse = Constant<F32>(max, largest) / max;

  // The nearest integers, two in a word.
  const auto rounded = [&](size_t i) { return Bitcast<U32>(Fma(x[i], inverse, kRound)); };
  const Vec<U32, 4> pairs =
      MakeVec<4>([&](size_t i) { return Permute(rounded(2 * i), rounded(2 * i + 1), 0x5410); });
  const Val<U32> quarter = lane / 8;
  const InOut<U32> columns = image.At(quarter, kImageQuarter).At(lane % 8, 8).As<U32>();
  if (terms == 1) {
    columns.Store<2>(
        0, MakeVec<2>([&](size_t i) { return EvenBytes(pairs[2 * i], pairs[2 * i + 1]); }));
  } else {
    columns.Store<2>(0, MakeVec<2>([&](size_t i) {
                       return EvenBytes(pairs[2 * i] >> 7, pairs[2 * i + 1] >> 7);
                     }));
    columns.Store<2>(kImageSecondTerm / 4, MakeVec<2>([&](size_t i) {
                       return EvenBytes(pairs[2 * i], pairs[2 * i + 1]) & 0x7f7f7f7f;
                     }));
  }
  const InOut<F32> scales = image.At(kImageScales).At(quarter, kImageScaleStride).As<F32>();
  const Val<U32> half = (lane / 4) % 2;
  k.If(lane % 4 == 0, [&] {
    scales.Store(half, max * (1.0f / largest));
    scales.At(2).Store(half, sum32);
  });
  k.If(lane % 2 == 0, [&] { scales.At(4).Store((lane / 2) % 4, sum16); });
}

}  // namespace ptxsmith

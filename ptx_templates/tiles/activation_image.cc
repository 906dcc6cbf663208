#include "ptx_templates/tiles/activation_image.h"

#include "codegen/warp.h"

namespace ptxsmith {
namespace {

// Adding 1.5 * 2^23 leaves the nearest integer, in two's complement, in the low bits.
constexpr float kRound = 12582912.0f;

// The low bytes of four words, lowest first.
Val<U32> PackBytes(const Val<U32>& a, const Val<U32>& b, const Val<U32>& c, const Val<U32>& d) {
  return Permute(Permute(a, b, 0x0040), Permute(c, d, 0x0040), 0x5410);
}

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
  const Val<F32> inverse = Constant<F32>(max, 127.0f) / max;

  const Vec<F32, 8> scaled = MakeVec<8>([&](size_t i) { return x[i] * inverse; });
  const Vec<F32, 8> high = MakeVec<8>([&](size_t i) { return scaled[i] + kRound; });
  const auto bytes = [](const Vec<F32, 8>& rounded, size_t from) {
    return PackBytes(Bitcast<U32>(rounded[from]), Bitcast<U32>(rounded[from + 1]),
                     Bitcast<U32>(rounded[from + 2]), Bitcast<U32>(rounded[from + 3]));
  };
  const Val<U32> quarter = lane / 8;
  const InOut<U8> columns = image.At(quarter, kImageQuarter).At(lane % 8, 8);
  columns.As<U32>().Store<2>(0, Vec<U32, 2>({bytes(high, 0), bytes(high, 4)}));
  if (terms == 2) {
    const Vec<F32, 8> low =
        MakeVec<8>([&](size_t i) { return Fma(scaled[i] - (high[i] - kRound), 128.0f, kRound); });
    columns.At(kImageSecondTerm).As<U32>().Store<2>(0, Vec<U32, 2>({bytes(low, 0), bytes(low, 4)}));
  }
  const InOut<F32> scales = image.At(kImageScales).At(quarter, kImageScaleStride).As<F32>();
  const Val<U32> half = (lane / 4) % 2;
  k.If(lane % 4 == 0, [&] {
    scales.Store(half, max * (terms == 2 ? 1.0f / 16256 : 1.0f / 127));
    scales.At(2).Store(half, sum32);
  });
  k.If(lane % 2 == 0, [&] { scales.At(4).Store((lane / 2) % 4, sum16); });
}

}  // namespace ptxsmith

#include "ptx_templates/tiles/tile_dot.h"

#include <array>
#include <optional>
#include <vector>

#include "codegen/warp.h"
#include "ptx_templates/tiles/activation_image.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kHighNibbles = 0xf0f0f0f0;

// A sum of integer dot products, as an expression without a first zero.
class IntSum {
 public:
  void Add(const Val<U32>& weights, const Val<U32>& x) {
    sum_.emplace(sum_ ? Dp4aUnsigned(weights, x, *sum_)
                      : Dp4aUnsigned(weights, x, Constant<S32>(x, 0)));
  }
  void AddSigned(const Val<U32>& weights, const Val<U32>& x) {
    sum_.emplace(sum_ ? Dp4a(weights, x, *sum_) : Dp4a(weights, x, Constant<S32>(x, 0)));
  }
  const Val<S32>& value() const { return *sum_; }

 private:
  std::optional<Val<S32>> sum_;
};

// Two bytes of a word, from byte `first` on, as floats divided by 2^24: as halves they are
// subnormal, and exact.
Vec<F32, 2> SmallBytes(const Val<U32>& word, uint32_t first) {
  return UnpackHalf2(Permute(word, 0, first == 0 ? 0x4140 : 0x4342));
}

// The products of the lane's two blocks of 32 columns with rows g and, times 16, g + 8.
struct BlockDots {
  Val<S32> low, high16;
};

// From nibbles: the sum over whole bytes minus that over their high halves is the one of the low
// halves.
BlockDots DotNibbles(const std::vector<Val<U32>>& q, const LaneImage& image, uint32_t block) {
  std::array<std::optional<Val<S32>>, 2> all;
  std::array<std::optional<Val<S32>>, 2> upper;
  for (uint32_t term = 0; term < image.terms(); ++term) {
    IntSum whole;
    IntSum high;
    for (uint32_t c = 2 * block; c < 2 * block + 2; ++c) {
      const Vec<U32, 4> x = image.Columns(c, term);
      for (uint32_t i = 0; i < 4; ++i) {
        whole.Add(q[4 * c + i], x[i]);
        high.Add(q[4 * c + i] & kHighNibbles, x[i]);
      }
    }
    all[term].emplace(whole.value());
    upper[term].emplace(high.value());
  }
  const Val<S32> high16 = image.Join([&](uint32_t term) { return *upper[term]; });
  return {image.Join([&](uint32_t term) { return *all[term]; }) - high16, high16};
}

// With fifth bits the two rows' values are put together first.
BlockDots DotFive(const std::vector<Val<U32>>& q, const std::vector<Val<U32>>& fifth,
                  const LaneImage& image, uint32_t block) {
  std::array<IntSum, 2> low;
  std::array<IntSum, 2> high;
  for (uint32_t c = 2 * block; c < 2 * block + 2; ++c) {
    for (uint32_t term = 0; term < image.terms(); ++term) {
      const Vec<U32, 4> x = image.Columns(c, term);
      for (uint32_t i = 0; i < 4; ++i) {
        const Val<U32>& word = q[4 * c + i];
        low[term].Add((word & 0x0f0f0f0f) | ((fifth[c] << (4 - i)) & 0x10101010), x[i]);
        high[term].Add(((word >> 4) & 0x0f0f0f0f) | ((fifth[c] >> i) & 0x10101010), x[i]);
      }
    }
  }
  return {image.Join([&](uint32_t term) { return low[term].value(); }),
          image.Join([&](uint32_t term) { return high[term].value(); }) * 16};
}

// q4_k and q5_k. Header, of 256 bytes:
//   byte 4 lane + b        low four bits of the scale (low half) and the minimum (high half) of row
//                          g + 8 (b / 2), block 2 t + b % 2
//   u16 at 128 + 2 lane    nibble b: their high two bits, scale lowest
//   four f16 at 192 + 8 g  d and -dmin of row g, then of row g + 8
RowPair DotScalesAndMinimums(const TileFormat& format, const InOut<U8>& tile,
                             const LaneImage& image, const Val<U32>& lane,
                             absl::FunctionRef<void()> loaded) {
  const std::vector<Val<U32>> q = LoadPlane(tile, lane, 4);
  const bool five = format.plane == TilePlane::kFifth;
  const std::vector<Val<U32>> fifth =
      five ? LoadPlane(tile.At(2048), lane, 1) : std::vector<Val<U32>>();
  const InOut<U8> header = tile.At(format.header_at);
  const Val<U32> low = header.As<U32>().Load(lane);
  const Val<U32> high = header.At(128).As<U16>().Load(lane);
  const Vec<U32, 2> factors = header.At(192).At(lane / 4, 8).As<U32>().Load<2>(0);
  loaded();

  const Vec<F32, 4> scales_sums = image.ScalesAndSums();
  const Val<U32> pairs = Permute(high, 0, 0x1100);
  const Val<U32> top = ((pairs << 4) & 0x00ff00ff) | (pairs & 0xff00ff00);
  const Val<U32> scales = (low & 0x0f0f0f0f) | (top & 0x30303030);
  const Val<U32> minimums = ((low >> 4) & 0x0f0f0f0f) | ((top >> 2) & 0x30303030);

  const auto dot = [&](uint32_t block) {
    return five ? DotFive(q, fifth, image, block) : DotNibbles(q, image, block);
  };
  const BlockDots first = dot(0);
  const BlockDots second = dot(1);
  const auto row = [&](uint32_t r, const Val<S32>& a, const Val<S32>& b, float unit) {
    const Vec<F32, 2> sc = SmallBytes(scales, 2 * r);
    const Vec<F32, 2> mn = SmallBytes(minimums, 2 * r);
    const Vec<F32, 2> d_dmin = UnpackHalf2(factors[r]);
    const Val<F32> products =
        Fma(sc[0] * scales_sums[0], ToF32(a), sc[1] * scales_sums[1] * ToF32(b));
    const Val<F32> offsets = Fma(mn[0], scales_sums[2], mn[1] * scales_sums[3]);
    const Val<F32> d = unit == 1.0f ? d_dmin[0] : d_dmin[0] * unit;
    return Fma(d, products, d_dmin[1] * offsets);
  };
  return {row(0, first.low, second.low, 1.0f), row(1, first.high16, second.high16, 1.0f / 16)};
}

// q6_k. Header: 8 s8 a lane, the scales of the lane's four blocks of 16 columns in row g, then in
// row g + 8; at 256 + 4 g f16 d of row g and of row g + 8.
RowPair DotSignedScales(const TileFormat& format, const InOut<U8>& tile, const LaneImage& image,
                        const Val<U32>& lane, absl::FunctionRef<void()> loaded) {
  const std::vector<Val<U32>> q = LoadPlane(tile, lane, 4);
  const std::vector<Val<U32>> pairs = LoadPlane(tile.At(2048), lane, 2);
  const InOut<U8> header = tile.At(format.header_at);
  const Vec<U32, 2> scales = header.At(lane, 8).As<U32>().Load<2>(0);
  const Val<U32> factors = header.At(256).As<U32>().Load(lane / 4);
  loaded();

  const Vec<F32, 2> d8 = image.Scales();
  const Vec<F32, 4> sums = image.SumsOf16();
  // Scale + 128 is a byte; 128 is taken off after the conversion.
  const Vec<U32, 2> biased = MakeVec<2>([&](size_t r) { return scales[r] ^ 0x80808080; });
  std::optional<RowPair> total;
  for (uint32_t b = 0; b < 4; ++b) {
    std::array<std::optional<Val<S32>>, 2> low;     // row g
    std::array<std::optional<Val<S32>>, 2> high16;  // 16 times row g + 8
    for (uint32_t term = 0; term < image.terms(); ++term) {
      const Vec<U32, 4> x = image.Columns(b, term);
      IntSum whole, high, p0, p1, p2, p3;
      for (uint32_t i = 0; i < 4; ++i) {
        whole.Add(q[4 * b + i], x[i]);
        high.Add(q[4 * b + i] & kHighNibbles, x[i]);
      }
      for (uint32_t i = 0; i < 2; ++i) {
        const Val<U32>& pair = pairs[2 * b + i];
        p0.Add(pair & 0x03030303, x[2 * i]);
        p1.Add(pair & 0x0c0c0c0c, x[2 * i]);
        p2.Add(pair & 0x30303030, x[2 * i + 1]);
        p3.Add(pair & 0xc0c0c0c0, x[2 * i + 1]);
      }
      low[term].emplace(whole.value() - high.value() + p0.value() * 16 + p2.value());
      high16[term].emplace(high.value() + p1.value() * 64 + p3.value() * 4);
    }
    const Val<F32> minus = sums[b] * -32.0f;
    const auto row = [&](uint32_t r, const Val<S32>& dot, const Val<F32>& unit) {
      const Vec<F32, 2> two = SmallBytes(biased[r], b < 2 ? 0 : 2);
      const Val<F32> scale = two[b % 2] - 128.0f / 16777216.0f;
      return scale * Fma(unit, ToF32(dot), minus);
    };
    const Val<F32>& d = d8[b / 2];
    const Val<F32> r0 = row(0, image.Join([&](uint32_t t) { return *low[t]; }), d);
    const Val<F32> r1 = row(1, image.Join([&](uint32_t t) { return *high16[t]; }), d * (1.0f / 16));
    total.emplace(total ? RowPair{total->low + r0, total->high + r1} : RowPair{r0, r1});
  }
  const Vec<F32, 2> d = UnpackHalf2(factors);
  return {total->low * d[0], total->high * d[1]};
}

// q4_0 and q8_0. Header: four f16 a lane, d of the lane's two blocks of 32 columns in row g, then
// in row g + 8.
RowPair DotHalves(const TileFormat& format, const InOut<U8>& tile, const LaneImage& image,
                  const Val<U32>& lane, absl::FunctionRef<void()> loaded) {
  const bool bytes = format.plane == TilePlane::kBytes;
  const std::vector<Val<U32>> q = LoadPlane(tile, lane, bytes ? 8 : 4);
  const Vec<U32, 2> factors = tile.At(format.header_at).At(lane, 8).As<U32>().Load<2>(0);
  loaded();

  const Vec<F32, 4> scales_sums = image.ScalesAndSums();
  const auto dot = [&](uint32_t block) -> BlockDots {
    if (!bytes) return DotNibbles(q, image, block);
    std::array<IntSum, 2> low, high;
    for (uint32_t term = 0; term < image.terms(); ++term) {
      for (uint32_t c = 2 * block; c < 2 * block + 2; ++c) {
        const Vec<U32, 4> x = image.Columns(c, term);
        for (uint32_t i = 0; i < 4; ++i) {
          low[term].AddSigned(q[4 * c + i], x[i]);
          high[term].AddSigned(q[16 + 4 * c + i], x[i]);
        }
      }
    }
    return {image.Join([&](uint32_t term) { return low[term].value(); }),
            image.Join([&](uint32_t term) { return high[term].value(); })};
  };
  const BlockDots first = dot(0);
  const BlockDots second = dot(1);
  const auto row = [&](uint32_t r, const Val<S32>& a, const Val<S32>& b) {
    const Vec<F32, 2> d = UnpackHalf2(factors[r]);
    const auto block = [&](uint32_t i, const Val<S32>& sum) -> Val<F32> {
      const Val<F32>& d8 = scales_sums[i];
      if (bytes) return ToF32(sum) * d8;
      const Val<F32> unit = r == 0 ? d8 : d8 * (1.0f / 16);
      return Fma(unit, ToF32(sum), scales_sums[2 + i] * -8.0f);
    };
    return Fma(d[0], block(0, a), d[1] * block(1, b));
  };
  return {row(0, first.low, second.low), row(1, first.high16, second.high16)};
}

}  // namespace

std::vector<Val<U32>> LoadPlane(const InOut<U8>& plane, const Val<U32>& lane, uint32_t blocks) {
  std::vector<Val<U32>> words;
  for (uint32_t b = 0; b < blocks; ++b) {
    for (const Val<U32>& word : plane.At(512 * b).At(lane, 16).As<U32>().Load<4>(0)) {
      words.push_back(word);
    }
  }
  return words;
}

LaneImage::LaneImage(const InOut<U8>& images, const Val<U32>& lane, uint32_t terms)
    : columns_(images.At(lane % 4, kImageQuarter)),
      scales_(images.At(kImageScales).At(lane % 4, kImageScaleStride).As<F32>()),
      terms_(terms) {}

LaneImage LaneImage::At(const Val<U32>& i) const {
  return {columns_.At(i, kImageBytes), scales_.At(i, kImageBytes), terms_};
}

Vec<U32, 4> LaneImage::Columns(uint32_t c, uint32_t term) const {
  return columns_.At(term * kImageSecondTerm + 16 * c).As<U32>().Load<4>(0);
}

Val<S32> LaneImage::Join(absl::FunctionRef<Val<S32>(uint32_t term)> of_term) const {
  const Val<S32> first = of_term(0);
  return terms_ == 1 ? first : first * 128 + of_term(1);
}

RowPair DotTile(const TileFormat& format, const InOut<U8>& tile, const LaneImage& image,
                const Val<U32>& lane, absl::FunctionRef<void()> loaded) {
  switch (format.header) {
    case TileHeader::kScalesAndMinimums:
      return DotScalesAndMinimums(format, tile, image, lane, loaded);
    case TileHeader::kSignedScales:
      return DotSignedScales(format, tile, image, lane, loaded);
    default:
      return DotHalves(format, tile, image, lane, loaded);
  }
}

Val<F32> JoinLanes(const TileFormat& format, const RowPair& share, const Val<U32>& lane) {
  // Odd lanes keep row g + 8 and give row g away, even lanes the other way round.
  const Pred odd = lane % 2 == 1;
  const Val<F32> kept = Select<F32>(odd, share.high, share.low);
  const Val<F32> given = Select<F32>(odd, share.low, share.high);
  const Val<F32> pair = kept + ShuffleXor(given, 1);
  const Val<F32> sum = pair + ShuffleXor(pair, 2);
  return format.scale == 1.0f ? sum : sum * format.scale;
}

}  // namespace ptxsmith

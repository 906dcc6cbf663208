#include "ptx_templates/tiles/tile_mma.h"

#include <utility>

#include "codegen/warp.h"
#include "codegen/wgmma.h"
#include "ptx_templates/decoders/words.h"
#include "ptx_templates/tiles/tile_dot.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kChunks = 8;  // of 32 columns, two steps of 16 each
constexpr float kTwo24 = 16777216.0f;
constexpr uint32_t kSwizzledRowBytes = 128;

// Pairs of f16. Bits below 1024 under kMagic make 1024 and the bits.
constexpr uint32_t kMagic = 0x64006400;
constexpr uint32_t Minus1024And(uint32_t more) { return (0xe400 + more) * 0x10001; }

Val<U32> Shift(const Val<U32>& word, int left) { return left >= 0 ? word << left : word >> -left; }

// Byte `i` of a word in both halves of a pair, 1024 more than it is.
Val<U32> MagicByte(const Val<U32>& word, uint32_t i) {
  return Permute(word, 0x64646464, 0x4040 + i * 0x0101);
}

// The planes of a tile as A fragments, before scales.
class Planes {
 public:
  Planes(const TileFormat& format, const InOut<U8>& tile, const Val<U32>& lane)
      : plane_(format.plane),
        words_(LoadPlane(tile, lane, plane_ == TilePlane::kBytes ? 8 : 4)),
        high_(LoadPlane(tile.At(2048), lane,
                        plane_ == TilePlane::kFifth   ? 1
                        : plane_ == TilePlane::kPairs ? 2
                                                      : 0)) {}

  // Register r of a step. The integers q of row g, or 16 q of row g + 8, times 2^-24.
  Val<U32> Small(uint32_t step, uint32_t r) const {
    const Val<U32> nibbles = Nibbles(step, r);
    if (plane_ != TilePlane::kFifth) return nibbles;
    const uint32_t chunk = step / 2;
    const int bit = static_cast<int>(chunk % 2 * 8 + step % 2 * 4 + r);
    return nibbles | High(chunk / 2, bit, r, 0x00010001);
  }

  // The same minus `zero`, as ordinary numbers; of kBytes q + 128 and 128.
  Val<U32> Signed(uint32_t step, uint32_t r, uint32_t zero) const {
    if (plane_ == TilePlane::kBytes) {
      const Val<U32>& word = words_[step + r % 2 * 16];
      return AddHalf2(Permute(word, 0x64646464, r < 2 ? 0x4240 : 0x4341), Minus1024And(zero));
    }
    const uint32_t unit = r % 2 == 0 ? 1 : 16;
    const Val<U32> nibbles = Nibbles(step, r) | kMagic;
    const Val<U32> bits =
        plane_ == TilePlane::kPairs
            ? nibbles | High(step / 2, static_cast<int>(step % 2 * 8 + 2 * r), r, 0x00030003)
            : nibbles;
    return AddHalf2(bits, Minus1024And(zero * unit));
  }

 private:
  Val<U32> Nibbles(uint32_t step, uint32_t r) const {
    const Val<U32>& word = words_[step];
    return (r < 2 ? word : word >> 8) & (r % 2 == 0 ? 0x000f000f : 0x00f000f0);
  }
  // The bits of `mask` at `bit` in word `index`, above the nibbles.
  Val<U32> High(uint32_t index, int bit, uint32_t r, uint32_t mask) const {
    const int to = r % 2 == 0 ? 4 : 8;
    return Shift(high_[index], to - bit) & (mask << to);
  }

  TilePlane plane_;
  std::vector<Val<U32>> words_, high_;
};

// Of rows g and g + 8.
template <class T>
struct Rows {
  T low, high;
  const T& operator[](uint32_t r) const { return r % 2 == 0 ? low : high; }
};

std::vector<Vec<F32, 4>> Results(const TileSums& sums,
                                 absl::FunctionRef<Val<F32>(uint32_t piece, uint32_t element)> of) {
  std::vector<Vec<F32, 4>> results;
  for (uint32_t i = 0; i < sums.pieces(); ++i) {
    const Vec<F32, 2> units = sums.Units(i);
    results.push_back(
        MakeVec<4>([&](size_t e) { return of(i, static_cast<uint32_t>(e)) * units[e % 2]; }));
  }
  return results;
}

// q4_k and q5_k.
std::vector<Vec<F32, 4>> ScalesAndMinimums(KernelBuilder& k, const TileFormat& format,
                                           const InOut<U8>& tile, TileSums& sums,
                                           const Val<U32>& lane, absl::FunctionRef<void()> loaded) {
  const Planes planes(format, tile, lane);
  const InOut<U8> header = tile.At(format.header_at).At(lane / 4, 16);
  const Rows<Vec<U32, 4>> headers{header.As<U32>().Load<4>(0), header.At(128).As<U32>().Load<4>(0)};
  loaded();

  const Pred no(&k.recorder(), Recorder::Int(0));
  const auto scales = [&](const Vec<U32, 4>& row, const Pred& upper_half) {
    return UnpackKScales(row[1], row[2], row[3], upper_half);
  };
  const Rows<std::array<KScales, 2>> unpacked{
      {scales(headers.low, no), scales(headers.low, k.True())},
      {scales(headers.high, no), scales(headers.high, k.True())}};

  // Minimums of blocks 2 t and 2 t + 1; their sums are in two parts, both times the same.
  const Val<U32> t = lane % 4;
  const Val<U32> selector = Select<U32>(t % 2 == 0, 0x4140, 0x4342);
  const auto minimums = [&](uint32_t r) {
    return Permute(Select<U32>(t < 2, unpacked[r][0].minimums, unpacked[r][1].minimums), 0,
                   selector);
  };
  const Val<U32> m_low = minimums(0);
  const Val<U32> m_high = minimums(1);

  for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
    const auto scale = [&](uint32_t r) {
      return AddHalf2(MagicByte(unpacked[r][chunk / 4].scales, chunk % 4), Minus1024And(0));
    };
    const Rows<Val<U32>> pair{scale(0), scale(1)};
    sums.AddChunk(chunk, chunk == 0, [&](uint32_t step) {
      return MakeVec<4>([&](uint32_t r) { return MulHalf2(planes.Small(step, r), pair[r]); });
    });
  }
  std::deque<MmaTile> offsets;
  for (uint32_t i = 0; i < sums.pieces(); ++i) {
    offsets.emplace_back(k).MultiplyAdd16(Vec<U32, 4>({m_low, m_high, m_low, m_high}),
                                          sums.BlockSums(i));
  }
  sums.Finish();
  const Vec<F32, 2> low = UnpackHalf2(headers.low[0]);
  const Vec<F32, 2> high = UnpackHalf2(headers.high[0]);
  const Rows<Val<F32>> d{low[0] * kTwo24, high[0] * (kTwo24 / 16)};
  const Rows<Val<F32>> minus{low[1] * (-kTwo24 * kPieceSumScale),
                             high[1] * (-kTwo24 * kPieceSumScale)};
  return Results(sums, [&](uint32_t i, uint32_t e) {
    return Fma(minus[e / 2], offsets[i].Element(e), d[e / 2] * sums.Sum(i, e));
  });
}

// q6_k.
std::vector<Vec<F32, 4>> SignedScales(KernelBuilder&, const TileFormat& format,
                                      const InOut<U8>& tile, TileSums& sums, const Val<U32>& lane,
                                      absl::FunctionRef<void()> loaded) {
  const Planes planes(format, tile, lane);
  const InOut<U8> header = tile.At(format.header_at);
  // A lane's eight columns of a chunk lie in one block of 16, the chunk's first or second.
  const InOut<U32> scales = header.At(lane / 4, 16).At(lane % 4 / 2, 8).As<U32>();
  const Rows<Vec<U32, 2>> words{scales.Load<2>(0), scales.Load<2>(32)};
  const InOut<F16> factors = header.At(256).As<F16>().At(lane / 4);
  const Rows<Val<F32>> d{ToF32(factors.Load(0)), ToF32(factors.Load(8))};
  loaded();

  for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
    // Scale + 128, then itself; that of row g + 8 divided by 16, as its nibbles are 16 q.
    const auto biased = [&](uint32_t r) {
      return MagicByte(words[r][chunk / 4] ^ 0x80808080, chunk % 4);
    };
    const Rows<Val<U32>> scale{AddHalf2(biased(0), Minus1024And(128)),
                               FmaHalf2(biased(1), 0x2c002c00, 0xd480d480)};
    sums.AddChunk(chunk, chunk == 0, [&](uint32_t step) {
      return MakeVec<4>([&](uint32_t r) { return MulHalf2(planes.Signed(step, r, 32), scale[r]); });
    });
  }
  sums.Finish();
  return Results(sums, [&](uint32_t i, uint32_t e) { return sums.Sum(i, e) * d[e / 2]; });
}

// q4_0 and q8_0.
std::vector<Vec<F32, 4>> Halves(KernelBuilder& k, const TileFormat& format, const InOut<U8>& tile,
                                TileSums& sums, const Val<U32>& lane,
                                absl::FunctionRef<void()> loaded) {
  const bool bytes = format.plane == TilePlane::kBytes;
  const Planes planes(format, tile, lane);
  const InOut<U32> header = tile.At(format.header_at).At(lane / 4, 16).As<U32>();
  const Rows<Vec<U32, 4>> factors{header.Load<4>(0), header.Load<4>(32)};

  std::deque<Var<F32>> totals;
  for (uint32_t i = 0; i < 4 * sums.pieces(); ++i) totals.emplace_back(&k.recorder(), 0.0f);
  for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
    sums.AddChunk(chunk, /*fresh=*/true, [&](uint32_t step) {
      return MakeVec<4>([&](uint32_t r) { return planes.Signed(step, r, bytes ? 128 : 8); });
    });
    sums.Finish();
    const Val<F32> high = UnpackHalf2(factors.high[chunk / 2])[chunk % 2];
    const Rows<Val<F32>> d{UnpackHalf2(factors.low[chunk / 2])[chunk % 2],
                           bytes ? high : high * (1.0f / 16)};
    for (uint32_t i = 0; i < totals.size(); ++i) {
      totals[i].Fma(d[i % 4 / 2], sums.Sum(i / 4, i % 4));
    }
  }
  loaded();  // only here: registers do not hold the tile beside two sets of sums
  return Results(sums, [&](uint32_t i, uint32_t e) -> Val<F32> { return totals[4 * i + e]; });
}

void Clear(std::deque<MmaTile>& sums) {
  for (MmaTile& sum : sums) {
    for (size_t e = 0; e < 4; ++e) sum.SetElement(e, 0.0f);
  }
}

class WarpSums : public RowSums {
 public:
  WarpSums(KernelBuilder& k, uint32_t pieces, const Val<U32>& lane) : RowSums(k, pieces, lane) {
    for (uint32_t i = 0; i < pieces; ++i) sums_.emplace_back(k);
  }
  void AddChunk(uint32_t chunk, bool fresh,
                absl::FunctionRef<Vec<U32, 4>(uint32_t step)> a) override {
    if (fresh) Clear(sums_);
    // A lane's piece of 16 bytes is one of a row's eight; these are four of them, two steps.
    const Val<U32> place = (lane() / 8 + chunk % 2 * 4) ^ lane() % 8;
    std::vector<Vec<U32, 4>> b;
    for (uint32_t i = 0; i < pieces(); ++i) {
      const InOut<F16> row = Rows(chunk / 2).At(i * 512).At(lane() % 8, kSwizzledRowBytes);
      b.push_back(LoadMatrices(row.At(place, 16), /*transposed=*/false));
    }
    for (uint32_t s = 0; s < 2; ++s) {
      const Vec<U32, 4> weights = a(2 * chunk + s);
      for (uint32_t i = 0; i < pieces(); ++i) {
        sums_[i].MultiplyAdd16(weights, Vec<U32, 2>({b[i][2 * s], b[i][2 * s + 1]}));
      }
    }
  }
  Val<F32> Sum(uint32_t piece, uint32_t element) const override {
    return sums_[piece].Element(element);
  }

 private:
  std::deque<MmaTile> sums_;
};

class GroupSums : public RowSums {
 public:
  GroupSums(KernelBuilder& k, uint32_t pieces, const Val<U32>& lane)
      : RowSums(k, pieces, lane), tile_(k, pieces * kPieceTokens) {}

  void AddChunk(uint32_t chunk, bool fresh,
                absl::FunctionRef<Vec<U32, 4>(uint32_t step)> a) override {
    // Registers hold the fragments of two chunks. Two or four chunks at a time take longer.
    if (under_way_ == 2) {
      WgmmaWait(builder(), 1);
      under_way_ = 1;
    }
    const Vec<U32, 4> first = a(2 * chunk), second = a(2 * chunk + 1);
    const SwizzledRows rows(Rows(chunk / 2));
    WgmmaFence(builder());
    tile_.MultiplyAdd16(first, rows, chunk % 2 * 2, fresh ? !builder().True() : builder().True());
    tile_.MultiplyAdd16(second, rows, chunk % 2 * 2 + 1, builder().True());
    WgmmaCommit(builder());
    ++under_way_;
  }
  void Finish() override {
    WgmmaWait(builder(), 0);
    under_way_ = 0;
  }
  Val<F32> Sum(uint32_t piece, uint32_t element) const override {
    return tile_.Element(4 * piece + element);
  }

 private:
  WgmmaTile tile_;
  uint32_t under_way_ = 0;  // chunks
};

}  // namespace

FragmentSums::FragmentSums(KernelBuilder& k, const std::vector<PieceFragments>& x)
    : TileSums(static_cast<uint32_t>(x.size())), x_(x) {
  for (uint32_t i = 0; i < pieces(); ++i) sums_.emplace_back(k);
}

void FragmentSums::AddChunk(uint32_t chunk, bool fresh,
                            absl::FunctionRef<Vec<U32, 4>(uint32_t step)> a) {
  if (fresh) Clear(sums_);
  for (uint32_t step = 2 * chunk; step < 2 * chunk + 2; ++step) {
    const Vec<U32, 4> weights = a(step);
    for (uint32_t i = 0; i < pieces(); ++i) sums_[i].MultiplyAdd16(weights, x_[i].Step(step));
  }
}

Val<F32> FragmentSums::Sum(uint32_t piece, uint32_t element) const {
  return sums_[piece].Element(element);
}

void RowSums::Begin(const InOut<F16>& x, const InOut<U8>& extras) {
  x_.emplace(x);
  extras_.emplace(extras);
}

InOut<F16> RowSums::Rows(uint32_t j) const {
  return x_->At(j * pieces() * kPieceTokens * SwizzledRows::kColumns);
}

Vec<U32, 2> RowSums::BlockSums(uint32_t piece) const {
  return ExtraSums(extras_->At(piece * kExtraBytes), lane_);
}

Vec<F32, 2> RowSums::Units(uint32_t piece) const {
  return ExtraUnits(extras_->At(piece * kExtraBytes), lane_);
}

std::unique_ptr<RowSums> NewWarpSums(KernelBuilder& k, uint32_t pieces, const Val<U32>& lane) {
  return std::make_unique<WarpSums>(k, pieces, lane);
}

std::unique_ptr<RowSums> NewGroupSums(KernelBuilder& k, uint32_t pieces, const Val<U32>& lane) {
  return std::make_unique<GroupSums>(k, pieces, lane);
}

std::vector<Vec<F32, 4>> MultiplyTile(KernelBuilder& k, const TileFormat& format,
                                      const InOut<U8>& tile, TileSums& sums, const Val<U32>& lane,
                                      absl::FunctionRef<void()> loaded) {
  const auto multiply = format.header == TileHeader::kScalesAndMinimums ? ScalesAndMinimums
                        : format.header == TileHeader::kSignedScales    ? SignedScales
                                                                        : Halves;
  return multiply(k, format, tile, sums, lane, loaded);
}

}  // namespace ptxsmith

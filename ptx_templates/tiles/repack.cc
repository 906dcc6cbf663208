#include "ptx_templates/tiles/repack.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "codegen/kernel_builder.h"
#include "codegen/warp.h"
#include "ptx_templates/decoder.h"
#include "ptx_templates/decoders/words.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kThreads = 256;
constexpr uint32_t kRowWords = kTileColumns / 4;
constexpr uint32_t kLaneWords = 16;  // the lane's 64 columns, four to a word

// Calls body(i) for i below `count`, a multiple of the threads or less than they are.
template <class F>
void ForWords(KernelBuilder& k, const Val<U32>& thread, uint32_t count, F&& body) {
  if (count < kThreads) {
    k.If(thread < count, [&] { body(thread); });
    return;
  }
  for (uint32_t first = 0; first < count; first += kThreads) body(thread + first);
}

// One block at work on its tile in layout kDot.
class DotPacker {
 public:
  DotPacker(KernelBuilder& k, const TileFormat& format, const Shared<U32>& columns,
            const Out<U8>& tile)
      : k_(k), format_(format), columns_(columns), tile_(tile), thread_(k.ThreadX()) {}

  void PackPlanes() {
    if (format_.plane == TilePlane::kBytes) return PackBytes();
    // Word i of a plane of lane words: block, lane, word within 16 bytes.
    ForWords(k_, thread_, 512, [&](const Val<U32>& i) {
      const Val<U32> at = LaneColumns(i) + i / 128 * 4 + i % 4;
      tile_.As<U32>().Store(i, (Row(i, 0, at) & 0x0f0f0f0f) | ((Row(i, 1, at) & 0x0f0f0f0f) << 4));
    });
    if (format_.plane == TilePlane::kFifth) PackFifth();
    if (format_.plane == TilePlane::kPairs) PackPairs();
  }

  // The header, by the first warp; `row_of` gives the source row g or g + 8 of a lane.
  template <class F>
  void PackHeader(F&& row_of) {
    const Out<U8> header = tile_.At(format_.header_at);
    const Val<U32> lane = k_.Lane();
    const In<U8> low = row_of(lane / 4);
    const In<U8> high = row_of(lane / 4 + 8);
    switch (format_.header) {
      case TileHeader::kScalesAndMinimums:
        return PackScalesAndMinimums(header, lane, low, high);
      case TileHeader::kSignedScales:
        return PackSignedScales(header, lane, low, high);
      default:
        return PackHalves(header, lane, low, high);
    }
  }

 private:
  // Of word i of a plane: the first of the lane's words in a row, and a word of row g or g + 8.
  static Val<U32> LaneColumns(const Val<U32>& i) { return i / 4 % 4 * kLaneWords; }
  Val<U32> Row(const Val<U32>& i, uint32_t upper, const Val<U32>& at) {
    return columns_.Load((i / 16 % 8 + 8 * upper) * kRowWords + at);
  }

  void PackBytes() {
    ForWords(k_, thread_, 1024, [&](const Val<U32>& i) {
      const Val<U32> at = LaneColumns(i) + i / 128 % 4 * 4 + i % 4;
      const Val<U32> row = i / 16 % 8 + i / 512 * 8;
      // The decoder's bytes are q + 128.
      tile_.As<U32>().Store(i, columns_.Load(row * kRowWords + at) ^ 0x80808080);
    });
  }

  void PackFifth() {
    ForWords(k_, thread_, 128, [&](const Val<U32>& i) {
      Var<U32> word = k_.NewVar<U32>(0);
      for (uint32_t j = 0; j < 4; ++j) {
        const Val<U32> at = LaneColumns(i) + i % 4 * 4 + j;
        for (uint32_t upper = 0; upper < 2; ++upper) {
          word |= ((Row(i, upper, at) >> 4) & 0x01010101) << (j + 4 * upper);
        }
      }
      tile_.At(2048).As<U32>().Store(i, word);
    });
  }

  void PackPairs() {
    ForWords(k_, thread_, 256, [&](const Val<U32>& i) {
      Var<U32> word = k_.NewVar<U32>(0);
      for (uint32_t part = 0; part < 4; ++part) {
        const Val<U32> at = LaneColumns(i) + (i / 128 * 4 + i % 4) * 2 + part / 2;
        word |= ((Row(i, part % 2, at) >> 4) & 0x03030303) << (2 * part);
      }
      tile_.At(2048).As<U32>().Store(i, word);
    });
  }

  void PackScalesAndMinimums(const Out<U8>& header, const Val<U32>& lane, const In<U8>& low,
                             const In<U8>& high) {
    const Val<U32> t = lane % 4;
    const auto scales = [&](const In<U8>& block) {
      const Vec<U32, 4> words = block.As<U32>().Load<4>(0);
      return UnpackKScales(words[1], words[2], words[3], t >= 2);
    };
    const KScales of_low = scales(low);
    const KScales of_high = scales(high);
    // Blocks 2 t and 2 t + 1 are bytes 2 (t % 2) and the next of the half that was unpacked.
    const Val<U32> selector = Select<U32>(t % 2 == 0, 0x5410, 0x7632);
    const Val<U32> sc = Permute(of_low.scales, of_high.scales, selector);
    const Val<U32> mn = Permute(of_low.minimums, of_high.minimums, selector);
    header.As<U32>().Store(lane, (sc & 0x0f0f0f0f) | ((mn & 0x0f0f0f0f) << 4));
    const Val<U32> top = ((sc >> 4) & 0x03030303) | ((mn >> 2) & 0x0c0c0c0c);
    const Val<U32> pairs = top | (top >> 4);  // nibbles 0 and 1 in byte 0, 2 and 3 in byte 2
    header.At(128).As<U16>().Store(lane, Permute(pairs, 0, 0x4420));
    k_.If(t < 2, [&] {
      const auto d_dmin = [&](const In<U8>& block) { return block.As<U32>().Load(0); };
      const Val<U32> word = Select<U32>(t == 0, d_dmin(low), d_dmin(high));
      header.At(192).At(lane / 4, 8).As<U32>().Store(t, word ^ 0x80000000);  // d and -dmin
    });
  }

  void PackSignedScales(const Out<U8>& header, const Val<U32>& lane, const In<U8>& low,
                        const In<U8>& high) {
    constexpr uint32_t kScales = 192;
    constexpr uint32_t kScale = 208;
    const Val<U32> t = lane % 4;
    const auto scales = [&](const In<U8>& block) {
      return LoadWord(block.At(kScales).As<U16>().At(t * 2));
    };
    const Val<U32> first = scales(low);
    header.At(lane, 8).As<U32>().Store<2>(0, Vec<U32, 2>({first, scales(high)}));
    k_.If(t == 0, [&] {
      const Val<U32> d = low.At(kScale).As<U16>().Load(0);
      header.At(256).As<U32>().Store(lane / 4, d | (high.At(kScale).As<U16>().Load(0) << 16));
    });
    // The rest of the tile is never read into a result, but copied.
    k_.If(lane < (format_.bytes - format_.header_at - 288) / 4,
          [&] { header.At(288).As<U32>().Store(lane, 0); });
  }

  void PackHalves(const Out<U8>& header, const Val<U32>& lane, const In<U8>& low,
                  const In<U8>& high) {
    const uint32_t block_bytes = Info(format_.type).block_bytes;
    const auto factors = [&](const In<U8>& row) {
      const In<U8> blocks = row.At(lane % 4 * 2, block_bytes);
      const Val<U32> first = blocks.As<U16>().Load(0);
      return first | (blocks.At(block_bytes).As<U16>().Load(0) << 16);
    };
    const Val<U32> first = factors(low);
    header.At(lane, 8).As<U32>().Store<2>(0, Vec<U32, 2>({first, factors(high)}));
  }

  KernelBuilder& k_;
  const TileFormat& format_;
  Shared<U32> columns_;
  Out<U8> tile_;
  Val<U32> thread_;
};

// The same in layout kMma.
class MmaPacker {
 public:
  MmaPacker(KernelBuilder& k, const TileFormat& format, const Shared<U32>& columns,
            const Out<U8>& tile)
      : k_(k), format_(format), columns_(columns), tile_(tile), thread_(k.ThreadX()) {}

  void PackPlanes() {
    if (format_.plane == TilePlane::kBytes) {
      ForWords(k_, thread_, 1024, [&](const Val<U32>& i) {
        tile_.As<U32>().Store(i, Columns(i, i / 512, WordOf(i) % 16));
      });
      return;
    }
    ForWords(k_, thread_, 512, [&](const Val<U32>& i) {
      const Val<U32> word = WordOf(i);
      tile_.As<U32>().Store(i, (Columns(i, k_.Const<U32>(0), word) & 0x0f0f0f0f) |
                                   ((Columns(i, k_.Const<U32>(1), word) & 0x0f0f0f0f) << 4));
    });
    if (format_.plane == TilePlane::kFifth) {
      ForWords(k_, thread_, 128, [&](const Val<U32>& i) {
        const Val<U32> chunk = WordOf(i) * 2;
        tile_.At(2048).As<U32>().Store(i, HighBits(i, chunk, 1) | (HighBits(i, chunk + 1, 1) << 8));
      });
    }
    if (format_.plane == TilePlane::kPairs) {
      ForWords(k_, thread_, 256, [&](const Val<U32>& i) {
        tile_.At(2048).As<U32>().Store(i, HighBits(i, WordOf(i), 2));
      });
    }
  }

  // The header, by the first warp: lane r by that of row r.
  template <class F>
  void PackHeader(F&& row_of) {
    const Out<U8> header = tile_.At(format_.header_at);
    const Val<U32> lane = k_.Lane();
    k_.If(lane < kTileRows, [&] {
      const In<U8> row = row_of(lane);
      const Out<U32> own = header.At(lane, 16).As<U32>();
      switch (format_.header) {
        case TileHeader::kScalesAndMinimums:
          return own.Store<4>(0, row.As<U32>().Load<4>(0));
        case TileHeader::kSignedScales:
          return PackSignedScales(own, header.At(256).As<U16>(), row, lane);
        default:
          return own.Store<4>(0, Factors(row));
      }
    });
    if (format_.header != TileHeader::kSignedScales) return;
    k_.If(lane < (format_.bytes - format_.header_at - 288) / 4,
          [&] { header.At(288).As<U32>().Store(lane, 0); });
  }

 private:
  // Of word i of a plane: which of its lane's words it is.
  static Val<U32> WordOf(const Val<U32>& i) { return i / 128 * 4 + i % 4; }
  // Four columns of row g (upper 0) or g + 8 of its lane: those of word w.
  Val<U32> Columns(const Val<U32>& i, const Val<U32>& upper, const Val<U32>& w) {
    const Val<U32> lane = i / 4 % 32;
    return columns_.Load((lane / 4 + upper * 8) * kRowWords + w / 2 * 8 + lane % 4 * 2 + w % 2);
  }
  // The `bits` bits above the lower four, of the eight registers of a chunk.
  Val<U32> HighBits(const Val<U32>& i, const Val<U32>& chunk, uint32_t bits) {
    const uint32_t mask = (1 << bits) - 1;
    Var<U32> word = k_.NewVar<U32>(0);
    for (uint32_t reg = 0; reg < 8; ++reg) {
      const Val<U32> columns = Columns(i, k_.Const<U32>(reg % 2), chunk * 2 + reg / 4);
      const Val<U32> pair = (columns >> (4 + reg % 4 / 2 * 8)) & (mask << 16 | mask);
      word |= pair << (reg * bits);
    }
    return word;
  }

  static void PackSignedScales(const Out<U32>& own, const Out<U16>& factors, const In<U8>& row,
                               const Val<U32>& lane) {
    constexpr uint32_t kScales = 192;
    constexpr uint32_t kScale = 208;
    const auto word = [&](uint32_t i) { return LoadWord(row.At(kScales + 4 * i).As<U16>()); };
    const Val<U32> w0 = word(0), w1 = word(1), w2 = word(2), w3 = word(3);
    own.Store<4>(0, Vec<U32, 4>({Permute(w0, w1, 0x6420), Permute(w2, w3, 0x6420),
                                 Permute(w0, w1, 0x7531), Permute(w2, w3, 0x7531)}));
    factors.Store(lane, row.At(kScale).As<U16>().Load(0));
  }

  Vec<U32, 4> Factors(const In<U8>& row) const {
    const uint32_t block_bytes = Info(format_.type).block_bytes;
    return MakeVec<4>([&](size_t i) -> Val<U32> {
      const In<U8> pair = row.At(static_cast<uint32_t>(2 * i) * block_bytes);
      return pair.As<U16>().Load(0) | (pair.At(block_bytes).As<U16>().Load(0) << 16);
    });
  }

  KernelBuilder& k_;
  const TileFormat& format_;
  Shared<U32> columns_;
  Out<U8> tile_;
  Val<U32> thread_;
};

absl::Status CheckOrder(const RepackSpec& spec) {
  const uint32_t multiple = spec.order == RowOrder::kPairs         ? spec.head_dim
                            : spec.order == RowOrder::kInterleaved ? kTileRows
                                                                   : 1;
  if (spec.n % multiple == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("repack: n=", spec.n, " is not a multiple of ",
                                                 multiple, ", which order=", FieldText(spec.order),
                                                 " needs"));
}

}  // namespace

absl::string_view FieldText(TileLayout layout) {
  return layout == TileLayout::kDot ? "dot" : "mma";
}

absl::Status ParseFieldText(absl::string_view text, TileLayout* layout) {
  for (TileLayout value : {TileLayout::kDot, TileLayout::kMma}) {
    if (text != FieldText(value)) continue;
    *layout = value;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown layout '", text, "'; known: dot, mma"));
}

absl::string_view FieldText(RowOrder order) {
  switch (order) {
    case RowOrder::kPairs:
      return "pairs";
    case RowOrder::kInterleaved:
      return "interleaved";
    default:
      return "plain";
  }
}

absl::Status ParseFieldText(absl::string_view text, RowOrder* order) {
  for (RowOrder value : {RowOrder::kPlain, RowOrder::kPairs, RowOrder::kInterleaved}) {
    if (text != FieldText(value)) continue;
    *order = value;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown order '", text, "'; known: plain, pairs, interleaved"));
}

absl::StatusOr<KernelSpec> BuildRepack(const RepackSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckOrder(spec));
  const TileFormat& format = TileFormatOf(spec.quant);
  const Decoder& decoder = DecoderFor(spec.quant);
  KernelBuilder k(KeyOf(spec, target), RepackSpec::kFamily, target);

  const bool two = spec.order == RowOrder::kInterleaved;
  const uint32_t row_bytes = spec.k / decoder.chunk_weights * decoder.chunk_bytes;
  const uint32_t rows = two ? spec.n / 2 : spec.n;  // of a matrix
  const uint32_t row_tiles = RowTileCount(spec.n);
  const uint32_t blocks = spec.k / kTileColumns;
  const uint64_t tile_bytes = TileBytes(format, spec.k, spec.n);
  const PointerOptions source = {.count = uint64_t{rows} * row_bytes, .constant = true};
  const auto tiles = k.Param<Out<U8>>("tiles", {.count = tile_bytes});
  const auto w = k.Param<In<U8>>("w", source);
  std::optional<In<U8>> w2;
  if (two) w2 = k.Param<In<U8>>("w2", source);
  const Shared<U32> columns = k.SharedArray<U32>("columns", kTileRows * kRowWords);
  k.Launch({.block = {kThreads, 1, 1}, .grid = {blocks, row_tiles, 1}});
  k.Costs({.bytes = tile_bytes + uint64_t{spec.n} * row_bytes, .flops = 0});

  const Val<U32> block = k.CtaX();
  // The source of row `row` of this tile, which starts with the columns of row 0 of w.
  const auto row_at = [&](const Val<U32>& row) -> In<U8> {
    const Val<U32> source_row =
        Min(SourceRow<Val<U32>>(spec.order, spec.head_dim, k.CtaY() * kTileRows + row), rows - 1);
    const In<U8> matrix = two ? Select(row % 16 < 8, w, *w2) : w;
    return matrix.At(source_row, row_bytes);
  };

  const Val<U32> lane = k.Lane();
  for (uint32_t upper = 0; upper < 2; ++upper) {
    const Val<U32> row = k.Warp() + 8 * upper;
    for (const PackedGroup& group : decoder.packed(row_at(row), block, lane)) {
      columns.Store(row * kRowWords + group.first / 4, group.bytes);
    }
  }
  k.Barrier();

  const uint32_t unit_bytes = kTileColumns / decoder.chunk_weights * decoder.chunk_bytes;
  const auto pack = [&](auto packer) {
    packer.PackPlanes();
    k.If(k.Warp() == 0, [&] {
      packer.PackHeader([&](const Val<U32>& row) { return row_at(row).At(block, unit_bytes); });
    });
  };
  const Out<U8> tile = tiles.At(k.CtaY() * blocks + block, format.bytes);
  if (spec.layout == TileLayout::kDot) {
    pack(DotPacker(k, format, columns, tile));
  } else {
    pack(MmaPacker(k, format, columns, tile));
  }
  return std::move(k).Finish();
}

std::vector<RepackSpec> RepackVariants() {
  std::vector<RepackSpec> variants;
  for (const TileFormat& format : AllTileFormats()) {
    variants.push_back({format.type, 256, 16});
    variants.push_back({format.type, 768, 50});
    variants.push_back({format.type, 512, 64, RowOrder::kPairs, 32});
    variants.push_back({format.type, 512, 48, RowOrder::kInterleaved});
    variants.push_back({format.type, 4096, 4096});
    variants.push_back({format.type, 768, 50, RowOrder::kPlain, 2, TileLayout::kMma});
    variants.push_back({format.type, 256, 48, RowOrder::kInterleaved, 2, TileLayout::kMma});
  }
  return variants;
}

}  // namespace ptxsmith

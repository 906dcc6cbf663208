#include "tools/fuzz/reference/tiles.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tools/fuzz/reference/decode.h"
#include "tools/fuzz/reference/float_formats.h"

namespace ptxsmith::reference {
namespace {

constexpr uint32_t kColumns = 256;

// 256 columns of one row as they lie in the file.
class Unit {
 public:
  Unit(QuantType type, const uint8_t* bytes) : type_(type), bytes_(bytes) {}

  // The stored integer of column k.
  uint32_t Quant(uint32_t k) const {
    const uint32_t pair = k / 64;
    const uint32_t in_pair = k % 64;
    const uint32_t upper = in_pair / 32;
    switch (type_) {
      case QuantType::kQ4_0: {
        const uint8_t byte = bytes_[k / 32 * 18 + 2 + k % 16];
        return k % 32 < 16 ? byte & 15 : byte >> 4;
      }
      case QuantType::kQ8_0:
        return bytes_[k / 32 * 34 + 2 + k % 32];
      case QuantType::kQ6K: {
        const uint32_t half = k / 128;
        const uint32_t quarter = k % 128 / 32;
        const uint8_t low = bytes_[half * 64 + k % 32 + quarter % 2 * 32];
        const uint8_t high = bytes_[128 + half * 32 + k % 32];
        return (quarter < 2 ? low & 15 : low >> 4) | ((high >> (2 * quarter)) & 3) << 4;
      }
      default: {
        const bool five = type_ == QuantType::kQ5K;
        const uint8_t byte = bytes_[(five ? 48 : 16) + pair * 32 + in_pair % 32];
        const uint32_t low = upper == 0 ? byte & 15 : byte >> 4;
        if (!five) return low;
        return low | ((bytes_[16 + in_pair % 32] >> (2 * pair + upper)) & 1) << 4;
      }
    }
  }

  // Of q4_k and q5_k, block j of 32 columns.
  uint32_t Scale(uint32_t j) const {
    const uint8_t* s = bytes_ + 4;
    return j < 4 ? s[j] & 63 : (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
  }
  uint32_t Minimum(uint32_t j) const {
    const uint8_t* s = bytes_ + 4;
    return j < 4 ? s[j + 4] & 63 : s[j + 4] >> 4 | (s[j] >> 6) << 4;
  }
  uint8_t Byte(uint32_t at) const { return bytes_[at]; }

 private:
  QuantType type_;
  const uint8_t* bytes_;
};

void PackHeader(QuantType type, const Unit& low, const Unit& high, uint32_t lane, uint8_t* out) {
  const uint32_t t = lane % 4;
  const Unit* const rows[] = {&low, &high};
  if (type == QuantType::kQ4K || type == QuantType::kQ5K) {
    uint32_t top = 0;
    for (uint32_t b = 0; b < 4; ++b) {
      const uint32_t scale = rows[b / 2]->Scale(2 * t + b % 2);
      const uint32_t minimum = rows[b / 2]->Minimum(2 * t + b % 2);
      out[4 * lane + b] = static_cast<uint8_t>((scale & 15) | (minimum & 15) << 4);
      top |= (scale >> 4 | (minimum >> 4) << 2) << (4 * b);
    }
    out[128 + 2 * lane] = static_cast<uint8_t>(top);
    out[129 + 2 * lane] = static_cast<uint8_t>(top >> 8);
    for (uint32_t b = 0; b < 8 && t == 0; ++b) {
      const uint8_t sign = b % 4 == 3 ? 0x80 : 0;  // of dmin
      out[192 + lane / 4 * 8 + b] = static_cast<uint8_t>(rows[b / 4]->Byte(b % 4) ^ sign);
    }
  } else if (type == QuantType::kQ6K) {
    for (uint32_t b = 0; b < 8; ++b) out[8 * lane + b] = rows[b / 4]->Byte(192 + 4 * t + b % 4);
    for (uint32_t b = 0; b < 4 && t == 0; ++b) out[256 + lane + b] = rows[b / 2]->Byte(208 + b % 2);
  } else {
    const uint32_t block = Info(type).block_bytes;
    for (uint32_t b = 0; b < 8; ++b) {
      out[8 * lane + b] = rows[b / 4]->Byte((2 * t + b / 2 % 2) * block + b % 2);
    }
  }
}

// One tile, zeros before.
void Pack(QuantType type, const std::vector<Unit>& rows, uint8_t* tile) {
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const uint32_t first = 64 * (lane % 4);
    const Unit& low = rows[lane / 4];
    const Unit& high = rows[lane / 4 + 8];
    for (uint32_t i = 0; i < 64; ++i) {
      const uint32_t a = low.Quant(first + i);
      const uint32_t b = high.Quant(first + i);
      const uint32_t at = i / 16 * 512 + 16 * lane + i % 16;
      if (type == QuantType::kQ8_0) {
        tile[at] = static_cast<uint8_t>(a);
        tile[2048 + at] = static_cast<uint8_t>(b);
        continue;
      }
      tile[at] = static_cast<uint8_t>((a & 15) | (b & 15) << 4);
      if (type == QuantType::kQ5K) {
        uint8_t& byte = tile[2048 + 16 * lane + i / 16 * 4 + i % 4];
        byte = static_cast<uint8_t>(byte | (a >> 4) << (i / 4 % 4) | (b >> 4) << (i / 4 % 4 + 4));
      }
      if (type == QuantType::kQ6K) {
        const uint32_t word = i / 8;
        uint8_t& byte = tile[2048 + word / 4 * 512 + 16 * lane + word % 4 * 4 + i % 4];
        byte = static_cast<uint8_t>(byte | ((a >> 4) | (b >> 4) << 2) << (4 * (i / 4 % 2)));
      }
    }
    const uint32_t header = type == QuantType::kQ8_0  ? 4096
                            : type == QuantType::kQ6K ? 3072
                            : type == QuantType::kQ5K ? 2560
                                                      : 2048;
    PackHeader(type, low, high, lane, tile + header);
  }
}

// The same in layout kMma.
void PackMma(QuantType type, const std::vector<Unit>& rows, uint8_t* tile) {
  const auto set = [&](uint32_t plane, uint32_t lane, uint32_t word, uint32_t bits) {
    for (uint32_t i = 0; i < 4; ++i) {
      uint8_t& byte = tile[plane + word / 4 * 512 + 16 * lane + word % 4 * 4 + i];
      byte = static_cast<uint8_t>(byte | bits >> (8 * i));
    }
  };
  for (uint32_t lane = 0; lane < 32; ++lane) {
    for (uint32_t column = 0; column < 64; ++column) {  // of the lane's, 8 a chunk
      const uint32_t chunk = column / 8;
      const uint32_t of_four = column % 4;
      const uint32_t word = column / 4;
      for (uint32_t upper = 0; upper < 2; ++upper) {
        const uint32_t q =
            rows[lane / 4 + 8 * upper].Quant(32 * chunk + 8 * (lane % 4) + column % 8);
        if (type == QuantType::kQ8_0) {
          set(2048 * upper, lane, word, (q ^ 0x80) << (8 * of_four));
          continue;
        }
        set(0, lane, word, (q & 15) << (8 * of_four + 4 * upper));
        const uint32_t reg = column % 8 / 4 * 4 + of_four % 2 * 2 + upper;
        const uint32_t second = of_four / 2 * 16;
        if (type == QuantType::kQ5K) {
          set(2048, lane, chunk / 2, (q >> 4) << (8 * (chunk % 2) + reg + second));
        }
        if (type == QuantType::kQ6K) set(2048, lane, chunk, (q >> 4) << (2 * reg + second));
      }
    }
  }
  uint8_t* const header = tile + (type == QuantType::kQ8_0  ? 4096
                                  : type == QuantType::kQ6K ? 3072
                                  : type == QuantType::kQ5K ? 2560
                                                            : 2048);
  for (uint32_t r = 0; r < 16; ++r) {
    for (uint32_t i = 0; i < 16; ++i) {
      uint8_t& byte = header[16 * r + i];
      if (type == QuantType::kQ4K || type == QuantType::kQ5K) {
        byte = rows[r].Byte(i);
      } else if (type == QuantType::kQ6K) {
        byte = rows[r].Byte(192 + i % 8 * 2 + i / 8);
      } else {
        byte = rows[r].Byte(i / 2 * Info(type).block_bytes + i % 2);
      }
    }
    if (type != QuantType::kQ6K) continue;
    for (uint32_t i = 0; i < 2; ++i) header[256 + 2 * r + i] = rows[r].Byte(208 + i);
  }
}

uint32_t TileSize(QuantType type) {
  switch (type) {
    case QuantType::kQ8_0:
      return 4352;
    case QuantType::kQ6K:
      return 3456;
    case QuantType::kQ5K:
      return 2816;
    default:
      return 2304;
  }
}

// `pack` writes one tile of 16 rows.
template <class PackTile>
std::vector<uint8_t> PackTiles(const Matrix& w, uint32_t k, uint32_t rows,
                               const std::function<uint32_t(uint32_t)>& row_of, PackTile pack) {
  const size_t row_bytes = w.bytes.size() / w.rows;
  const uint32_t units = k / kColumns;
  const size_t unit_bytes = row_bytes / units;
  const uint32_t size = TileSize(w.type);
  std::vector<uint8_t> tiles(size_t{(rows + 15) / 16} * units * size);
  for (uint32_t tile = 0; tile < tiles.size() / size; ++tile) {
    std::vector<Unit> parts;
    for (uint32_t r = 0; r < 16; ++r) {
      const uint32_t row = row_of(std::min(tile / units * 16 + r, rows - 1));
      parts.emplace_back(w.type, w.bytes.data() + row * row_bytes + tile % units * unit_bytes);
    }
    pack(w.type, parts, tiles.data() + size_t{tile} * size);
  }
  return tiles;
}

}  // namespace

std::vector<uint8_t> Repack(const Matrix& w, uint32_t k, uint32_t rows,
                            const std::function<uint32_t(uint32_t)>& row_of) {
  return PackTiles(w, k, rows, row_of, Pack);
}

std::vector<uint8_t> RepackMma(const Matrix& w, uint32_t k, uint32_t rows,
                               const std::function<uint32_t(uint32_t)>& row_of) {
  return PackTiles(w, k, rows, row_of, PackMma);
}

Expected ProjectTiles(const Matrix& w, absl::Span<const float> x, uint32_t terms) {
  Expected want = Project(w, x);
  const double steps = terms == 2 ? 2 * 16256 : 2 * 127;
  const size_t row_bytes = w.bytes.size() / w.rows;
  for (size_t r = 0; r < w.rows; ++r) {
    const std::vector<Weight> row = Decode(w.type, w.bytes.subspan(r * row_bytes, row_bytes));
    for (size_t first = 0; first < x.size(); first += 32) {
      double largest = 0;
      double magnitude = 0;
      for (size_t c = first; c < first + 32; ++c) {
        largest = std::max(largest, std::abs(double{x[c]}));
        magnitude += row[c].magnitude;
      }
      // 1 % for the roundings of the scale itself.
      want.bound[r] += 1.01 * magnitude * largest / steps + 1e-30 * magnitude;
    }
  }
  return want;
}

namespace {

constexpr uint32_t kPiece = 4384;
constexpr uint32_t kPieceOrder[] = {0, 2, 1, 3, 4, 6, 5, 7};

// Where things of a token lie: the eight activations that quarter t of a chunk of 32 columns has,
// the chunk's sum, the unit.
struct PiecePlace {
  size_t eight[8], sum, unit;
};
PiecePlace PlaceOf(uint32_t columns, uint32_t token, uint32_t chunk, uint32_t t) {
  const size_t piece = (size_t{chunk / 8} * (columns / 8) + token / 8) * kPiece;
  const size_t block = size_t{chunk / 8} * (columns / 8) * kPiece;
  const size_t row = block + 128 * (size_t{chunk % 8 / 2} * columns + token);
  const bool rows = columns > 8;
  const size_t extras = rows ? block + 512 * size_t{columns} + 288 * (token / 8) : piece + 4096;
  PiecePlace place = {{},
                      extras + 8 * (4 * (token % 8) + chunk % 8 / 2) + 2 * (chunk % 2),
                      extras + 256 + 4 * (token % 8)};
  for (uint32_t i = 0; i < 8; ++i) {
    place.eight[i] = rows ? row + 16 * ((chunk % 2 * 4 + i / 2) ^ token % 8) + 4 * t + 2 * (i % 2)
                          : piece + 512 * (chunk % 8) + 16 * (4 * (token % 8) + t) + 2 * i;
  }
  return place;
}

// The power of two that brings the largest of them to 1024 to 2047.
float UnitOf(absl::Span<const float> block) {
  float largest = 0x1p-100f;
  for (float v : block) largest = std::max(largest, std::abs(v));
  int exponent = 0;
  std::frexp(largest, &exponent);
  return std::ldexp(1.0f, exponent - 11);
}

}  // namespace

std::vector<uint8_t> ColumnImage(absl::Span<const float> x, uint32_t k, uint32_t columns) {
  std::vector<uint8_t> image(size_t{k / kColumns} * (columns / 8) * kPiece);
  const auto put = [&](size_t at, uint16_t half) {
    image[at] = static_cast<uint8_t>(half);
    image[at + 1] = static_cast<uint8_t>(half >> 8);
  };
  for (uint32_t token = 0; token < x.size() / k; ++token) {
    for (uint32_t chunk = 0; chunk < k / 32; ++chunk) {
      const float unit =
          UnitOf(x.subspan(size_t{token} * k + chunk / 8 * size_t{kColumns}, kColumns));
      float quads[4] = {};
      for (uint32_t t = 0; t < 4; ++t) {
        float eight[8];
        for (uint32_t i = 0; i < 8; ++i) {
          const float v = x[size_t{token} * k + 32 * chunk + 8 * t + kPieceOrder[i]];
          const uint16_t half = FloatToHalf(v / unit);
          put(PlaceOf(columns, token, chunk, t).eight[i], half);
          eight[i] = HalfToFloat(half);
        }
        quads[t] = ((eight[0] + eight[1]) + (eight[2] + eight[3])) +
                   ((eight[4] + eight[5]) + (eight[6] + eight[7]));
      }
      const float sum = ((quads[0] + quads[1]) + (quads[2] + quads[3])) / 32;
      const uint16_t high = FloatToHalf(sum);
      const PiecePlace place = PlaceOf(columns, token, chunk, 0);
      put(place.sum, high);
      put(place.sum + 4, FloatToHalf(sum - HalfToFloat(high)));
      std::memcpy(&image[place.unit], &unit, sizeof(unit));
    }
  }
  return image;
}

ImageContents FromColumnImage(absl::Span<const uint8_t> image, uint32_t k, uint32_t columns,
                              uint32_t tokens) {
  const auto half = [&](size_t at) {
    return HalfToFloat(static_cast<uint16_t>(image[at] | image[at + 1] << 8));
  };
  ImageContents result{std::vector<float>(size_t{tokens} * k)};
  float largest = 0;  // of the block so far, in its unit
  for (uint32_t token = 0; token < tokens; ++token) {
    for (uint32_t chunk = 0; chunk < k / 32; ++chunk) {
      if (chunk % 8 == 0) largest = 0;
      const PiecePlace place = PlaceOf(columns, token, chunk, 0);
      float unit = 0;
      std::memcpy(&unit, &image[place.unit], sizeof(unit));
      double sum = 0, magnitudes = 0;
      for (uint32_t i = 0; i < 32; ++i) {
        const float v = half(PlaceOf(columns, token, chunk, i / 8).eight[i % 8]);
        result.x[size_t{token} * k + 32 * chunk + i / 8 * 8 + kPieceOrder[i % 8]] = v * unit;
        sum += v;
        magnitudes += std::abs(v);
        largest = std::max(largest, std::abs(v));
      }
      // Blocks of next to nothing have the least unit.
      const bool fits = largest >= 1024 && largest <= 2048;
      if (chunk % 8 == 7 && !fits && !(largest * unit < 0x1p-99f)) result.units_agree = false;
      const double stored = 32 * (double{half(place.sum)} + half(place.sum + 4));
      if (!(std::abs(stored - sum) <= 0x1p-20 * (magnitudes + 1))) result.sums_agree = false;
    }
  }
  return result;
}

Expected RoundedInImage(const Expected& exact) {
  Expected rounded = exact;
  for (size_t first = 0; first < exact.value.size(); first += kColumns) {
    double largest = 0x1p-100;
    for (size_t i = first; i < first + kColumns; ++i) {
      largest = std::max(largest, std::abs(exact.value[i]) + exact.bound[i]);
    }
    for (size_t i = first; i < first + kColumns; ++i) {
      rounded.bound[i] +=
          0x1p-11 * (std::abs(exact.value[i]) + exact.bound[i]) + 0x1p-35 * largest + 0x1p-126;
    }
  }
  return rounded;
}

Expected ProjectColumns(const Matrix& w, absl::Span<const float> x) {
  const size_t row_bytes = w.bytes.size() / w.rows;
  Expected want;
  std::vector<double> rounded, units;
  for (size_t i = 0; i < x.size(); ++i) {
    if (i % kColumns == 0) units.push_back(UnitOf(x.subspan(i, kColumns)));
    rounded.push_back(double{HalfToFloat(FloatToHalf(static_cast<float>(x[i] / units.back())))} *
                      units.back());
  }
  for (size_t r = 0; r < w.rows; ++r) {
    const std::vector<Weight> row = Decode(w.type, w.bytes.subspan(r * row_bytes, row_bytes));
    const size_t k = row.size();
    const size_t tokens = x.size() / k;
    want.value.resize(tokens * w.rows);
    want.bound.resize(tokens * w.rows);
    for (size_t t = 0; t < tokens; ++t) {
      double sum = 0, magnitudes = 0, sums = 0;
      for (size_t c = 0; c < k; ++c) {
        const size_t at = t * k + c;
        sum += row[c].value * rounded[at];
        magnitudes += row[c].magnitude * std::abs(rounded[at]);
        sums += row[c].magnitude * units[at / kColumns] * 0x1p-20;
      }
      sums += 0x1p-21 * magnitudes;
      const double scales = w.type == QuantType::kQ6K ? 0x1p-11 * magnitudes : 0;
      want.value[t * w.rows + r] = sum;
      want.bound[t * w.rows + r] =
          kRoundoff * (1.1 * static_cast<double>(k) + 64) * magnitudes + sums + scales + kTiny;
    }
  }
  return want;
}

std::vector<float> Exchanged(absl::Span<const float> x) {
  constexpr size_t kBlock = 32;
  constexpr int kHalfBits = 11;
  std::vector<float> result;
  for (const float value : x) {
    int exponent = 0;
    const float fraction = std::frexp(value, &exponent);
    result.push_back(
        std::ldexp(std::nearbyint(std::ldexp(fraction, kHalfBits)), exponent - kHalfBits));
  }
  for (size_t first = 0; first < x.size(); first += kBlock) {
    float largest = 1e-30f;
    for (size_t c = first; c < first + kBlock; ++c) {
      largest = std::max(largest, std::abs(result[c]));
    }
    const float inverse = 127.0f / largest;
    for (size_t c = first; c < first + kBlock; ++c) {
      const float scaled = result[c] * inverse;
      const float high = std::nearbyint(scaled);
      const float low = std::nearbyint((scaled - high) * 128.0f);
      result[c] = (high * 128.0f + low) * (largest * (1.0f / 16256));
    }
  }
  return result;
}

}  // namespace ptxsmith::reference

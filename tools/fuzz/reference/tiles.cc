#include "tools/fuzz/reference/tiles.h"

#include <algorithm>
#include <cmath>

#include "tools/fuzz/reference/decode.h"

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

}  // namespace

std::vector<uint8_t> Repack(const Matrix& w, uint32_t k, uint32_t rows,
                            const std::function<uint32_t(uint32_t)>& row_of) {
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
    Pack(w.type, parts, tiles.data() + size_t{tile} * size);
  }
  return tiles;
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

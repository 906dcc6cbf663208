#include "tools/fuzz/reference/decode.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "tools/fuzz/reference/blocks.h"
#include "tools/fuzz/reference/float_formats.h"

namespace ptxsmith::reference {
namespace {

// scale * (quant - zero): the difference is exact, the product rounded once.
Weight Scaled(float scale, int quant, int zero = 0) {
  return {scale * static_cast<float>(quant - zero),
          std::fabs(scale) * static_cast<float>(std::abs(quant) + std::abs(zero))};
}

// scale * quant + offset, each operation rounded.
Weight Affine(float scale, int quant, float offset) {
  const float product = scale * static_cast<float>(quant);
  return {product + offset, std::fabs(product) + std::fabs(offset)};
}

int Low(uint8_t byte) { return byte & 15; }
int High(uint8_t byte) { return byte >> 4; }
int Bit(const uint8_t* bytes, int i) { return bytes[i / 8] >> (i % 8) & 1; }

struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

void DecodeBlock(float value, Weight* w) { *w = {value, std::fabs(value)}; }
void DecodeBlock(Half h, Weight* w) { DecodeBlock(HalfToFloat(h.bits), w); }
void DecodeBlock(BFloat16 b, Weight* w) { DecodeBlock(BFloat16ToFloat(b.bits), w); }

void DecodeBlock(const BlockQ4_0& b, Weight* w) {
  const float d = HalfToFloat(b.d);
  for (int j = 0; j < 16; ++j) {
    w[j] = Scaled(d, Low(b.qs[j]), 8);
    w[j + 16] = Scaled(d, High(b.qs[j]), 8);
  }
}

void DecodeBlock(const BlockQ4_1& b, Weight* w) {
  const float d = HalfToFloat(b.d);
  const float m = HalfToFloat(b.m);
  for (int j = 0; j < 16; ++j) {
    w[j] = Affine(d, Low(b.qs[j]), m);
    w[j + 16] = Affine(d, High(b.qs[j]), m);
  }
}

void DecodeBlock(const BlockQ5_0& b, Weight* w) {
  const float d = HalfToFloat(b.d);
  for (int j = 0; j < 16; ++j) {
    w[j] = Scaled(d, Low(b.qs[j]) | Bit(b.qh, j) << 4, 16);
    w[j + 16] = Scaled(d, High(b.qs[j]) | Bit(b.qh, j + 16) << 4, 16);
  }
}

void DecodeBlock(const BlockQ5_1& b, Weight* w) {
  const float d = HalfToFloat(b.d);
  const float m = HalfToFloat(b.m);
  for (int j = 0; j < 16; ++j) {
    w[j] = Affine(d, Low(b.qs[j]) | Bit(b.qh, j) << 4, m);
    w[j + 16] = Affine(d, High(b.qs[j]) | Bit(b.qh, j + 16) << 4, m);
  }
}

void DecodeBlock(const BlockQ8_0& b, Weight* w) {
  const float d = HalfToFloat(b.d);
  for (int j = 0; j < 32; ++j) w[j] = Scaled(d, b.qs[j]);
}

void DecodeBlock(const BlockQ2K& b, Weight* w) {
  const float d = HalfToFloat(b.d);
  const float dmin = HalfToFloat(b.dmin);
  for (int i = 0; i < 256; ++i) {
    // Each half of 128 weights uses 32 bytes, two bits per group of 32 weights.
    const int half = i / 128, group = i % 128 / 32, byte = i % 32;
    const uint8_t scale = b.scales[i / 16];
    const int q = b.qs[half * 32 + byte] >> (2 * group) & 3;
    w[i] = Affine(d * static_cast<float>(Low(scale)), q, -(dmin * static_cast<float>(High(scale))));
  }
}

void DecodeBlock(const BlockQ3K& b, Weight* w) {
  const float d = HalfToFloat(b.d);
  for (int i = 0; i < 256; ++i) {
    const int half = i / 128, group = i % 128 / 32, byte = i % 32;
    // Sixteen 6-bit scales: low four bits in the nibbles of bytes 0..7, high two in bytes 8..11.
    const int s = i / 16;
    const int low = s < 8 ? Low(b.scales[s]) : High(b.scales[s - 8]);
    const int high = b.scales[8 + s % 4] >> (2 * (s / 4)) & 3;
    const int scale = (low | high << 4) - 32;
    // The third bit is kept in hmask, one bit per group of 32; the quant is 4 too large.
    const int q = b.qs[half * 32 + byte] >> (2 * group) & 3;
    const int third = b.hmask[byte] >> (4 * half + group) & 1;
    w[i] = Scaled(d * static_cast<float>(scale), q | third << 2, 4);
  }
}

// The 6-bit scale and minimum of sub-block j of q4_k and q5_k.
struct ScaleMin {
  float scale, min;
};
ScaleMin UnpackScaleMin(const uint8_t* s, int j) {
  if (j < 4) return {static_cast<float>(s[j] & 63), static_cast<float>(s[j + 4] & 63)};
  return {static_cast<float>(Low(s[j + 4]) | (s[j - 4] >> 6) << 4),
          static_cast<float>(High(s[j + 4]) | (s[j] >> 6) << 4)};
}

void DecodeBlock(const BlockQ4K& b, Weight* w) {
  const float d = HalfToFloat(b.d);
  const float dmin = HalfToFloat(b.dmin);
  for (int i = 0; i < 256; ++i) {
    const int sub = i / 32;
    const auto [scale, min] = UnpackScaleMin(b.scales, sub);
    const uint8_t byte = b.qs[sub / 2 * 32 + i % 32];  // even sub-blocks are the low nibbles
    w[i] = Affine(d * scale, sub % 2 == 0 ? Low(byte) : High(byte), -(dmin * min));
  }
}

void DecodeBlock(const BlockQ5K& b, Weight* w) {
  const float d = HalfToFloat(b.d);
  const float dmin = HalfToFloat(b.dmin);
  for (int i = 0; i < 256; ++i) {
    const int sub = i / 32;
    const auto [scale, min] = UnpackScaleMin(b.scales, sub);
    const uint8_t byte = b.qs[sub / 2 * 32 + i % 32];
    const int fifth = b.qh[i % 32] >> sub & 1;
    w[i] = Affine(d * scale, (sub % 2 == 0 ? Low(byte) : High(byte)) | fifth << 4, -(dmin * min));
  }
}

void DecodeBlock(const BlockQ6K& b, Weight* w) {
  const float d = HalfToFloat(b.d);
  for (int i = 0; i < 256; ++i) {
    // Each half of 128 weights has 64 bytes of low nibbles and 32 bytes of two high bits.
    const int half = i / 128, group = i % 128 / 32, l = i % 32;
    const uint8_t byte = b.ql[half * 64 + group % 2 * 32 + l];
    const int low = group < 2 ? Low(byte) : High(byte);
    const int high = b.qh[half * 32 + l] >> (2 * group) & 3;
    const int sixteenth = i / 16;
    const float scale = b.scales[sixteenth];
    w[i] = Scaled(d * scale, low | high << 4, 32);
  }
}

constexpr int8_t kIQ4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                   1,    13,   25,  38,  53,  69,  89,  113};

void DecodeBlock(const BlockIQ4NL& b, Weight* w) {
  const float d = HalfToFloat(b.d);
  for (int j = 0; j < 16; ++j) {
    w[j] = Scaled(d, kIQ4Values[Low(b.qs[j])]);
    w[j + 16] = Scaled(d, kIQ4Values[High(b.qs[j])]);
  }
}

void DecodeBlock(const BlockIQ4XS& b, Weight* w) {
  const float d = HalfToFloat(b.d);
  for (int i = 0; i < 256; ++i) {
    const int sub = i / 32, j = i % 32;
    const uint8_t pair = b.scales_l[sub / 2];
    const int scale =
        ((sub % 2 == 0 ? Low(pair) : High(pair)) | (b.scales_h >> (2 * sub) & 3) << 4) - 32;
    const uint8_t byte = b.qs[sub * 16 + j % 16];
    w[i] = Scaled(d * static_cast<float>(scale), kIQ4Values[j < 16 ? Low(byte) : High(byte)]);
  }
}

void DecodeBlock(const BlockMXFP4& b, Weight* w) {
  // The e2m1 values doubled, hence a scale of 2^(e - 128); it is denormal for e < 2.
  constexpr int8_t kValues[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};
  const float d = std::ldexp(1.0f, b.e - 128);
  for (int j = 0; j < 16; ++j) {
    w[j] = Scaled(d, kValues[Low(b.qs[j])]);
    w[j + 16] = Scaled(d, kValues[High(b.qs[j])]);
  }
}

template <class Block>
void DecodeBlocks(const QuantTypeInfo& info, absl::Span<const uint8_t> bytes, Weight* w) {
  if (sizeof(Block) != info.block_bytes) std::abort();  // the two tables disagree
  for (size_t at = 0; at < bytes.size(); at += sizeof(Block), w += info.block_weights) {
    Block block;
    std::memcpy(&block, bytes.data() + at, sizeof(Block));
    DecodeBlock(block, w);
  }
}

// The decoder of a type, or null.
auto FindDecoder(QuantType type)
    -> void (*)(const QuantTypeInfo&, absl::Span<const uint8_t>, Weight*) {
  using enum QuantType;
  switch (type) {
    case kF32:
      return DecodeBlocks<float>;
    case kF16:
      return DecodeBlocks<Half>;
    case kBF16:
      return DecodeBlocks<BFloat16>;
    case kQ4_0:
      return DecodeBlocks<BlockQ4_0>;
    case kQ4_1:
      return DecodeBlocks<BlockQ4_1>;
    case kQ5_0:
      return DecodeBlocks<BlockQ5_0>;
    case kQ5_1:
      return DecodeBlocks<BlockQ5_1>;
    case kQ8_0:
      return DecodeBlocks<BlockQ8_0>;
    case kQ2K:
      return DecodeBlocks<BlockQ2K>;
    case kQ3K:
      return DecodeBlocks<BlockQ3K>;
    case kQ4K:
      return DecodeBlocks<BlockQ4K>;
    case kQ5K:
      return DecodeBlocks<BlockQ5K>;
    case kQ6K:
      return DecodeBlocks<BlockQ6K>;
    case kIQ4NL:
      return DecodeBlocks<BlockIQ4NL>;
    case kIQ4XS:
      return DecodeBlocks<BlockIQ4XS>;
    case kMXFP4:
      return DecodeBlocks<BlockMXFP4>;
    default:
      return nullptr;
  }
}

}  // namespace

bool CanDecode(QuantType type) { return FindDecoder(type) != nullptr; }

std::vector<Weight> Decode(QuantType type, absl::Span<const uint8_t> bytes) {
  const QuantTypeInfo& info = Info(type);
  const auto decoder = FindDecoder(type);
  if (decoder == nullptr || bytes.size() % info.block_bytes != 0) std::abort();  // see REQUIRES
  std::vector<Weight> weights(bytes.size() / info.block_bytes * info.block_weights);
  decoder(info, bytes, weights.data());
  return weights;
}

}  // namespace ptxsmith::reference

#include "tools/fuzz/rng.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "tools/fuzz/reference/blocks.h"
#include "tools/fuzz/reference/float_formats.h"

namespace ptxsmith {
namespace {

using reference::FloatToBFloat16;
using reference::FloatToHalf;
using reference::HalfToFloat;

// Offsets of the half-precision scales inside one block.
std::vector<size_t> HalfScaleOffsets(QuantType type) {
  using namespace reference;
  using enum QuantType;
  switch (type) {
    case kQ4_0:
      return {offsetof(BlockQ4_0, d)};
    case kQ4_1:
      return {offsetof(BlockQ4_1, d), offsetof(BlockQ4_1, m)};
    case kQ5_0:
      return {offsetof(BlockQ5_0, d)};
    case kQ5_1:
      return {offsetof(BlockQ5_1, d), offsetof(BlockQ5_1, m)};
    case kQ8_0:
      return {offsetof(BlockQ8_0, d)};
    case kQ2K:
      return {offsetof(BlockQ2K, d), offsetof(BlockQ2K, dmin)};
    case kQ3K:
      return {offsetof(BlockQ3K, d)};
    case kQ4K:
      return {offsetof(BlockQ4K, d), offsetof(BlockQ4K, dmin)};
    case kQ5K:
      return {offsetof(BlockQ5K, d), offsetof(BlockQ5K, dmin)};
    case kQ6K:
      return {offsetof(BlockQ6K, d)};
    case kIQ4NL:
      return {offsetof(BlockIQ4NL, d)};
    case kIQ4XS:
      return {offsetof(BlockIQ4XS, d)};
    case kMXFP4:
      return {};
    default:
      std::abort();  // the caller's mistake: see REQUIRES
  }
}

constexpr uint32_t kLargestF16 = std::bit_cast<uint32_t>(65504.0f);

template <class T>
void Put(std::vector<uint8_t>& bytes, size_t at, T value) {
  std::memcpy(bytes.data() + at, &value, sizeof value);
}

}  // namespace

const char* ToString(Values values) {
  switch (values) {
    case Values::kNormal:
      return "normal";
    case Values::kHeavyTailed:
      return "heavy_tailed";
    case Values::kZeros:
      return "zeros";
    case Values::kDenormals:
      return "denormals";
    case Values::kLargest:
      return "largest";
    case Values::kRandomBits:
      return "random_bits";
  }
  return "?";
}

absl::StatusOr<Values> ParseValues(absl::string_view name) {
  std::string known;
  for (const Values values : kFuzzValues) {
    if (name == ToString(values)) return values;
    absl::StrAppend(&known, known.empty() ? "" : ", ", ToString(values));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown distribution '", name, "'; known: ", known));
}

uint32_t Rng::Below(uint32_t limit) {
  // The bias of at most 2^-32 is of no concern to a test.
  return static_cast<uint32_t>(((Bits() >> 32) * limit) >> 32);
}

double Rng::Uniform() { return static_cast<double>(Bits() >> 11) * 0x1p-53; }

double Rng::Normal() {
  // Box and Muller; the standard library's distributions differ between implementations.
  const double radius = std::sqrt(-2.0 * std::log(1.0 - Uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * Uniform());
}

float Rng::Float(Values values) {
  const uint32_t sign = Below(2) << 31;
  switch (values) {
    case Values::kNormal:
      return static_cast<float>(Normal());
    case Values::kHeavyTailed:
      return static_cast<float>(Normal() * std::exp2(2.0 * Normal()));
    case Values::kZeros:
      return std::bit_cast<float>(sign);
    case Values::kDenormals:
      return std::bit_cast<float>(sign | Below(1u << 23));
    case Values::kLargest:
      return (sign != 0 ? -1.0f : 1.0f) * static_cast<float>(60000.0 + 5504.0 * Uniform());
    case Values::kRandomBits:
      return std::bit_cast<float>(sign | std::min(Below(143u << 23), kLargestF16));
  }
  std::abort();
}

uint16_t Rng::HalfScale(Values values) {
  if (values == Values::kDenormals) return static_cast<uint16_t>(Below(2) << 15 | Below(1u << 10));
  if (values == Values::kRandomBits) return static_cast<uint16_t>(Below(2) << 15 | Below(31 << 10));
  float value = Float(values);
  if (values == Values::kNormal || values == Values::kHeavyTailed) value *= 0x1p-8f;
  const uint16_t half = FloatToHalf(value);
  return std::isfinite(HalfToFloat(half)) ? half : FloatToHalf(65504.0f);
}

std::vector<float> Rng::Floats(Values values, size_t count) {
  std::vector<float> result(count);
  for (float& value : result) value = Float(values);
  return result;
}

std::vector<uint8_t> Rng::Blocks(QuantType type, size_t count, Values values) {
  const size_t block_bytes = Info(type).block_bytes;
  std::vector<uint8_t> bytes(count * block_bytes);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(Bits() >> 56);
  const bool plain = Info(type).block_weights == 1;
  const std::vector<size_t> scales = plain ? std::vector<size_t>{} : HalfScaleOffsets(type);
  for (size_t at = 0; at < bytes.size(); at += block_bytes) {
    if (type == QuantType::kF32) Put(bytes, at, Float(values));
    if (type == QuantType::kF16) Put(bytes, at, HalfScale(values));
    if (type == QuantType::kBF16) Put(bytes, at, FloatToBFloat16(Float(values)));
    if (type == QuantType::kMXFP4) {
      // The block exponent is 2^(e - 127); 0 and 1 are the denormal scales, 254 the largest.
      const uint32_t e = values == Values::kLargest      ? 142
                         : values == Values::kRandomBits ? Below(143)
                         : values == Values::kZeros || values == Values::kDenormals
                             ? Below(2)
                             : 115 + Below(8);
      bytes[at] = static_cast<uint8_t>(e);
    }
    for (size_t offset : scales) Put(bytes, at + offset, HalfScale(values));
  }
  return bytes;
}

}  // namespace ptxsmith

// q6_k: blocks of 256 weights in 210 bytes, in two halves of 128 weights.
//
//   ql      128 bytes at 0    low four bits; half h has bytes 64 h to 64 h + 63
//   qh      64 bytes at 128   high two bits; half h has bytes 32 h to 32 h + 31
//   scales  16 s8 at 192      one per 16 weights
//   d       f16 at 208
//   weight = d * scale * (q - 32)
//
// In a half, byte l of the first 32 of ql holds weights l (low nibble) and l + 64 (high nibble),
// byte l + 32 holds l + 32 and l + 96; byte l of qh holds their high bits, two each, in this order
// of weights: l, l + 32, l + 64, l + 96.
//
// Lane = 16 h + 8 p + i takes the four bytes 32 p + 4 i of the half's ql: low nibbles are the
// weights 32 p + 4 i to +3 of the half, high nibbles the 64 further on. Blocks are only 2-byte
// aligned.
#include "codegen/ops.h"
#include "ptx_templates/decoders/decoders.h"
#include "ptx_templates/decoders/words.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kBlockBytes = 210;
constexpr uint32_t kHigh = 128;
constexpr uint32_t kScales = 192;
constexpr uint32_t kScale = 208;

}  // namespace

LaneGroups<PackedGroup> DecodeQ6K(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U8> block = row.At(unit, kBlockBytes);
  const Val<U32> h = lane / 16;
  const Val<U32> p = (lane / 8) % 2;
  const Val<U32> l = (lane % 8) * 4;

  const Val<U32> low = LoadWord(block.At(h * 64 + p * 32 + l).As<U16>());
  const Val<U32> high = LoadWord(block.At(h * 32 + l).At(kHigh).As<U16>());
  const Val<F32> d = ToF32(block.At(kScale).As<F16>().Load(0));
  const In<S8> scales = block.At(kScales).As<S8>().At(h * 8 + p * 2 + l / 16);

  const auto half = [&](uint32_t nibble, const Val<U32>& first) {  // 0: low nibbles, 1: high ones
    const Val<U32> top = (high >> (p * 2 + 4 * nibble)) & 0x03030303;
    const Val<U32> q = ((low >> (4 * nibble)) & 0x0f0f0f0f) | (top << 4);
    return PackedGroup{first, q, 32, d * ToF32(scales.Load(4 * nibble)), {}};
  };
  const Val<U32> first = h * 128 + p * 32 + l;
  const PackedGroup near = half(0, first);
  return {near, half(1, first + 64)};
}

}  // namespace ptxsmith

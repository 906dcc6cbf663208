// q4_k: blocks of 256 weights in 144 bytes.
//
//   d, dmin  f16 at 0, 2     scale of the scales and of the minimums
//   scales   12 bytes at 4   eight 6-bit scales and eight 6-bit minimums, one pair per 32 weights
//   qs       128 bytes at 16 nibbles: bytes 32 p to 32 p + 31 hold weights 64 p to 64 p + 31 in
//   their low
//                            halves and the 32 weights after those in their high halves
//   weight = d * scale * q - dmin * minimum
//
// Lane l takes bytes 4 l to 4 l + 3 of qs: the warp reads one 128-byte line. With p = l / 8 its low
// nibbles belong to sub-block 2 p, its high nibbles to sub-block 2 p + 1.
//
// Numerics: d * scale has 17 significant bits and times q 21, so both products are exact and the
// one fma rounds as ggml's multiplication and subtraction do.
#include "codegen/ops.h"
#include "ptx_templates/decoders/decoders.h"
#include "ptx_templates/decoders/words.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kBlockBytes = 144;
constexpr uint32_t kQuants = 16;

}  // namespace

LaneGroups<PackedGroup> DecodeQ4K(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U32> block = row.At(unit, kBlockBytes).As<U32>();
  const auto [dm, s0, s1, s2] = block.Load<4>(0);
  const Val<U32> quants = block.At(kQuants / 4).Load(lane);
  const Vec<F32, 2> d_dmin = UnpackHalf2(dm);

  const Val<U32> p = lane / 8;
  const KScales k = UnpackKScales(s0, s1, s2, p >= 2);

  const auto half = [&](uint32_t h, const Val<U32>& first) {  // 0: low nibbles, 1: high nibbles
    const Val<U32> position = (p % 2) * 16 + 8 * h;
    const Val<F32> scale = d_dmin[0] * ToF32(Bits(k.scales, position, 8));
    const Val<F32> minus = Neg(d_dmin[1] * ToF32(Bits(k.minimums, position, 8)));
    return PackedGroup{first, (quants >> (4 * h)) & 0x0f0f0f0f, 0, scale, minus};
  };
  const Val<U32> first = p * 64 + (lane % 8) * 4;
  const PackedGroup low = half(0, first);
  return {low, half(1, first + 32)};
}

}  // namespace ptxsmith

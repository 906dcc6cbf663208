// q8_0: blocks of 32 weights in 34 bytes.
//
//   d   f16   at 0    scale
//   qs  32 s8 at 2    weight = d * q
//
// A unit is eight blocks; lane l takes bytes 8 (l % 4) to +7 of block l / 4, the weights 8 l to 8 l
// + 7. Blocks are only 2-byte aligned, so bytes come in as 16-bit words.
#include "codegen/ops.h"
#include "ptx_templates/decoders/decoders.h"
#include "ptx_templates/decoders/words.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kBlockBytes = 34;
constexpr uint32_t kQuants = 2;

}  // namespace

LaneGroups<PackedGroup> DecodeQ8_0(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U8> block = row.At(unit * 8 + lane / 4, kBlockBytes);
  const Val<F32> d = ToF32(block.As<F16>().Load(0));
  const In<U16> quants = block.At(kQuants).As<U16>().At((lane % 4) * 4);
  const Val<U32> first = lane * 8;
  // Flipping the sign bit turns q into q + 128, an unsigned byte.
  const Val<U32> low = LoadWord(quants) ^ 0x80808080;
  const Val<U32> high = LoadWord(quants.At(2)) ^ 0x80808080;
  return {PackedGroup{first, low, 128, d, {}}, PackedGroup{first + 4, high, 128, d, {}}};
}

}  // namespace ptxsmith

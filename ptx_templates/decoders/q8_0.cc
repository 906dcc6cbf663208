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

LaneWeights DecodeQ8_0(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U8> block = row.At(unit * 8 + lane / 4, kBlockBytes);
  const Val<F32> d = ToF32(block.As<F16>().Load(0));
  const In<U16> quants = block.At(kQuants).As<U16>().At((lane % 4) * 4);
  const auto four = [&](uint32_t first) {
    const Val<U32> word = LoadWord(quants.At(first));
    // Flipping the sign bit turns q into q + 128, an unsigned byte.
    return Scaled(d, BytesToF32(word ^ 0x80808080, 128));
  };
  const Val<U32> first = lane * 8;
  const Vec<F32, 4> low = four(0);
  const Vec<F32, 4> high = four(2);
  return {{LaneWeights::Group{first, low}, LaneWeights::Group{first + 4, high}}};
}

}  // namespace ptxsmith

// mxfp4: blocks of 32 weights in 17 bytes (OCP Microscaling formats, with ggml's doubled table).
//
//   e   8-bit exponent at 0
//   qs  16 bytes at 1       nibbles are e2m1 numbers; byte j holds weights j (low) and j + 16
//   (high) weight = 2^(e - 128) * table[q], table = 0, 1, 2, 3, 4, 6, 8, 12 and their negatives
//
// A unit is eight blocks; lane l takes bytes 4 (l % 4) to +3 of block l / 4, one by one because
// blocks have no alignment.
#include "codegen/ops.h"
#include "ptx_templates/decoders/decoders.h"
#include "ptx_templates/decoders/words.h"

namespace ptxsmith {
namespace {

constexpr ByteTable kValues = {0x03020100, 0x0c080604, 0xfdfeff00, 0xf4f8fafc};

}  // namespace

LaneGroups<PackedGroup> DecodeMxfp4(const In<U8>& row, const Val<U32>& unit, const Val<U32>& lane) {
  const In<U8> block = row.At(unit * 8 + lane / 4, 17);
  const Val<U32> e = block.Load(0);
  // 2^(e - 128): a normal number from e = 2 on, the two subnormal ones below.
  const Val<U32> normal = (e - 1) << 23;
  const Val<U32> subnormal = Constant<U32>(e, 0x00200000) << e;
  const Val<F32> scale = Bitcast<F32>(Select<U32>(e < 2, subnormal, normal));
  const In<U8> bytes = block.At(1).At((lane % 4) * 4);
  const Val<U32> q =
      bytes.Load(0) | (bytes.Load(1) << 8) | (bytes.Load(2) << 16) | (bytes.Load(3) << 24);
  const Val<U32> first = lane / 4 * 32 + (lane % 4) * 4;
  const Val<U32> low = LookUp(kValues, q & 0x0f0f0f0f);
  const Val<U32> high = LookUp(kValues, (q >> 4) & 0x0f0f0f0f);
  return {PackedGroup{first, low, kTableBias, scale, {}},
          PackedGroup{first + 16, high, kTableBias, scale, {}}};
}

}  // namespace ptxsmith

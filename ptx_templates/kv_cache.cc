#include "ptx_templates/kv_cache.h"

#include "absl/strings/str_cat.h"
#include "codegen/warp.h"

namespace ptxsmith {
namespace {

// One warp for each block of elements.
void StoreQ8_0(KernelBuilder& k, const KvCellShape& shape,
               absl::FunctionRef<Val<F32>(const Val<U32>& d)> element, const InOut<U8>& cell) {
  // Adding 1.5 * 2^23 leaves the nearest integer, in two's complement, in the low bits.
  constexpr float kRound = 12582912.0f;
  const Val<U32> lane = k.Lane();
  k.For(k.Warp(), shape.head_dim / kQ8_0Weights, {.step = shape.threads / kWarpLanes},
        [&](const Val<U32>& b) {
          const InOut<U8> block = cell.At(b, kQ8_0Bytes);
          const Val<F32> x = element(b * kQ8_0Weights + lane);
          const Val<F32> d = WarpMax(Abs(x)) / 127.0f;
          const Val<F16> stored = ToF16(d);
          const Val<F32> quotient = x * (Constant<F32>(d, 1.0f) / d) + kRound;
          block.At(kQ8_0Quants)
              .Store(lane, Select<U32>(ToF32(stored) == 0.0f, 0, Bitcast<U32>(quotient)));
          k.If(lane == 0, [&] { block.As<F16>().Store(0, stored); });
        });
}

}  // namespace

absl::Status CheckKvCell(absl::string_view family, QuantType type, uint32_t head_dim) {
  if (type == QuantType::kF16 || head_dim % kQ8_0Weights == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(family, ": head_dim=", head_dim,
                                                 " is not a multiple of ", kQ8_0Weights,
                                                 ", the block of ", ToString(type)));
}

void StoreKvCell(KernelBuilder& k, const KvCellShape& shape,
                 absl::FunctionRef<Val<F32>(const Val<U32>& d)> element, const InOut<U8>& cell) {
  if (shape.type == QuantType::kQ8_0) return StoreQ8_0(k, shape, element, cell);
  k.For(k.ThreadX(), shape.head_dim, {.step = shape.threads},
        [&](const Val<U32>& d) { cell.As<F16>().Store(d, ToF16(element(d))); });
}

}  // namespace ptxsmith

#include "ptx_templates/dequantize.h"

#include <algorithm>

#include "codegen/kernel_builder.h"
#include "codegen/status_macros.h"
#include "codegen/warp.h"
#include "ptx_templates/blocked_half.h"

namespace ptxsmith {
namespace {

// Four consecutive results as one store.
void StoreFour(const Out<F32>& y, const Vec<F32, 4>& v) { y.Store<4>(0, v); }
void StoreFour(const Out<F16>& y, const Vec<F32, 4>& v) {
  y.As<U32>().Store<2>(0, Vec<U32, 2>({PackHalf2(v[0], v[1]), PackHalf2(v[2], v[3])}));
}
void StoreFour(const Out<BF16>& y, const Vec<F32, 4>& v) {
  y.As<U32>().Store<2>(0, Vec<U32, 2>({PackBF16x2(v[0], v[1]), PackBF16x2(v[2], v[3])}));
}

template <class T>
absl::StatusOr<KernelSpec> Build(const DequantizeSpec& spec, const Target& target) {
  const Decoder& decoder = DecoderFor(spec.quant);
  KernelBuilder k(KeyOf(spec, target), DequantizeSpec::kFamily, target);
  const uint32_t first_dim = 2;
  const SizeExpr k_size = spec.k ? SizeExpr(*spec.k) : SizeExpr::Param(first_dim);
  const SizeExpr n_size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(first_dim + !spec.k);
  const SizeExpr row_bytes = CeilDiv(k_size, decoder.chunk_weights) * decoder.chunk_bytes;
  const auto y = k.Param<Out<T>>(
      "y", {.count = spec.blocked ? BlockedCount(n_size, k_size) : n_size * k_size});
  const auto w = k.Param<In<U8>>("w", {.count = n_size * row_bytes, .constant = true});
  const Dim cols =
      k.ParamDim("k", spec.k, std::max(decoder.chunk_weights, spec.blocked ? kBlockColumns : 1));
  k.ParamDim("n", spec.n);

  k.Launch({.block = {kWarpLanes * spec.warps, 1, 1},
            .grid = {n_size, CeilDiv(k_size, kUnitWeights * spec.warps), 1}});
  k.Costs({.bytes = n_size * (row_bytes + k_size * kByteSize<T>), .flops = n_size * k_size});

  const Val<U32> lane = k.Lane();
  const Val<U32> unit = k.CtaY() * spec.warps + k.Warp();
  // ActiveLane looks at units that have weights in the row.
  k.If(unit * kUnitWeights < cols && ActiveLane(decoder, cols, unit, lane), [&] {
    const Val<U32> chunk = k.CtaX() * (cols / decoder.chunk_weights);  // the first of the row
    const Out<T> y_row = y.At(chunk, decoder.chunk_weights * kByteSize<T>);
    const In<U8> w_row = w.At(chunk, decoder.chunk_bytes);
    for (const FloatGroup& group : DecodeFloats(decoder, w_row, unit, lane)) {
      const Val<U32> column = unit * kUnitWeights + group.first;
      StoreFour(spec.blocked ? y.At(BlockedPiece(k.CtaX(), column, cols)).At(column % kPieceHalves)
                             : y_row.At(column),
                group.weights);
    }
  });
  return std::move(k).Finish();
}

}  // namespace

absl::StatusOr<KernelSpec> BuildDequantize(const DequantizeSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  if (spec.k) PTXSMITH_RETURN_IF_ERROR(CheckK(DequantizeSpec::kFamily, spec.quant, *spec.k));
  if (spec.blocked) {
    PTXSMITH_RETURN_IF_ERROR(CheckBlocked(DequantizeSpec::kFamily, "k", spec.k));
    if (spec.to != QuantType::kF16) {
      return absl::InvalidArgumentError("dequantize: blocked=1 needs to=f16");
    }
  }
  switch (spec.to) {
    case QuantType::kF16:
      return Build<F16>(spec, target);
    case QuantType::kBF16:
      return Build<BF16>(spec, target);
    default:
      return Build<F32>(spec, target);
  }
}

std::vector<DequantizeSpec> DequantizeVariants() {
  std::vector<DequantizeSpec> variants;
  for (const Decoder& decoder : AllDecoders()) {
    const QuantType type = decoder.type;
    const uint32_t chunk = decoder.chunk_weights;
    variants.push_back({type, QuantType::kF16, chunk * 9, 5, 2});
    variants.push_back({type, QuantType::kBF16, 2048, 3, 4});
    variants.push_back({type, QuantType::kF32, std::nullopt, std::nullopt, 1});
    variants.push_back({type, QuantType::kF16, 4096, 4096, 8});
  }
  variants.push_back({QuantType::kQ4K, QuantType::kF16, 512, 131, 4, true});
  variants.push_back({QuantType::kQ6K, QuantType::kF16, std::nullopt, std::nullopt, 4, true});
  variants.push_back({QuantType::kQ8_0, QuantType::kF16, 320, 5, 2, true});
  return variants;
}

}  // namespace ptxsmith

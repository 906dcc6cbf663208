#include "ptx_templates/gate_up.h"

#include "codegen/kernel_builder.h"
#include "codegen/math.h"
#include "codegen/status_macros.h"
#include "codegen/warp.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildGateUp(const GateUpSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  const GemvShape shape = {.quant = spec.quant,
                           .m = spec.m,
                           .outputs_per_block = spec.outputs_per_block,
                           .warps_per_output = spec.warps_per_output,
                           .unroll = spec.unroll,
                           .stage = spec.stage,
                           .q8_1 = spec.input == QuantType::kQ8_1,
                           .norm_eps = spec.norm ? std::optional(spec.eps) : std::nullopt};
  PTXSMITH_RETURN_IF_ERROR(CheckGemvShape(GateUpSpec::kFamily, shape, spec.k));
  const Decoder& decoder = DecoderFor(spec.quant);
  KernelBuilder k(KeyOf(spec, target), GateUpSpec::kFamily, target);

  // Sizes come after the buffers in the signature, but buffers are sized by them.
  const uint32_t first_dim = (spec.combine ? 3 : 4) + shape.input_params();
  const SizeExpr k_size = spec.k ? SizeExpr(*spec.k) : SizeExpr::Param(first_dim);
  const SizeExpr n_size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(first_dim + !spec.k);
  const SizeExpr w_bytes = n_size * CeilDiv(k_size, decoder.chunk_weights) * decoder.chunk_bytes;
  std::vector<Out<F32>> y;
  for (const char* name : spec.combine ? std::vector{"y"} : std::vector{"y_gate", "y_up"}) {
    y.push_back(k.Param<Out<F32>>(name, {.count = n_size * spec.m}));
  }
  const auto gate = k.Param<In<U8>>("gate", {.count = w_bytes, .constant = true});
  const auto up = k.Param<In<U8>>("up", {.count = w_bytes, .constant = true});
  const GemvActivations x = ActivationParams(k, shape, k_size);
  const Dim cols = k.ParamDim("k", spec.k, decoder.chunk_weights);
  const Dim rows = k.ParamDim("n", spec.n);

  const uint32_t outputs = spec.outputs_per_block;
  k.Launch({.block = {kWarpLanes * shape.warps(), 1, 1},
            .grid = {CeilDiv(n_size, outputs), 1, 1},
            .min_blocks_per_sm = shape.min_blocks_per_sm()});
  const SizeExpr y_bytes = n_size * (4 * y.size());
  k.Costs({.bytes = w_bytes * 2 + (ActivationBytes(shape, k_size) + y_bytes) * spec.m,
           .flops = n_size * k_size * (4 * spec.m)});

  GemvBlock block(k, shape, cols);
  const Val<U32>& row = block.output();
  const Pred exists = spec.n && *spec.n % outputs == 0 ? k.True() : row < rows;
  const Val<U32> chunk = row * (cols / decoder.chunk_weights);
  const std::vector<Val<F32>> product = block.Multiply(
      x, {gate.At(chunk, decoder.chunk_bytes), up.At(chunk, decoder.chunk_bytes)}, exists);
  block.ForOwnOutputs(exists, [&](const Val<U32>& token) {
    const Val<U32> at = token * rows + row;
    if (!spec.combine) {
      for (size_t i = 0; i < y.size(); ++i) y[i].Store(at, product[i]);
      return;
    }
    const Val<F32> silu = product[0] / (Exp(Neg(product[0])) + 1.0f);
    y[0].Store(at, silu * product[1]);
  });
  return std::move(k).Finish();
}

std::vector<GateUpSpec> GateUpVariants() {
  std::vector<GateUpSpec> variants;
  for (const Decoder& decoder : AllDecoders()) {
    const QuantType type = decoder.type;
    const uint32_t k = decoder.chunk_weights * 9;
    variants.push_back({type, QuantType::kF32, k, 5, 4, 1, 3, 2});
    if (decoder.packed == nullptr) continue;
    variants.push_back({type, QuantType::kQ8_1, k, 5, 2, 2, 2});
  }
  const QuantType type = QuantType::kQ4K;
  const std::optional<uint32_t> open;
  variants.push_back({type, QuantType::kF32, open, open, 4, 2});
  variants.push_back({type, QuantType::kF32, open, open, 2, 1, 2, 2, 512, true, 1e-5f, false});
  variants.push_back({type, QuantType::kF32, 2304, 7, 4, 1, 1, 2, 512, true, 1e-6f, true});
  variants.push_back({type, QuantType::kQ8_1, open, open, 2, 1, 1, 4, 0, false, 1e-5f, false});
  variants.push_back({type, QuantType::kF32, 512, 6, 4, 1, kMaxGemvTokens});
  variants.push_back({type, QuantType::kF32, 4096, 14336, 4, 2, 1, 2, 4096, true});
  variants.push_back({type, QuantType::kQ8_1, 4096, 14336, 4, 2});
  return variants;
}

}  // namespace ptxsmith

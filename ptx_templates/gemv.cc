#include "ptx_templates/gemv.h"

#include "codegen/kernel_builder.h"
#include "codegen/warp.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildGemv(const GemvSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  if (spec.k) PTXSMITH_RETURN_IF_ERROR(CheckK(GemvSpec::kFamily, spec.quant, *spec.k));
  const Decoder& decoder = DecoderFor(spec.quant);
  KernelBuilder k(KeyOf(spec, target), GemvSpec::kFamily, target);

  // Sizes come after the buffers in the signature, but buffers are sized by them.
  const uint32_t first_dim = 3;
  const SizeExpr k_size = spec.k ? SizeExpr(*spec.k) : SizeExpr::Param(first_dim);
  const SizeExpr n_size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(first_dim + !spec.k);
  const SizeExpr row_bytes = CeilDiv(k_size, decoder.chunk_weights) * SizeExpr(decoder.chunk_bytes);

  const auto y = k.Param<Out<F32>>("y", {.count = n_size});
  const auto w = k.Param<In<U8>>("w", {.count = n_size * row_bytes, .constant = true});
  const auto x = k.Param<In<F32>>("x", {.count = k_size});
  const Dim cols = k.ParamDim("k", spec.k, decoder.chunk_weights);
  const Dim rows = k.ParamDim("n", spec.n);

  const uint32_t outputs = spec.outputs_per_block;
  k.Launch({.block = {32 * outputs, 1, 1}, .grid = {CeilDiv(n_size, outputs), 1, 1}});
  k.Costs({.bytes = n_size * row_bytes + (k_size + n_size) * 4, .flops = n_size * k_size * 2});

  const Val<U32> lane = k.Lane();
  const Val<U32> row = k.CtaX() * outputs + k.Warp();
  const bool whole_blocks = spec.n && *spec.n % outputs == 0;
  k.If(whole_blocks ? k.True() : row < rows, [&] {
    const In<U8> w_row = w.At(row * (cols / decoder.chunk_weights), decoder.chunk_bytes);
    Var<F32> acc = k.NewVar<F32>(0.0f);
    const Val<U32> units = (cols + (kUnitWeights - 1)) / kUnitWeights;
    k.For(0, units, {.unroll = spec.unroll}, [&](const Val<U32>& unit) {
      k.If(ActiveLane(decoder, cols, unit, lane), [&] {
        for (const FloatGroup& group : DecodeFloats(decoder, w_row, unit, lane)) {
          const Vec<F32, 4> inputs = x.Load<4>(unit * kUnitWeights + group.first);
          for (size_t i = 0; i < 4; ++i) acc.Fma(group.weights[i], inputs[i]);
        }
      });
    });
    const Val<F32> total = WarpSum(acc);
    k.If(lane == 0, [&] { y.Store(row, total); });
  });
  return std::move(k).Finish();
}

std::vector<GemvSpec> GemvVariants() {
  std::vector<GemvSpec> variants;
  for (const Decoder& decoder : AllDecoders()) {
    for (uint32_t outputs : {1u, 4u, 16u}) {
      for (uint32_t unroll : {1u, 2u, 4u}) {
        variants.push_back({decoder.type, 768, 130, outputs, unroll});
      }
    }
    variants.push_back({decoder.type, 4096, 4096, 2, 2});
    variants.push_back({decoder.type, 14336, 4096, 8, 4});
    variants.push_back({decoder.type, decoder.chunk_weights, 1, 4, 1});
    variants.push_back({decoder.type, decoder.chunk_weights * 9, 33, 4, 2});
    variants.push_back({decoder.type, std::nullopt, std::nullopt, 4, 2});
    variants.push_back({decoder.type, std::nullopt, 64, 8, 1});
  }
  return variants;
}

}  // namespace ptxsmith

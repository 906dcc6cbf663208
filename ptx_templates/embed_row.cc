#include "ptx_templates/embed_row.h"

#include "codegen/kernel_builder.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildEmbedRow(const EmbedRowSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckK(EmbedRowSpec::kFamily, spec.quant, spec.k));
  const Decoder& decoder = DecoderFor(spec.quant);
  KernelBuilder k(KeyOf(spec, target), EmbedRowSpec::kFamily, target);

  const uint32_t first_dim = 3;
  const SizeExpr n_size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(first_dim);
  const SizeExpr rows = spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(first_dim + !spec.n);
  const uint32_t chunks = spec.k / decoder.chunk_weights;
  const uint32_t row_bytes = chunks * decoder.chunk_bytes;
  const auto y = k.Param<Out<F32>>("y", {.count = rows * spec.k});
  const auto w = k.Param<In<U8>>("w", {.count = n_size * row_bytes, .constant = true});
  const auto tokens = k.Param<In<U32>>("tokens", {.count = rows, .alignment = 4});
  const Dim n = k.ParamDim("n", spec.n);
  k.ParamDim("rows", spec.rows);

  k.Launch({.block = {32, 1, 1}, .grid = {CeilDiv(spec.k, kUnitWeights), rows, 1}});
  k.Costs({.bytes = rows * (row_bytes + spec.k * 4), .flops = rows * spec.k});

  const Val<U32> token = tokens.Load(k.CtaY());
  const Val<U32> unit = k.CtaX();
  const Val<U32> lane = k.Lane();
  const Val<U32> cols = k.Const<U32>(spec.k);
  k.If((token < n) && ActiveLane(decoder, cols, unit, lane), [&] {
    const In<U8> row = w.At(token * chunks, decoder.chunk_bytes);
    const Out<F32> y_unit = y.At(k.CtaY() * spec.k + unit * kUnitWeights);
    for (const FloatGroup& group : DecodeFloats(decoder, row, unit, lane)) {
      const Vec<F32, 4> scaled = MakeVec<4>([&](size_t i) {
        return spec.scale == 1 ? group.weights[i] : group.weights[i] * spec.scale;
      });
      y_unit.Store<4>(group.first, scaled);
    }
  });
  return std::move(k).Finish();
}

std::vector<EmbedRowSpec> EmbedRowVariants() {
  std::vector<EmbedRowSpec> variants;
  for (const Decoder& decoder : AllDecoders()) {
    variants.push_back({decoder.type, 256, 50, 1});
    variants.push_back({decoder.type, decoder.chunk_weights * 9, 7, 3});
    variants.push_back({decoder.type, 4096, std::nullopt, std::nullopt});
    variants.push_back({decoder.type, 256, 3, 2, 16.25f});
  }
  return variants;
}

}  // namespace ptxsmith

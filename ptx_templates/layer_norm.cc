#include "ptx_templates/layer_norm.h"

#include "absl/strings/str_cat.h"
#include "codegen/block.h"
#include "codegen/kernel_builder.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildLayerNorm(const LayerNormSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  if (!(spec.eps >= 0)) {
    return absl::InvalidArgumentError(absl::StrCat("layer_norm: eps=", spec.eps, " is negative"));
  }
  KernelBuilder k(KeyOf(spec, target), LayerNormSpec::kFamily, target);

  const uint32_t first_dim = spec.bias ? 4 : 3;
  const SizeExpr n_size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(first_dim);
  const SizeExpr rows = spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(first_dim + !spec.n);
  const auto y = k.Param<Out<F32>>("y", {.count = rows * n_size});
  const auto x = k.Param<In<F32>>("x", {.count = rows * n_size});
  const auto weight = k.Param<In<F32>>("weight", {.count = n_size, .constant = true});
  std::optional<In<F32>> bias;
  if (spec.bias) bias = k.Param<In<F32>>("bias", {.count = n_size, .constant = true});
  const Dim n = k.ParamDim("n", spec.n);
  k.ParamDim("rows", spec.rows);

  k.Launch({.block = {spec.threads, 1, 1}, .grid = {rows, 1, 1}});
  k.Costs({.bytes = rows * n_size * 8 + n_size * (spec.bias ? 8 : 4), .flops = rows * n_size * 7});

  const Val<U32> thread = k.ThreadX();
  const uint32_t warps = spec.threads / kWarpLanes;
  const In<F32> x_row = x.At(k.CtaX() * n);
  const Out<F32> y_row = y.At(k.CtaX() * n);
  const Val<F32> count = ToF32(n);

  Var<F32> sum = k.NewVar<F32>(0.0f);
  k.For(thread, n, {.step = spec.threads}, [&](const Val<U32>& i) { sum += x_row.Load(i); });
  const Val<F32> mean = BlockSum(k, sum, warps, "sums") / count;

  Var<F32> squares = k.NewVar<F32>(0.0f);
  k.For(thread, n, {.step = spec.threads}, [&](const Val<U32>& i) {
    const Val<F32> difference = x_row.Load(i) - mean;
    squares.Fma(difference, difference);
  });
  const Val<F32> variance = BlockSum(k, squares, warps, "squares") / count;
  const Val<F32> scale = Constant<F32>(variance, 1.0f) / Sqrt(variance + spec.eps);

  k.For(thread, n, {.step = spec.threads}, [&](const Val<U32>& i) {
    const Val<F32> normal = (x_row.Load(i) - mean) * scale;
    if (bias) {
      y_row.Store(i, Fma(normal, weight.Load(i), bias->Load(i)));
    } else {
      y_row.Store(i, normal * weight.Load(i));
    }
  });
  return std::move(k).Finish();
}

std::vector<LayerNormSpec> LayerNormVariants() {
  std::vector<LayerNormSpec> variants;
  for (uint32_t threads : {32u, 256u, 1024u}) variants.push_back({1000, 3, 1e-5f, threads});
  variants.push_back({4096, 1, 1e-5f, 512});
  variants.push_back({1, 1, 1e-5f, 64, false});
  variants.push_back({768, 2, 1e-12f, 128, false});
  variants.push_back({std::nullopt, std::nullopt, 1e-5f, 256});
  return variants;
}

}  // namespace ptxsmith

#include "ptx_templates/softmax.h"

#include <limits>

#include "codegen/block.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildSoftmax(const SoftmaxSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), SoftmaxSpec::kFamily, target);

  const uint32_t first_dim = 2;
  const SizeExpr n_size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(first_dim);
  const SizeExpr rows = spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(first_dim + !spec.n);
  const auto y = k.Param<Out<F32>>("y", {.count = rows * n_size});
  const auto x = k.Param<In<F32>>("x", {.count = rows * n_size});
  const Dim n = k.ParamDim("n", spec.n);
  k.ParamDim("rows", spec.rows);

  k.Launch({.block = {spec.threads, 1, 1}, .grid = {rows, 1, 1}});
  k.Costs({.bytes = rows * n_size * 8, .flops = rows * n_size * 28});

  const Val<U32> thread = k.ThreadX();
  const uint32_t warps = spec.threads / kWarpLanes;
  const In<F32> x_row = x.At(k.CtaX() * n);
  const Out<F32> y_row = y.At(k.CtaX() * n);
  const auto scaled = [&](const Val<U32>& i) { return x_row.Load(i) * spec.scale; };

  Var<F32> largest = k.NewVar<F32>(-std::numeric_limits<float>::infinity());
  k.For(thread, n, {.step = spec.threads},
        [&](const Val<U32>& i) { largest = Max(largest, scaled(i)); });
  const Val<F32> best = BlockMax(k, largest, warps, "largest");

  Var<F32> sum = k.NewVar<F32>(0.0f);
  k.For(thread, n, {.step = spec.threads},
        [&](const Val<U32>& i) { sum += Exp(scaled(i) - best); });
  const Val<F32> total = BlockSum(k, sum, warps, "sums");
  k.For(thread, n, {.step = spec.threads},
        [&](const Val<U32>& i) { y_row.Store(i, Exp(scaled(i) - best) / total); });
  return std::move(k).Finish();
}

std::vector<SoftmaxSpec> SoftmaxVariants() {
  std::vector<SoftmaxSpec> variants;
  for (uint32_t threads : {32u, 256u, 1024u}) variants.push_back({1000, 3, 1.0f, threads});
  variants.push_back({4096, 1, 0.125f, 512});
  variants.push_back({1, 1, 1.0f, 64});
  variants.push_back({129, 2, -2.5f, 128});
  variants.push_back({std::nullopt, std::nullopt, 1.0f, 256});
  return variants;
}

}  // namespace ptxsmith

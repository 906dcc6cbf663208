#include "ptx_templates/rms_norm.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "codegen/block.h"
#include "codegen/kernel_builder.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildRmsNorm(const RmsNormSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  if (!(spec.eps >= 0)) {
    return absl::InvalidArgumentError(absl::StrCat("rms_norm: eps=", spec.eps, " is negative"));
  }
  KernelBuilder k(KeyOf(spec, target), RmsNormSpec::kFamily, target);

  const uint32_t first_dim = 3;
  const SizeExpr n_size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(first_dim);
  const SizeExpr rows_size =
      spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(first_dim + !spec.n);
  const auto y = k.Param<Out<F32>>("y", {.count = rows_size * n_size});
  const auto x = k.Param<In<F32>>("x", {.count = rows_size * n_size});
  const auto weight = k.Param<In<F32>>("weight", {.count = n_size, .constant = true});
  const Dim n = k.ParamDim("n", spec.n);
  k.ParamDim("rows", spec.rows);

  k.Launch({.block = {spec.threads, 1, 1}, .grid = {rows_size, 1, 1}});
  k.Costs({.bytes = rows_size * n_size * 8 + n_size * 4, .flops = rows_size * n_size * 4});

  const Val<U32> thread = k.ThreadX();
  const In<F32> x_row = x.At(k.CtaX() * n);
  const Out<F32> y_row = y.At(k.CtaX() * n);

  Var<F32> squares = k.NewVar<F32>(0.0f);
  k.For(thread, n, {.step = spec.threads}, [&](const Val<U32>& i) {
    const Val<F32> v = x_row.Load(i);
    squares.Fma(v, v);
  });
  const Val<F32> sum = BlockSum(k, squares, spec.threads / kWarpLanes, "sums");
  const Val<F32> mean = sum / ToF32(n);
  const Val<F32> scale = Constant<F32>(mean, 1.0f) / Sqrt(mean + spec.eps);
  k.For(thread, n, {.step = spec.threads},
        [&](const Val<U32>& i) { y_row.Store(i, x_row.Load(i) * scale * weight.Load(i)); });
  return std::move(k).Finish();
}

std::vector<RmsNormSpec> RmsNormVariants() {
  std::vector<RmsNormSpec> variants;
  for (uint32_t threads : {32u, 64u, 128u, 256u, 512u, 1024u}) {
    variants.push_back({256, 1, 1e-5f, threads});
    variants.push_back({1000, 3, 1e-6f, threads});
  }
  variants.push_back({4096, 1, 1e-5f, 1024});
  variants.push_back({1, 1, 0.0f, 32});
  variants.push_back({std::nullopt, std::nullopt, 1e-5f, 256});
  return variants;
}

}  // namespace ptxsmith

#include "ptx_templates/absmax.h"

#include "codegen/block.h"
#include "codegen/kernel_builder.h"
#include "codegen/status_macros.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildAbsmax(const AbsmaxSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), AbsmaxSpec::kFamily, target);
  const uint32_t first_dim = 2;
  const SizeExpr n_size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(first_dim);
  const SizeExpr rows = spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(first_dim + !spec.n);
  const auto y = k.Param<Out<F32>>("y", {.count = rows});
  const auto x = k.Param<In<F32>>("x", {.count = rows * n_size});
  const Dim n = k.ParamDim("n", spec.n);
  k.ParamDim("rows", spec.rows);
  k.Launch({.block = {spec.threads, 1, 1}, .grid = {rows, 1, 1}});
  k.Costs({.bytes = rows * n_size * 4 + rows * 4, .flops = rows * n_size});

  const In<F32> row = x.At(k.CtaX() * n);
  Var<F32> largest = k.NewVar<F32>(0.0f);
  k.For(k.ThreadX(), n, {.step = spec.threads, .unroll = 4},
        [&](const Val<U32>& i) { largest = Max(largest, Abs(row.Load(i))); });
  const Val<F32> result = BlockMax(k, largest, spec.threads / kWarpLanes, "largest");
  k.If(k.ThreadX() == 0, [&] { y.Store(k.CtaX(), result); });
  return std::move(k).Finish();
}

std::vector<AbsmaxSpec> AbsmaxVariants() {
  return {{4096, 1, 1024},
          {1000, 3, 128},
          {1, 1, 32},
          {129, 2, 64},
          {std::nullopt, std::nullopt, 256},
          {std::nullopt, 1, 512}};
}

}  // namespace ptxsmith

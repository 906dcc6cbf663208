#include "ptx_templates/argmax.h"

#include "codegen/kernel_builder.h"
#include "ptx_templates/best.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildArgmax(const ArgmaxSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), ArgmaxSpec::kFamily, target);
  const uint32_t first_dim = 2;
  const SizeExpr n_size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(first_dim);
  const SizeExpr rows = spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(first_dim + !spec.n);
  const auto result = k.Param<Out<U32>>("index", {.count = rows, .alignment = 4});
  const auto x = k.Param<In<F32>>("x", {.count = rows * n_size});
  const Dim n = k.ParamDim("n", spec.n);
  k.ParamDim("rows", spec.rows);
  k.Launch({.block = {spec.threads, 1, 1}, .grid = {rows, 1, 1}});
  k.Costs({.bytes = rows * (n_size * 4 + 4), .flops = rows * n_size});

  const uint32_t warps = spec.threads / kWarpLanes;
  const In<F32> row = x.At(k.CtaX() * n);
  Best best(k);
  k.For(k.ThreadX(), n, {.step = spec.threads},
        [&](const Val<U32>& i) { best.Offer(row.Load(i), i); });
  best.ReduceBlock(k, Best::Array(k, "warps", warps), warps);
  k.If(k.ThreadX() == 0, [&] {
    const Val<U32> index = best.index;
    result.Store(k.CtaX(), Select<U32>(index == Best::kNone, 0, index));
  });
  return std::move(k).Finish();
}

std::vector<ArgmaxSpec> ArgmaxVariants() {
  std::vector<ArgmaxSpec> variants;
  for (uint32_t threads : {32u, 128u, 256u, 512u, 1024u}) variants.push_back({1000, threads});
  variants.push_back({128256, 1024});
  variants.push_back({1, 32});
  variants.push_back({std::nullopt, 1024});
  variants.push_back({129, 128, 3});
  variants.push_back({std::nullopt, 256, std::nullopt});
  return variants;
}

}  // namespace ptxsmith

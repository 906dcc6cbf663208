#include "ptx_templates/top_k.h"

#include "codegen/kernel_builder.h"
#include "ptx_templates/best.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildTopK(const TopKSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), TopKSpec::kFamily, target);
  const uint32_t first_dim = 3;
  const SizeExpr n_size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(first_dim);
  const SizeExpr rows = spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(first_dim + !spec.n);
  const auto values = k.Param<Out<F32>>("values", {.count = rows * spec.k, .alignment = 4});
  const auto indices = k.Param<Out<U32>>("indices", {.count = rows * spec.k, .alignment = 4});
  const auto x = k.Param<In<F32>>("x", {.count = rows * n_size});
  const Dim n = k.ParamDim("n", spec.n);
  k.ParamDim("rows", spec.rows);
  k.Launch({.block = {spec.threads, 1, 1}, .grid = {rows, 1, 1}});
  k.Costs({.bytes = rows * (n_size * 4 + spec.k * 8), .flops = rows * n_size});

  const uint32_t warps = spec.threads / kWarpLanes;
  const Val<U32> thread = k.ThreadX();
  const In<F32> row = x.At(k.CtaX() * n);
  // Two arrays that take turns: the barrier of one round frees the other.
  const Best::Array scratch[2] = {Best::Array(k, "even", warps), Best::Array(k, "odd", warps)};

  Best mine(k);  // of the thread's stripe, of what is not yet taken
  k.For(thread, n, {.step = spec.threads}, [&](const Val<U32>& i) { mine.Offer(row.Load(i), i); });

  const auto round = [&](const Val<U32>& j, const Best::Array& of_stripes) {
    Best best(k);
    best.Offer(mine.value, mine.index);
    best.ReduceBlock(k, of_stripes, warps);
    const Val<F32> value = best.value;
    const Val<U32> index = best.index;
    k.If(thread == 0, [&] {
      values.Store(k.CtaX() * spec.k + j, value);
      indices.Store(k.CtaX() * spec.k + j, index);
    });

    // What follows it in its stripe, which the warp of that stripe's thread searches: no barrier.
    // Of an empty stripe (index kNone) nothing does.
    const Val<U32> stripe = index % spec.threads;
    const Val<U32> end = Select<U32>(k.Warp() == stripe / kWarpLanes, n, 0);
    Best next(k);
    k.For(stripe + k.Lane() * spec.threads, end, {.step = spec.threads * kWarpLanes},
          [&](const Val<U32>& i) {
            const Val<F32> candidate = row.Load(i);
            const Pred follows = candidate < value || (candidate == value && i > index);
            k.If(follows, [&] { next.Offer(candidate, i); });
          });
    next.ReduceWarp();
    k.If(thread == stripe, [&] {
      mine.value = Val<F32>(next.value);
      mine.index = Val<U32>(next.index);
    });
  };
  k.For(0, spec.k, {.step = 2}, [&](const Val<U32>& j) {
    round(j, scratch[0]);
    k.If(j + 1 < spec.k, [&] { round(j + 1, scratch[1]); });
  });
  return std::move(k).Finish();
}

std::vector<TopKSpec> TopKVariants() {
  std::vector<TopKSpec> variants;
  for (uint32_t threads : {32u, 128u, 1024u}) variants.push_back({1000, 10, 1, threads});
  variants.push_back({128256, 64, 1, 1024});
  variants.push_back({5, 8, 2, 64});
  variants.push_back({1, 1, 1, 32});
  variants.push_back({std::nullopt, 40, std::nullopt, 256});
  return variants;
}

}  // namespace ptxsmith

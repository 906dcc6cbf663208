#include "ptx_templates/kv_append.h"

#include <algorithm>

#include "codegen/kernel_builder.h"
#include "codegen/warp.h"

namespace ptxsmith {

absl::StatusOr<KernelSpec> BuildKvAppend(const KvAppendSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), KvAppendSpec::kFamily, target);

  const uint32_t first_dim = 5;
  const SizeExpr context_size = spec.context ? SizeExpr(*spec.context) : SizeExpr::Param(first_dim);
  const SizeExpr rows =
      spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(first_dim + !spec.context);
  const uint32_t row_elements = spec.kv_heads * spec.head_dim;
  const SizeExpr cache_size = context_size * row_elements;
  // Only the rows at `positions` are written, so the caches are in-out for the caller.
  const auto k_cache = k.Param<InOut<F16>>("k_cache", {.count = cache_size});
  const auto v_cache = k.Param<InOut<F16>>("v_cache", {.count = cache_size});
  const auto keys = k.Param<In<F32>>("k", {.count = rows * row_elements});
  const auto values = k.Param<In<F32>>("v", {.count = rows * row_elements});
  const auto positions = k.Param<In<U32>>("positions", {.count = rows, .alignment = 4});
  const Dim context = k.ParamDim("context", spec.context);
  k.ParamDim("rows", spec.rows);

  const uint32_t threads =
      std::min(1024u, (spec.head_dim + kWarpLanes - 1) / kWarpLanes * kWarpLanes);
  k.Launch({.block = {threads, 1, 1}, .grid = {spec.kv_heads, rows, 1}});
  k.Costs({.bytes = rows * row_elements * 12, .flops = 0});

  const Val<U32> position = positions.Load(k.CtaY());
  k.If(position < context, [&] {
    const Val<U32> from = k.CtaY() * row_elements + k.CtaX() * spec.head_dim;
    const Val<U32> to = k.CtaX() * context + position;
    k.For(k.ThreadX(), spec.head_dim, {.step = threads}, [&](const Val<U32>& d) {
      k_cache.At(to, 2 * spec.head_dim).Store(d, ToF16(keys.At(from).Load(d)));
      v_cache.At(to, 2 * spec.head_dim).Store(d, ToF16(values.At(from).Load(d)));
    });
  });
  return std::move(k).Finish();
}

std::vector<KvAppendSpec> KvAppendVariants() {
  return {{2, 64, 512, 1}, {8, 128, 4096, 1},         {1, 80, 100, 3}, {4, 96, 33, 2},
          {2, 256, 64, 1}, {8, 128, std::nullopt, 1}, {3, 1, 5, 1},    {2, 64, 512, std::nullopt}};
}

}  // namespace ptxsmith

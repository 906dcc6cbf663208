#include "ptx_templates/kv_append.h"

#include <algorithm>

#include "codegen/kernel_builder.h"
#include "codegen/warp.h"

namespace ptxsmith {
absl::StatusOr<KernelSpec> BuildKvAppend(const KvAppendSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckKvCell(KvAppendSpec::kFamily, spec.type, spec.head_dim));
  KernelBuilder k(KeyOf(spec, target), KvAppendSpec::kFamily, target);

  const bool several = spec.slots != 1;
  uint32_t next_param = several ? 6 : 5;
  const auto size = [&](const std::optional<uint32_t>& baked) {
    return baked ? SizeExpr(*baked) : SizeExpr::Param(next_param++);
  };
  const SizeExpr context_size = size(spec.context);
  const SizeExpr rows = size(spec.rows);
  const SizeExpr slots_size = size(spec.slots);
  const uint32_t row_elements = spec.kv_heads * spec.head_dim;
  const uint32_t cell_bytes = KvCellBytes(spec.type, spec.head_dim);
  const SizeExpr cache_size = slots_size * context_size * (uint64_t{spec.kv_heads} * cell_bytes);
  // Only the cells at `positions` are written, so the caches are in-out for the caller.
  const auto k_cache = k.Param<InOut<U8>>("k_cache", {.count = cache_size});
  const auto v_cache = k.Param<InOut<U8>>("v_cache", {.count = cache_size});
  const auto keys = k.Param<In<F32>>("k", {.count = rows * row_elements});
  const auto values = k.Param<In<F32>>("v", {.count = rows * row_elements});
  const auto positions = k.Param<In<U32>>("positions", {.count = rows, .alignment = 4});
  std::optional<In<U32>> row_slots;
  if (several) row_slots = k.Param<In<U32>>("row_slots", {.count = rows, .alignment = 4});
  const Dim context = k.ParamDim("context", spec.context);
  k.ParamDim("rows", spec.rows);
  const Dim slots = k.ParamDim("slots", spec.slots);

  const uint32_t threads =
      std::min(1024u, (spec.head_dim + kWarpLanes - 1) / kWarpLanes * kWarpLanes);
  k.Launch({.block = {threads, 1, 1}, .grid = {spec.kv_heads, rows, 1}});
  k.Costs({.bytes = rows * (row_elements * 8 + spec.kv_heads * cell_bytes * 2), .flops = 0});

  const Val<U32> position = positions.Load(k.CtaY());
  const Val<U32> slot = several ? row_slots->Load(k.CtaY()) : k.Const<U32>(0);
  k.If(position < context && slot < slots, [&] {
    const Val<U32> from = k.CtaY() * row_elements + k.CtaX() * spec.head_dim;
    const Val<U32> to = (slot * spec.kv_heads + k.CtaX()) * context + position;
    const auto store = [&](const In<F32>& head, const InOut<U8>& cell) {
      StoreKvCell(
          k, {spec.type, spec.head_dim, threads}, [&](const Val<U32>& d) { return head.Load(d); },
          cell);
    };
    store(keys.At(from), k_cache.At(to, cell_bytes));
    store(values.At(from), v_cache.At(to, cell_bytes));
  });
  return std::move(k).Finish();
}

std::vector<KvAppendSpec> KvAppendVariants() {
  constexpr QuantType kQ8 = QuantType::kQ8_0;
  constexpr QuantType kF16 = QuantType::kF16;
  return {{2, 64, 512, 1},
          {8, 128, 4096, 1},
          {1, 80, 100, 3},
          {4, 96, 33, 2},
          {2, 256, 64, 1},
          {8, 128, std::nullopt, 1},
          {3, 1, 5, 1},
          {2, 64, 512, std::nullopt},
          {2, 64, 33, 3, kF16, 5},
          {2, 128, std::nullopt, std::nullopt, kF16, std::nullopt},
          {2, 64, 33, 1, kQ8},
          {3, 96, 33, 3, kQ8, 4},
          {1, 32, 7, 2, kQ8},
          {1, 2048, 3, 1, kQ8},
          {2, 128, std::nullopt, std::nullopt, kQ8, std::nullopt}};
}

}  // namespace ptxsmith

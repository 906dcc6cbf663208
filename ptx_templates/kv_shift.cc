#include "ptx_templates/kv_shift.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"
#include "codegen/warp.h"

namespace ptxsmith {
namespace {

// Element d of a cell.
Val<F32> LoadElement(const KvShiftSpec& spec, const InOut<U8>& cell, const Val<U32>& d) {
  if (spec.type == QuantType::kF16) return ToF32(cell.As<F16>().Load(d));
  const InOut<U8> block = cell.At(d / kQ8_0Weights, kQ8_0Bytes);
  // Flipping the sign bit turns q into q + 128, an unsigned byte.
  const Val<U32> biased = block.At(kQ8_0Quants).Load(d % kQ8_0Weights) ^ 0x80;
  return (ToF32(biased) - 128.0f) * ToF32(block.As<F16>().Load(0));
}

}  // namespace

absl::StatusOr<KernelSpec> BuildKvShift(const KvShiftSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckKvCell(KvShiftSpec::kFamily, spec.type, spec.head_dim));
  if (spec.rope_dim > spec.head_dim) {
    return absl::InvalidArgumentError(
        absl::StrCat("kv_shift: rope_dim=", spec.rope_dim, " exceeds head_dim=", spec.head_dim));
  }
  KernelBuilder k(KeyOf(spec, target), KvShiftSpec::kFamily, target);
  uint32_t next_param = 4;
  const auto size = [&](const std::optional<uint32_t>& baked) {
    return baked ? SizeExpr(*baked) : SizeExpr::Param(next_param++);
  };
  const SizeExpr context_size = size(spec.context);
  const SizeExpr positions = size(spec.positions);
  const SizeExpr slots_size = size(spec.slots);
  const uint32_t cell_bytes = KvCellBytes(spec.type, spec.head_dim);
  const SizeExpr cache_size = slots_size * context_size * (uint64_t{spec.kv_heads} * cell_bytes);
  const auto k_cache = k.Param<InOut<U8>>("k_cache", {.count = cache_size});
  const auto v_cache = k.Param<InOut<U8>>("v_cache", {.count = cache_size});
  const auto rates = k.Param<In<F32>>("rates", {.count = spec.rope_dim, .constant = true});
  const auto move = k.Param<In<U32>>("move", {.count = 3, .alignment = 4});
  const Dim context = k.ParamDim("context", spec.context);
  k.ParamDim("positions", spec.positions);
  const Dim slots = k.ParamDim("slots", spec.slots);
  const uint32_t threads =
      std::min(1024u, (spec.head_dim + kWarpLanes - 1) / kWarpLanes * kWarpLanes);
  k.Launch({.block = {threads, 1, 1}, .grid = {positions, spec.kv_heads, 1}});
  const uint64_t heads = spec.kv_heads;
  k.Costs({.bytes = positions * (heads * cell_bytes * 4),
           .flops = positions * (heads * 3 * spec.rope_dim)});

  const auto head = k.SharedArray<F32>("head", spec.head_dim);
  const Val<U32> slot = move.Load(0);
  const Val<U32> to = move.Load(1) + k.CtaX();
  const Val<U32> drop = move.Load(2);
  const Val<U32> from = to + drop;
  k.If(from < context && slot < slots, [&] {
    const Val<U32> first = (slot * spec.kv_heads + k.CtaY()) * context;
    const auto cell = [&](const InOut<U8>& cache, const Val<U32>& position) {
      return cache.At(first + position, cell_bytes);
    };
    const auto each = [&](uint32_t count, auto&& body) {
      k.For(k.ThreadX(), count, {.step = threads}, body);
    };
    each(spec.head_dim,
         [&](const Val<U32>& d) { head.Store(d, LoadElement(spec, cell(k_cache, from), d)); });
    k.Barrier();
    const uint32_t pairs = spec.rope_dim / 2;
    k.If(k.ThreadX() < pairs, [&] {
      const Val<U32> i = k.ThreadX();
      const auto [hi, lo] = rates.Load<2>(i * 2);
      const auto [cosine, sine] = CosSinTurns(FractionOfTurns(ToF32(drop), hi, lo));
      const bool adjacent = spec.pairing == RopePairing::kAdjacent;
      const Val<U32> at_a = adjacent ? i * 2 : i;
      const Val<U32> at_b = adjacent ? at_a + 1 : i + pairs;
      const Val<F32> a = head.Load(at_a);
      const Val<F32> b = head.Load(at_b);
      head.Store(at_a, a * cosine + b * sine);
      head.Store(at_b, b * cosine - a * sine);
    });
    k.Barrier();
    StoreKvCell(
        k, {spec.type, spec.head_dim, threads}, [&](const Val<U32>& d) { return head.Load(d); },
        cell(k_cache, to));
    each(cell_bytes / 2, [&](const Val<U32>& i) {
      cell(v_cache, to).As<U16>().Store(i, cell(v_cache, from).As<U16>().Load(i));
    });
  });
  return std::move(k).Finish();
}

std::vector<KvShiftSpec> KvShiftVariants() {
  constexpr RopePairing kAdjacent = RopePairing::kAdjacent;
  constexpr RopePairing kHalves = RopePairing::kHalfSplit;
  constexpr QuantType kF16 = QuantType::kF16;
  constexpr QuantType kQ8 = QuantType::kQ8_0;
  return {{kAdjacent, 2, 64, 64, 33, 3},
          {kHalves, 2, 128, 128, 40, std::nullopt},
          {kHalves, 1, 80, 32, 33, 2, kF16, 3},
          {kAdjacent, 2, 256, 256, 9, std::nullopt, kF16, std::nullopt},
          {kAdjacent, 1, 2, 2, 5, 1},
          {kHalves, 2, 64, 64, 33, 3, kQ8},
          {kAdjacent, 1, 96, 64, std::nullopt, std::nullopt, kQ8, std::nullopt},
          {kHalves, 1, 2048, 2048, 3, 1, kQ8}};
}

}  // namespace ptxsmith

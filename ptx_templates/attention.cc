#include "ptx_templates/attention.h"

#include <cmath>
#include <deque>
#include <limits>

#include "absl/strings/str_cat.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"
#include "codegen/warp.h"

namespace ptxsmith {
namespace {

constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// The elements of a head that one lane holds: pairs 2 l, 2 l + 1 of every 64 when the head has
// whole 64s (one 4-byte load of two halves), else element l of every 32.
std::vector<Val<F32>> LoadHalves(const In<F16>& head, const Val<U32>& lane, uint32_t head_dim) {
  std::vector<Val<F32>> values;
  if (head_dim % 64 == 0) {
    for (uint32_t i = 0; i < head_dim; i += 64) {
      for (const Val<F32>& v : UnpackHalf2(head.As<U32>().At(i / 2).Load(lane)))
        values.push_back(v);
    }
  } else {
    for (uint32_t i = 0; i < head_dim; i += 32) values.push_back(ToF32(head.At(i).Load(lane)));
  }
  return values;
}

// The index in the head of the lane's j-th element, in the order of LoadHalves.
Val<U32> ElementIndex(const Val<U32>& lane, uint32_t head_dim, uint32_t j) {
  if (head_dim % 64 == 0) return lane * 2 + (j / 2 * 64 + j % 2);
  return lane + j * 32;
}

}  // namespace

absl::StatusOr<KernelSpec> BuildAttention(const AttentionSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  if (spec.heads % spec.kv_heads != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "attention: heads=", spec.heads, " is not a multiple of kv_heads=", spec.kv_heads));
  }
  KernelBuilder k(KeyOf(spec, target), AttentionSpec::kFamily, target);

  const uint32_t dim = spec.head_dim;
  const uint32_t per_lane = dim / kWarpLanes;
  const SizeExpr context_size = spec.context ? SizeExpr(*spec.context) : SizeExpr::Param(5);
  const SizeExpr cache_size = context_size * spec.kv_heads * dim;
  const auto o = k.Param<Out<F32>>("o", {.count = spec.heads * dim});
  const auto q = k.Param<In<F32>>("q", {.count = spec.heads * dim});
  const auto k_cache = k.Param<In<F16>>("k_cache", {.count = cache_size});
  const auto v_cache = k.Param<In<F16>>("v_cache", {.count = cache_size});
  const auto positions = k.Param<In<U32>>("positions", {.count = 1, .alignment = 4});
  const Dim context = k.ParamDim("context", spec.context);

  k.Launch({.block = {32 * spec.warps, 1, 1}, .grid = {spec.heads, 1, 1}});
  // For a full cache; a shorter sequence reads its share.
  k.Costs({.bytes = cache_size * 4 + spec.heads * dim * 8,
           .flops = context_size * spec.heads * dim * 4});

  const Val<U32> lane = k.Lane();
  const Val<U32> warp = k.Warp();
  const Val<U32> head = k.CtaX();
  const Val<U32> kv_head = head / (spec.heads / spec.kv_heads);
  const Val<U32> length = Min(positions.Load(0) + 1, context);
  const In<F16> keys = k_cache.At(kv_head * context, 2 * dim);
  const In<F16> values = v_cache.At(kv_head * context, 2 * dim);

  // The scale goes into the query once instead of into every score.
  const float scale = 1.0f / std::sqrt(static_cast<float>(dim));
  std::vector<Val<F32>> query;
  for (uint32_t j = 0; j < per_lane; ++j) {
    query.push_back(q.Load(head * dim + ElementIndex(lane, dim, j)) * scale);
  }

  Var<F32> best = k.NewVar<F32>(kMinusInfinity);
  Var<F32> denominator = k.NewVar<F32>(0.0f);
  std::deque<Var<F32>> sums;  // of weighted values, one per element of the lane
  for (uint32_t j = 0; j < per_lane; ++j) sums.emplace_back(&k.recorder(), Operand<F32>(0.0f));

  k.For(warp, length, {.step = spec.warps}, [&](const Val<U32>& p) {
    Var<F32> dot = k.NewVar<F32>(0.0f);
    const std::vector<Val<F32>> key = LoadHalves(keys.At(p, 2 * dim), lane, dim);
    for (uint32_t j = 0; j < per_lane; ++j) dot.Fma(query[j], key[j]);
    const Val<F32> score = WarpSum(dot);
    const Val<F32> new_best = Max(best, score);
    const Val<F32> shrink = Exp(best - new_best);
    const Val<F32> weight = Exp(score - new_best);
    best = new_best;
    denominator = Fma(denominator, shrink, weight);
    const std::vector<Val<F32>> value = LoadHalves(values.At(p, 2 * dim), lane, dim);
    for (uint32_t j = 0; j < per_lane; ++j) sums[j] = Fma(value[j], weight, sums[j] * shrink);
  });

  // Join the warps: all rescale to the common maximum. A warp without positions has weight 0.
  const Shared<F32> bests = k.SharedArray<F32>("bests", spec.warps);
  const Shared<F32> denominators = k.SharedArray<F32>("denominators", spec.warps);
  const Shared<F32> partial = k.SharedArray<F32>("partial", spec.warps * dim);
  k.If(lane == 0, [&] {
    bests.Store(warp, best);
    denominators.Store(warp, denominator);
  });
  for (uint32_t j = 0; j < per_lane; ++j) {
    partial.Store(warp * dim + ElementIndex(lane, dim, j), sums[j]);
  }
  k.Barrier();
  Var<F32> overall = k.NewVar<F32>(bests.Load(0));
  for (uint32_t w = 1; w < spec.warps; ++w) overall = Max(overall, bests.Load(w));
  Var<F32> total = k.NewVar<F32>(0.0f);
  std::vector<Val<F32>> share;
  for (uint32_t w = 0; w < spec.warps; ++w) {
    share.push_back(Exp(bests.Load(w) - overall));
    total.Fma(denominators.Load(w), share[w]);
  }
  k.For(k.ThreadX(), dim, {.step = 32 * spec.warps}, [&](const Val<U32>& d) {
    Var<F32> sum = k.NewVar<F32>(0.0f);
    for (uint32_t w = 0; w < spec.warps; ++w) sum.Fma(partial.Load(d + w * dim), share[w]);
    o.Store(head * dim + d, sum / total);
  });
  return std::move(k).Finish();
}

std::vector<AttentionSpec> AttentionVariants() {
  std::vector<AttentionSpec> variants;
  for (uint32_t dim : {32u, 64u, 96u, 128u, 256u}) {
    for (uint32_t warps : {1u, 4u, 16u}) variants.push_back({4, 2, dim, 64, warps});
  }
  variants.push_back({32, 8, 128, 4096, 8});
  variants.push_back({3, 1, 64, std::nullopt, 2});
  return variants;
}

}  // namespace ptxsmith

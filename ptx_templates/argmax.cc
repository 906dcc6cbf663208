#include "ptx_templates/argmax.h"

#include <limits>

#include "codegen/kernel_builder.h"
#include "codegen/warp.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kNone = UINT32_MAX;  // the index that stands for "nothing yet": loses every tie

struct Best {
  Var<F32> value;
  Var<U32> index;

  // Takes the candidate when it is larger, or equal with a lower index. NaN compares false.
  void Offer(const Val<F32>& candidate, const Val<U32>& at) {
    const Pred better = candidate > value || (candidate == value && at < index);
    const Val<F32> new_value = Select<F32>(better, candidate, value);
    index = Select<U32>(better, at, index);
    value = new_value;
  }

  void ReduceWarp() {
    for (uint32_t mask = kWarpLanes / 2; mask > 0; mask /= 2) {
      Offer(ShuffleXor<F32>(value, mask), ShuffleXor<U32>(index, mask));
    }
  }
};

}  // namespace

absl::StatusOr<KernelSpec> BuildArgmax(const ArgmaxSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), ArgmaxSpec::kFamily, target);
  const SizeExpr count = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(2);
  const auto result = k.Param<Out<U32>>("index", {.count = 1, .alignment = 4});
  const auto x = k.Param<In<F32>>("x", {.count = count});
  const Dim n = k.ParamDim("n", spec.n);
  k.Launch({.block = {spec.threads, 1, 1}, .grid = {1, 1, 1}});
  k.Costs({.bytes = count * 4 + 4, .flops = count});

  const uint32_t warps = spec.threads / kWarpLanes;
  Best best{{&k.recorder(), -std::numeric_limits<float>::infinity()}, {&k.recorder(), kNone}};
  k.For(k.ThreadX(), n, {.step = spec.threads},
        [&](const Val<U32>& i) { best.Offer(x.Load(i), i); });
  best.ReduceWarp();

  const Shared<F32> values = k.SharedArray<F32>("values", kWarpLanes);
  const Shared<U32> indices = k.SharedArray<U32>("indices", kWarpLanes);
  const Val<U32> lane = k.Lane();
  const Val<U32> warp = k.Warp();
  k.If(lane == 0, [&] {
    values.Store(warp, best.value);
    indices.Store(warp, best.index);
  });
  k.Barrier();
  k.If(warp == 0, [&] {
    Best overall{{&k.recorder(), -std::numeric_limits<float>::infinity()}, {&k.recorder(), kNone}};
    k.If(lane < warps, [&] { overall.Offer(values.Load(lane), indices.Load(lane)); });
    overall.ReduceWarp();
    k.If(lane == 0, [&] {
      const Val<U32> index = overall.index;
      result.Store(0, Select<U32>(index == kNone, 0, index));
    });
  });
  return std::move(k).Finish();
}

std::vector<ArgmaxSpec> ArgmaxVariants() {
  std::vector<ArgmaxSpec> variants;
  for (uint32_t threads : {32u, 128u, 256u, 512u, 1024u}) variants.push_back({1000, threads});
  variants.push_back({128256, 1024});
  variants.push_back({1, 32});
  variants.push_back({std::nullopt, 1024});
  return variants;
}

}  // namespace ptxsmith

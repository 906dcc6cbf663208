#include "ptx_templates/quantize_q8_1.h"

#include "codegen/kernel_builder.h"
#include "codegen/status_macros.h"
#include "codegen/warp.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kLanes = kQ8_1Block / 4;  // that share a block

// Reduces over the eight lanes of a block: the same bits in all of them.
template <class F>
Val<F32> BlockReduce(const Val<F32>& value, F&& combine) {
  const auto level = [&](const auto& self, const Val<F32>& v, uint32_t mask) -> Val<F32> {
    const Val<F32> joined = combine(v, ShuffleXor(v, mask));
    return mask == 1 ? joined : self(self, joined, mask / 2);
  };
  return level(level, value, kLanes / 2);
}

// Adding 1.5 * 2^23 leaves the nearest integer in the low bits of the sum.
constexpr float kRound = 12582912.0f;

// The integer nearest to v, halves away from zero. |v| < 2^22.
Val<F32> Round(const Val<F32>& v) {
  const Val<F32> even = (v + kRound) - kRound;
  const Val<F32> rest = v - even;  // exact; half when the tie went down
  const Val<F32> up = Select<F32>(rest == 0.5f && v > 0.0f, even + 1.0f, even);
  return Select<F32>(rest == -0.5f && v < 0.0f, up - 1.0f, up);
}

// Four integers of at most 127 as signed bytes, the first in the lowest.
Val<U32> PackBytes(const Vec<F32, 4>& q) {
  const auto bits = MakeVec<4>([&](size_t i) { return Bitcast<U32>(q[i] + kRound); });
  const Val<U32> low = Permute(bits[0], bits[1], 0x0040);
  const Val<U32> high = Permute(bits[2], bits[3], 0x0040);
  return Permute(low, high, 0x5410);
}

}  // namespace

absl::StatusOr<KernelSpec> BuildQuantizeQ8_1(const QuantizeQ8_1Spec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), QuantizeQ8_1Spec::kFamily, target);
  const SizeExpr count = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(2);
  const SizeExpr bytes = CeilDiv(count, kQ8_1Block) * kQ8_1Bytes;
  const auto y = k.Param<Out<U8>>("y", {.count = bytes});
  const auto x = k.Param<In<F32>>("x", {.count = count});
  const Dim n = k.ParamDim("n", spec.n, kQ8_1Block);
  k.Launch({.block = {spec.threads, 1, 1}, .grid = {CeilDiv(count, 4 * spec.threads), 1, 1}});
  k.Costs({.bytes = count * 4 + bytes, .flops = count * 8});

  // Lanes beyond the end take part in the reductions with zeros.
  const Val<U32> first = k.GlobalThread() * 4;
  const Pred exists = first < n;
  Var<F32> v0 = k.NewVar<F32>(0.0f), v1 = k.NewVar<F32>(0.0f);
  Var<F32> v2 = k.NewVar<F32>(0.0f), v3 = k.NewVar<F32>(0.0f);
  k.If(exists, [&] {
    const Vec<F32, 4> loaded = x.Load<4>(first);
    v0 = loaded[0];
    v1 = loaded[1];
    v2 = loaded[2];
    v3 = loaded[3];
  });
  const Vec<F32, 4> v({v0, v1, v2, v3});
  const Val<F32> mine = Max(Max(Abs(v[0]), Abs(v[1])), Max(Abs(v[2]), Abs(v[3])));
  const Val<F32> largest =
      BlockReduce(mine, [](const Val<F32>& a, const Val<F32>& b) { return Max(a, b); });
  const Val<F32> d = largest / 127.0f;
  const Val<F32> inverse = Select<F32>(d > 1e-30f, Constant<F32>(d, 1.0f) / d, 0.0f);
  const auto q = MakeVec<4>([&](size_t i) { return Round(v[i] * inverse); });
  const Val<F32> sum =
      BlockReduce(Sum(q), [](const Val<F32>& a, const Val<F32>& b) { return a + b; });
  k.If(exists, [&] {
    const Out<U8> block = y.At(first / kQ8_1Block, kQ8_1Bytes);
    const Val<U32> lane = k.Lane() % kLanes;
    block.At(4).As<U32>().Store(lane, PackBytes(q));
    k.If(lane == 0, [&] { block.As<U32>().Store(0, PackHalf2(d, d * sum)); });
  });
  return std::move(k).Finish();
}

std::vector<QuantizeQ8_1Spec> QuantizeQ8_1Variants() {
  return {{32, 32}, {4096, 128}, {14336, 256}, {1056, 64}, {std::nullopt, 128}};
}

}  // namespace ptxsmith

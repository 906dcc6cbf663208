// Collectives of one thread block.
//
//   Val<F32> total = BlockSum(k, partial, warps);   // the same bits in every thread
#ifndef PTXSMITH_CODEGEN_BLOCK_H_
#define PTXSMITH_CODEGEN_BLOCK_H_

#include <cstdint>

#include "codegen/kernel_builder.h"
#include "codegen/warp.h"

namespace ptxsmith {

// Combines `value` over the `warps` warps of the block, with one shared array of `warps` elements
// and one barrier: first in each warp, then every thread combines the warps' results in the same
// order. `name` names the array: use a fresh one for each call, so that no second barrier is
// needed.
template <class T, class F>
Val<T> BlockReduce(KernelBuilder& k, const Val<T>& value, uint32_t warps, absl::string_view name,
                   F&& combine) {
  const Val<T> mine = WarpReduce(value, combine);
  if (warps == 1) return mine;
  const Shared<T> results = k.SharedArray<T>(name, warps);
  k.If(k.Lane() == 0, [&] { results.Store(k.Warp(), mine); });
  k.Barrier();
  Var<T> total = k.NewVar<T>(results.Load(0));
  for (uint32_t w = 1; w < warps; ++w) total = combine(total, results.Load(w));
  return total;
}

inline Val<F32> BlockSum(KernelBuilder& k, const Val<F32>& value, uint32_t warps,
                         absl::string_view name) {
  return BlockReduce(k, value, warps, name, [](const auto& a, const auto& b) { return a + b; });
}
inline Val<F32> BlockMax(KernelBuilder& k, const Val<F32>& value, uint32_t warps,
                         absl::string_view name) {
  return BlockReduce(k, value, warps, name, [](const auto& a, const auto& b) { return Max(a, b); });
}

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_BLOCK_H_

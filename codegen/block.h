// Collectives of one thread block.
//
//   Val<F32> total = BlockSum(k, partial, warps);   // the same bits in every thread
#ifndef PTXSMITH_CODEGEN_BLOCK_H_
#define PTXSMITH_CODEGEN_BLOCK_H_

#include <cstdint>

#include "codegen/kernel_builder.h"
#include "codegen/warp.h"

namespace ptxsmith {

// Sums `value` over the `warps` warps of the block, with one shared array of `warps` floats and one
// barrier: first in each warp, then every thread adds the warps' sums in the same order. `name`
// names the array: use a fresh one for each call, so that no second barrier is needed.
inline Val<F32> BlockSum(KernelBuilder& k, const Val<F32>& value, uint32_t warps,
                         absl::string_view name) {
  const Val<F32> mine = WarpSum(value);
  if (warps == 1) return mine;
  const Shared<F32> sums = k.SharedArray<F32>(name, warps);
  k.If(k.Lane() == 0, [&] { sums.Store(k.Warp(), mine); });
  k.Barrier();
  Var<F32> total = k.NewVar<F32>(sums.Load(0));
  for (uint32_t w = 1; w < warps; ++w) total += sums.Load(w);
  return total;
}

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_BLOCK_H_

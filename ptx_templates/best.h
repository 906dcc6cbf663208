// The largest of many elements and where it is: the state of one thread while it searches, and the
// join of a warp's and a block's. Used by argmax and top_k.
//
//   Best best(k);
//   k.For(k.ThreadX(), n, {.step = threads}, [&](const Val<U32>& i) { best.Offer(x.Load(i), i); });
//   best.ReduceBlock(k, scratch, warps);   // now the same in every thread
//
// NaNs never win; of equal elements the one with the lowest index does.
#ifndef PTXSMITH_PTX_TEMPLATES_BEST_H_
#define PTXSMITH_PTX_TEMPLATES_BEST_H_

#include <limits>

#include "codegen/kernel_builder.h"
#include "codegen/warp.h"

namespace ptxsmith {

struct Best {
  // The index that stands for "nothing yet": loses every tie.
  static constexpr uint32_t kNone = UINT32_MAX;

  // Elements in shared memory.
  struct Array {
    Array(KernelBuilder& k, absl::string_view name, uint32_t count)
        : values(k.SharedArray<F32>(absl::StrCat(name, "_values"), count)),
          indices(k.SharedArray<U32>(absl::StrCat(name, "_indices"), count)) {}
    void Store(const Val<U32>& at, const Best& best) const {
      values.Store(at, best.value);
      indices.Store(at, best.index);
    }
    Shared<F32> values;
    Shared<U32> indices;
  };

  explicit Best(KernelBuilder& k)
      : value(&k.recorder(), -std::numeric_limits<float>::infinity()),
        index(&k.recorder(), kNone) {}

  // Takes the candidate when it is larger, or equal with a lower index. NaN compares false.
  void Offer(const Val<F32>& candidate, const Val<U32>& at) {
    const Pred better = candidate > value || (candidate == value && at < index);
    const Val<F32> new_value = Select<F32>(better, candidate, value);
    index = Select<U32>(better, at, index);
    value = new_value;
  }
  void Offer(const Array& array, const Val<U32>& at) {
    Offer(array.values.Load(at), array.indices.Load(at));
  }

  // The best of the warp, in every lane.
  void ReduceWarp() {
    for (uint32_t mask = kWarpLanes / 2; mask > 0; mask /= 2) {
      Offer(ShuffleXor<F32>(value, mask), ShuffleXor<U32>(index, mask));
    }
  }

  // The best of the block's `warps` warps, in every thread. `scratch` holds as many elements; it
  // may be used again after another barrier.
  void ReduceBlock(KernelBuilder& k, const Array& scratch, uint32_t warps) {
    ReduceWarp();
    if (warps == 1) return;
    k.If(k.Lane() == 0, [&] { scratch.Store(k.Warp(), *this); });
    k.Barrier();
    k.If(k.Lane() < warps, [&] { Offer(scratch, k.Lane()); });
    ReduceWarp();
  }

  Var<F32> value;
  Var<U32> index;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_BEST_H_

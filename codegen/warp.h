// Collectives of one warp, written in the kernel language itself. All 32 lanes take part: they are
// refused where some lanes may be elsewhere.
//
//   Val<F32> total = WarpSum(partial);   // the same bits in every lane
#ifndef PTXSMITH_CODEGEN_WARP_H_
#define PTXSMITH_CODEGEN_WARP_H_

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "codegen/ops.h"
#include "codegen/val.h"

namespace ptxsmith {

inline constexpr uint32_t kWarpLanes = 32;

// The value of lane ^ mask: shfl.sync.bfly.b32
template <class T>
requires(kByteSize<T> == 4) Val<T> ShuffleXor(const Val<T>& value, uint32_t mask,
                                              SourceLoc loc = SourceLoc::Here()) {
  return {value.recorder(), value.recorder()->Emit(TypeTraits<T>::kClass, "shfl.sync.bfly.b32",
                                                   {value.ir(), Recorder::Int(mask),
                                                    Recorder::Int(31), Recorder::Int(0xffffffff)},
                                                   loc, ir::Op::kWarp)};
}

// The value of one lane, in all of them; `lane` is the same in all. shfl.sync.idx.b32
template <class T>
requires(kByteSize<T> == 4) Val<T> Broadcast(const Val<T>& value, Operand<U32> lane,
                                             SourceLoc loc = SourceLoc::Here()) {
  return {value.recorder(), value.recorder()->EmitUniform(
                                ir::Uniformity::kWarp, TypeTraits<T>::kClass, "shfl.sync.idx.b32",
                                {value.ir(), lane.ir, Recorder::Int(31), Recorder::Int(0xffffffff)},
                                loc, ir::Op::kWarp)};
}

// Whether `p` holds in all lanes, the same in all of them: vote.sync.all.pred
inline Pred All(const Pred& p, SourceLoc loc = SourceLoc::Here()) {
  if (p.constant()) return p;
  return {p.recorder(),
          p.recorder()->EmitUniform(ir::Uniformity::kWarp, RegClass::kPred, "vote.sync.all.pred",
                                    {p.ir(), Recorder::Int(0xffffffff)}, loc, ir::Op::kWarp)};
}

// combine over all lanes by a butterfly of xor 16, 8, 4, 2, 1. With a commutative `combine` every
// lane ends with the same bits.
template <class T, class F>
Val<T> WarpReduce(const Val<T>& value, F&& combine) {
  // Five levels in a recursion, as a Val cannot be assigned.
  const auto level = [&](const auto& self, const Val<T>& v, uint32_t mask) -> Val<T> {
    const Val<T> joined = combine(v, ShuffleXor(v, mask));
    return mask == 1 ? joined : self(self, joined, mask / 2);
  };
  return MarkWarpUniform(level(level, value, kWarpLanes / 2));
}

// Says that all lanes hold the same value, which the operands do not show. mov, removed by ptxas.
template <class T>
Val<T> MarkWarpUniform(const Val<T>& value) {
  return {value.recorder(),
          value.recorder()->EmitUniform(ir::Uniformity::kWarp, TypeTraits<T>::kClass,
                                        absl::StrCat("mov.", TypeTraits<T>::kOp), {value.ir()},
                                        SourceLoc{}),
          value.multiple_of()};
}

inline Val<F32> WarpSum(const Val<F32>& value) {
  return WarpReduce(value, [](const Val<F32>& a, const Val<F32>& b) { return a + b; });
}
inline Val<F32> WarpMax(const Val<F32>& value) {
  return WarpReduce(value, [](const Val<F32>& a, const Val<F32>& b) { return Max(a, b); });
}

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_WARP_H_

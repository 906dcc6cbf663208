// Records one kernel: its signature, its geometry and its body.
//
//   KernelBuilder k("scale:n=4096@sm_80.ptx70", "scale", target);
//   const Dim n = k.ParamDim("n", spec.n);
//   const auto x = k.Param<In<F32>>("x", {.count = n.size()});
//   const auto y = k.Param<Out<F32>>("y", {.count = n.size()});
//   k.Launch({.block = {256}, .grid = {CeilDiv(n.size(), 256)}});
//   const Val<U32> i = k.GlobalThread();
//   k.If(i < n, [&] { y.Store(i, x.Load(i) * 2.0f); });
//   return std::move(k).Finish();
//
// Lower-case `if` and `for` run now and specialise; k.If and k.For run on the GPU. A mistake that
// C++ cannot refuse is kept (the first one, with its C++ line) and returned by Finish(); calls
// after it are harmless. Not thread-safe: one thread records one kernel.
#ifndef PTXSMITH_CODEGEN_KERNEL_BUILDER_H_
#define PTXSMITH_CODEGEN_KERNEL_BUILDER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "codegen/memory.h"
#include "codegen/ops.h"
#include "codegen/val.h"

namespace ptxsmith {

// A size: a constant when the spec bakes it, else a parameter. Usable as a value and in LaunchRule.
class Dim : public Val<U32> {
 public:
  Dim(const Val<U32>& val, SizeExpr size) : Val<U32>(val), size_(std::move(size)) {}
  const SizeExpr& size() const { return size_; }

 private:
  SizeExpr size_;
};

struct PointerOptions {
  SizeExpr count;           // elements the buffer must hold; checked when binding
  uint32_t alignment = 16;  // bytes; checked when binding
  bool constant = false;  // nothing writes it while the kernel runs (weights, tables): ld.global.nc
};

struct ForOptions {
  uint32_t step = 1;
  uint32_t unroll = 1;  // copies of the body per iteration; order of effects is kept
};

template <class P>
struct PointerTraits;
template <class T, bool kReads, bool kWrites>
struct PointerTraits<Pointer<T, kReads, kWrites>> {
  using Elem = T;
  static constexpr ParamKind kKind = !kWrites ? ParamKind::kIn
                                     : kReads ? ParamKind::kInOut
                                              : ParamKind::kOut;
};

class KernelBuilder {
 public:
  // `key` identifies the text completely; `entry` names the .entry.
  KernelBuilder(absl::string_view key, absl::string_view entry, const Target& target);

  const Target& target() { return recorder_.kernel().target; }

  // --- Signature: parameters appear in the order of these calls. ---

  // A buffer; P is In<T>, Out<T> or InOut<T>.
  template <class P>
  P Param(absl::string_view name, const PointerOptions& options,
          SourceLoc loc = SourceLoc::Here()) {
    using Traits = PointerTraits<P>;
    return P(
        PointerParam(name, Traits::kKind, TypeTraits<typename Traits::Elem>::kElem, options, loc));
  }
  // A size: the constant `baked`, or a u32 parameter whose value must be a multiple of
  // `multiple_of`.
  Dim ParamDim(absl::string_view name, std::optional<uint32_t> baked, uint32_t multiple_of = 1,
               SourceLoc loc = SourceLoc::Here());

  // Geometry and cost. Launch is required, once.
  void Launch(const LaunchRule& rule, SourceLoc loc = SourceLoc::Here());
  void Costs(const Cost& cost) { recorder_.kernel().cost = cost; }

  // An array of shared memory, 16-byte aligned, private to the block, undefined at the start.
  template <class T>
  Shared<T> SharedArray(absl::string_view name, uint32_t count, SourceLoc loc = SourceLoc::Here()) {
    return Shared<T>(
        SharedAddress(name, uint64_t{count} * kByteSize<T>, ir::kSharedAlignment, loc));
  }
  // The same, aligned to a larger power of two, in bytes.
  template <class T>
  Shared<T> AlignedSharedArray(absl::string_view name, uint32_t count, uint32_t alignment,
                               SourceLoc loc = SourceLoc::Here()) {
    return Shared<T>(SharedAddress(name, uint64_t{count} * kByteSize<T>, alignment, loc));
  }

  // --- Values. ---

  template <class T, class L>
  requires LiteralOf<T, L> Val<T> Const(L value) {
    const Operand<T> operand(value);
    return Val<T>(&recorder_, operand.ir, operand.multiple_of);
  }
  Pred True() { return Pred(&recorder_, Recorder::Int(1)); }
  template <class T>
  Var<T> NewVar(Operand<std::type_identity_t<T>> init) {
    return Var<T>(&recorder_, init);
  }

  Val<U32> ThreadX(SourceLoc loc = SourceLoc::Here());  // %tid.x
  Val<U32> Lane(SourceLoc loc = SourceLoc::Here());     // %tid.x % 32
  Val<U32> Warp(SourceLoc loc = SourceLoc::Here());     // %tid.x / 32, uniform over the warp
  Val<U32> CtaX(SourceLoc loc = SourceLoc::Here());     // %ctaid.x
  Val<U32> CtaY(SourceLoc loc = SourceLoc::Here());     // %ctaid.y
  // %ctaid.x * blockDim.x + %tid.x. REQUIRES: Launch was called.
  Val<U32> GlobalThread(SourceLoc loc = SourceLoc::Here());

  // --- Control flow on the GPU. ---

  template <class F>
  void If(const Pred& p, F&& then, SourceLoc loc = SourceLoc::Here()) {
    If(p, std::forward<F>(then), nullptr, loc);
  }
  template <class F, class G>
  void If(const Pred& p, F&& then, G&& otherwise, SourceLoc loc = SourceLoc::Here()) {
    constexpr bool kHasElse = !std::is_same_v<std::decay_t<G>, std::nullptr_t>;
    if (p.constant()) {  // decided now
      if (*p.constant()) {
        then();
      } else if constexpr (kHasElse) {
        otherwise();
      }
      return;
    }
    BeginIf(p, loc);
    then();
    if constexpr (kHasElse) {
      BeginElse(loc);
      otherwise();
    }
    EndIf(loc);
  }

  // body(Val<U32> i) for i = begin, begin + step, ... while i < end. REQUIRES: end + step fits 32
  // bits.
  template <class F>
  void For(Operand<U32> begin, Operand<U32> end, const ForOptions& options, F&& body,
           SourceLoc loc = SourceLoc::Here()) {
    const uint32_t unroll = std::max(1u, options.unroll);
    const uint32_t stride = options.step * unroll;
    const std::optional<uint64_t> b = begin.constant();
    const std::optional<uint64_t> e = end.constant();
    if (options.step == 0) {
      recorder_.Fail(loc, "For with step 0");
      return;
    }
    const auto copies = [&](const Val<U32>& i) {
      for (uint32_t j = 0; j < unroll; ++j) body(i + Operand<U32>(j * options.step, loc));
    };
    if (b && e) {
      const uint64_t trips = *b < *e ? (*e - *b + options.step - 1) / options.step : 0;
      const uint64_t full = trips / unroll;
      const uint32_t rest = static_cast<uint32_t>(*b + full * stride);
      if (full == 1) {
        copies(Const<U32>(*b));
      } else if (full > 1) {
        Loop(begin, Operand<U32>(rest, loc), stride, /*guard=*/false, copies, loc);
      }
      for (uint64_t j = full * unroll; j < trips; ++j) {
        body(Const<U32>(*b + j * options.step));
      }
      return;
    }
    if (unroll == 1) {
      Loop(begin, end, stride, /*guard=*/true, body, loc);
      return;
    }
    const Val<U32> count = Max(end, begin) - begin;
    const Val<U32> rest = begin + (count - count % Operand<U32>(stride, loc));
    Loop(begin, rest, stride, /*guard=*/true, copies, loc);
    Loop(rest, end, options.step, /*guard=*/true, body, loc);
  }

  // Runs body() once and again while the Pred it returns holds: for polling. A thread leaves when
  // its own condition fails, all go on together behind the loop.
  template <class F>
  void Repeat(F&& body, SourceLoc loc = SourceLoc::Here()) {
    const ir::RegId condition = BeginRepeat(loc);
    EndRepeat(condition, body(), loc);
  }

  // All threads of the block: bar.sync 0. Refused where not all of them are known to arrive.
  void Barrier(SourceLoc loc = SourceLoc::Here());
  // The `threads` threads (whole warps) that name barrier `id`, 1 to 15: bar.sync id, threads.
  // Which of them arrive is not checked here; every lane of an arriving warp must.
  void NamedBarrier(uint32_t id, uint32_t threads, SourceLoc loc = SourceLoc::Here());
  // The lanes of the warp, and their memory accesses: bar.warp.sync
  void WarpBarrier(SourceLoc loc = SourceLoc::Here());

  // Programmatic launches (LaunchRule): griddepcontrol.wait blocks until the kernels before this
  // one in the stream are done and their writes visible; griddepcontrol.launch_dependents lets the
  // next one start.
  void WaitForPredecessors(SourceLoc loc = SourceLoc::Here());
  void LaunchDependents(SourceLoc loc = SourceLoc::Here());

  // The kernel, verified and printed, or the first mistake.
  absl::StatusOr<KernelSpec> Finish() &&;

  Recorder& recorder() { return recorder_; }

 private:
  template <class F>
  void Loop(Operand<U32> begin, Operand<U32> end, uint32_t step, bool guard, F&& body,
            SourceLoc loc) {
    const Val<U32> i = BeginLoop(begin, end, step, guard, loc);
    body(i);
    EndLoop(i, end, step, loc);
  }

  Address PointerParam(absl::string_view name, ParamKind kind, ElemType type,
                       const PointerOptions& options, SourceLoc loc);
  Address SharedAddress(absl::string_view name, uint64_t bytes, uint32_t alignment, SourceLoc loc);
  // Adds to the signature; false (and an error) when the name is taken.
  bool AddParam(ParamDesc desc, SourceLoc loc);
  Val<U32> Special(ir::Uniformity uniformity, const char* name, SourceLoc loc);
  void BeginIf(const Pred& p, SourceLoc loc);
  void BeginElse(SourceLoc loc);
  void EndIf(SourceLoc loc);
  Val<U32> BeginLoop(const Operand<U32>& begin, const Operand<U32>& end, uint32_t step, bool guard,
                     SourceLoc loc);
  void EndLoop(const Val<U32>& i, const Operand<U32>& end, uint32_t step, SourceLoc loc);
  ir::RegId BeginRepeat(SourceLoc loc);
  void EndRepeat(ir::RegId condition, const Pred& again, SourceLoc loc);
  void Plain(const char* mnemonic, SourceLoc loc);

  Recorder recorder_;
  bool launched_ = false;
  std::vector<SourceLoc> param_locs_;
  std::vector<ir::RegId> param_regs_;  // the register each parameter was loaded into
};

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_KERNEL_BUILDER_H_

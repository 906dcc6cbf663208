// The values of the kernel language.
//
//   Val<T>   an immutable value: a register written once, or a constant. Copyable, not assignable.
//   Var<T>   a mutable register. Not copyable; turning it into a Val takes a snapshot.
//   Pred     the result of a comparison. Not a bool: `if (pred)` does not compile, k.If(pred, ...)
//   does. Vec<T,N> N values, for vector loads and unrolled arithmetic. Supports structured
//   bindings.
//
//   Val<F32> y = a * x + 2.0f;      // mul.rn.f32, add.rn.f32: never contracted behind your back
//   Val<U32> row = k.CtaX() * 4 + k.Warp();
//
// Every operator is one PTX instruction, except that operations on constants are folded and
// unsigned multiplications, divisions and remainders by powers of two become shifts and masks.
// Types never convert silently: Val<F32> + Val<U32> does not compile; ops.h has the conversions.
#ifndef PTXSMITH_CODEGEN_VAL_H_
#define PTXSMITH_CODEGEN_VAL_H_

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <tuple>
#include <utility>

#include "codegen/recorder.h"
#include "codegen/type.h"

namespace ptxsmith {

template <class T>
class Val;
template <class T>
class Var;

// Host literals that may stand for a T: any integer for integer types, only float for F32.
template <class T, class L>
concept LiteralOf = (IntegerTag<T> && std::integral<L> && !std::same_as<L, bool>) ||
                    (std::same_as<T, F32> && std::same_as<L, float>);

// The largest power of two that a constant is a multiple of; capped, 0 counts as the cap.
inline constexpr uint32_t kMaxMultiple = 1u << 31;
constexpr uint32_t MultipleOfConstant(uint64_t value) {
  const uint64_t low = value & (~value + 1);
  return low == 0 || low > kMaxMultiple ? kMaxMultiple : static_cast<uint32_t>(low);
}

// The result of a comparison.
class Pred {
 public:
  Pred(Recorder* recorder, ir::Operand ir) : recorder_(recorder), ir_(ir) {}
  explicit operator bool() const = delete;

  // The value when it is known while generating.
  std::optional<bool> constant() const {
    if (ir_.kind == ir::Operand::kInt) return ir_.bits != 0;
    return std::nullopt;
  }
  Recorder* recorder() const { return recorder_; }
  const ir::Operand& ir() const { return ir_; }

  // Both sides are evaluated: there is no short circuit on the GPU.
  friend Pred operator&&(const Pred& a, const Pred& b);  // and.pred
  friend Pred operator||(const Pred& a, const Pred& b);  // or.pred
  friend Pred operator!(const Pred& a);                  // not.pred

 private:
  Recorder* recorder_;
  ir::Operand ir_;
};

template <class T>
class Operand;

enum class BinaryOp : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kRem,
  kAnd,
  kOr,
  kXor,
  kShl,
  kShr,
  kMin,
  kMax
};
enum class Compare : uint8_t { kEq, kNe, kLt, kLe, kGt, kGe };

// Untyped cores of the operators, defined in val.cc for each tag.
template <class T>
Val<T> Binary(BinaryOp op, const Operand<T>& a, const Operand<T>& b);
template <class T>
Pred Comparison(Compare compare, const Operand<T>& a, const Operand<T>& b);

// The operators of Val<T>, Var<T> and Operand<T>, found through their common base.
template <class T>
struct Arithmetic {
  friend Val<T> operator+(Operand<T> a, Operand<T> b) { return Binary(BinaryOp::kAdd, a, b); }
  friend Val<T> operator-(Operand<T> a, Operand<T> b) { return Binary(BinaryOp::kSub, a, b); }
  friend Val<T> operator*(Operand<T> a, Operand<T> b) { return Binary(BinaryOp::kMul, a, b); }
  friend Val<T> operator/(Operand<T> a, Operand<T> b) { return Binary(BinaryOp::kDiv, a, b); }
  friend Val<T> operator%(Operand<T> a, Operand<T> b) requires IntegerTag<T> {
    return Binary(BinaryOp::kRem, a, b);
  }
  friend Val<T> operator&(Operand<T> a, Operand<T> b) requires IntegerTag<T> {
    return Binary(BinaryOp::kAnd, a, b);
  }
  friend Val<T> operator|(Operand<T> a, Operand<T> b) requires IntegerTag<T> {
    return Binary(BinaryOp::kOr, a, b);
  }
  friend Val<T> operator^(Operand<T> a, Operand<T> b) requires IntegerTag<T> {
    return Binary(BinaryOp::kXor, a, b);
  }
  // Amounts beyond the width give 0 (or the sign), as PTX defines.
  friend Val<T> operator<<(Operand<T> a, Operand<T> b) requires IntegerTag<T> {
    return Binary(BinaryOp::kShl, a, b);
  }
  friend Val<T> operator>>(Operand<T> a, Operand<T> b) requires IntegerTag<T> {
    return Binary(BinaryOp::kShr, a, b);
  }
  friend Pred operator==(Operand<T> a, Operand<T> b) { return Comparison(Compare::kEq, a, b); }
  friend Pred operator!=(Operand<T> a, Operand<T> b) { return Comparison(Compare::kNe, a, b); }
  friend Pred operator<(Operand<T> a, Operand<T> b) { return Comparison(Compare::kLt, a, b); }
  friend Pred operator<=(Operand<T> a, Operand<T> b) { return Comparison(Compare::kLe, a, b); }
  friend Pred operator>(Operand<T> a, Operand<T> b) { return Comparison(Compare::kGt, a, b); }
  friend Pred operator>=(Operand<T> a, Operand<T> b) { return Comparison(Compare::kGe, a, b); }
  friend Val<T> Min(Operand<T> a, Operand<T> b) { return Binary(BinaryOp::kMin, a, b); }
  friend Val<T> Max(Operand<T> a, Operand<T> b) { return Binary(BinaryOp::kMax, a, b); }
};

// What operators take: a Val, a Var or a literal, and the C++ line it was written on.
template <class T>
class Operand : public Arithmetic<T> {
 public:
  // NOLINTBEGIN(google-explicit-constructor): operands are made from values without a word
  Operand(const Val<T>& val, SourceLoc loc = SourceLoc::Here());
  Operand(const Var<T>& var, SourceLoc loc = SourceLoc::Here());
  template <class L>
  requires LiteralOf<T, L> Operand(L literal, SourceLoc loc = SourceLoc::Here()) : loc(loc) {
    if constexpr (std::same_as<T, F32>) {
      ir = Recorder::Float(literal);
    } else if constexpr (std::same_as<T, U32>) {
      ir = Recorder::Int(static_cast<uint32_t>(literal));
    } else {
      ir = Recorder::Int(static_cast<uint64_t>(static_cast<int64_t>(literal)));
    }
    if constexpr (IntegerTag<T>) multiple_of = MultipleOfConstant(ir.bits);
  }

  // NOLINTEND(google-explicit-constructor)

  std::optional<uint64_t> constant() const {
    if (ir.kind == ir::Operand::kInt || ir.kind == ir::Operand::kFloat) return ir.bits;
    return std::nullopt;
  }

  Recorder* recorder = nullptr;  // null for literals
  ir::Operand ir;
  uint32_t multiple_of = 1;  // a power of two that divides the value
  SourceLoc loc;
};

template <class T>
class Val : public Arithmetic<T> {
 public:
  Val(Recorder* recorder, ir::Operand ir, uint32_t multiple_of = 1)
      : recorder_(recorder), ir_(ir), multiple_of_(multiple_of) {}
  Val(const Val&) = default;
  Val& operator=(const Val&) = delete;  // a Val is written once; use a Var to accumulate

  Recorder* recorder() const { return recorder_; }
  const ir::Operand& ir() const { return ir_; }
  uint32_t multiple_of() const { return multiple_of_; }
  // The value when it is known while generating.
  std::optional<uint64_t> constant() const { return Operand<T>(*this, {}).constant(); }

 private:
  Recorder* recorder_;
  ir::Operand ir_;
  uint32_t multiple_of_;
};

template <class T>
class Var : public Arithmetic<T> {
 public:
  // mov: starts with `init`.
  Var(Recorder* recorder, const Operand<T>& init);
  Var(const Var&) = delete;

  Var& operator=(const Var&) = delete;
  Var& operator=(Operand<T> value) {
    return Assign(TypeTraits<T>::kMove, {value.ir}, value.loc);
  }  // NOLINT
  Var& operator+=(Operand<T> b) {
    return *this = Binary(BinaryOp::kAdd, Operand<T>(*this, b.loc), b);
  }
  Var& operator-=(Operand<T> b) {
    return *this = Binary(BinaryOp::kSub, Operand<T>(*this, b.loc), b);
  }
  Var& operator*=(Operand<T> b) {
    return *this = Binary(BinaryOp::kMul, Operand<T>(*this, b.loc), b);
  }
  Var& operator|=(Operand<T> b) requires IntegerTag<T> {
    return *this = Binary(BinaryOp::kOr, Operand<T>(*this, b.loc), b);
  }
  // this = a * b + this, rounded once: fma.rn.f32.
  Var& Fma(Operand<T> a, Operand<T> b) requires std::same_as<T, F32> {
    return Assign("fma.rn.f32", {a.ir, b.ir, ir_}, a.loc);
  }

  // A snapshot of the present value (a mov that ptxas removes).
  operator Val<T>() const;  // NOLINT(google-explicit-constructor)

  Recorder* recorder() const { return recorder_; }
  const ir::Operand& ir() const { return ir_; }

 private:
  Var& Assign(const char* mnemonic, std::initializer_list<ir::Operand> src, SourceLoc loc);

  Recorder* recorder_;
  ir::Operand ir_;
};

template <class T>
Operand<T>::Operand(const Val<T>& val, SourceLoc loc)
    : recorder(val.recorder()), ir(val.ir()), multiple_of(val.multiple_of()), loc(loc) {}
template <class T>
Operand<T>::Operand(const Var<T>& var, SourceLoc loc)
    : recorder(var.recorder()), ir(var.ir()), loc(loc) {}

// N values of one type. Element-wise work is written with host loops.
template <class T, size_t N>
class Vec {
 public:
  explicit Vec(const std::array<Val<T>, N>& values) : values_(values) {}
  const Val<T>& operator[](size_t i) const { return values_[i]; }
  static constexpr size_t size() { return N; }
  auto begin() const { return values_.begin(); }
  auto end() const { return values_.end(); }

  template <size_t I>
  const Val<T>& get() const {
    return values_[I];
  }

 private:
  std::array<Val<T>, N> values_;
};

// Calls make(i) for i in 0..N-1, in this order, and collects the values.
template <size_t N, class F>
auto MakeVec(F&& make) {
  return [&]<size_t... I>(std::index_sequence<I...>) {
    using V = decltype(make(size_t{0}));
    // A braced list evaluates left to right, so emission order is defined.
    return [&]<class T>(Val<T>*) {
      return Vec<T, N>(std::array<Val<T>, N>{make(I)...});
    }(static_cast<V*>(nullptr));
  }
  (std::make_index_sequence<N>());
}

}  // namespace ptxsmith

template <class T, size_t N>
struct std::tuple_size<ptxsmith::Vec<T, N>> : std::integral_constant<size_t, N> {};
template <size_t I, class T, size_t N>
struct std::tuple_element<I, ptxsmith::Vec<T, N>> {
  using type = ptxsmith::Val<T>;
};

#endif  // PTXSMITH_CODEGEN_VAL_H_

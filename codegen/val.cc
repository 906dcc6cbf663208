#include "codegen/val.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"

namespace ptxsmith {
namespace {

// Folded values follow the machine's arithmetic: wrap-around integers (also the least number / -1),
// shifts that clamp, f32 rounded to nearest. Division by a constant zero is left to the caller to
// refuse.
template <class H>
H FoldInteger(BinaryOp op, H a, H b) {
  constexpr H kWidth = sizeof(H) * 8;
  using U = std::make_unsigned_t<H>;
  const U ua = static_cast<U>(a);
  const U ub = static_cast<U>(b);
  switch (op) {
    case BinaryOp::kAdd:
      return static_cast<H>(ua + ub);
    case BinaryOp::kSub:
      return static_cast<H>(ua - ub);
    case BinaryOp::kMul:
      return static_cast<H>(ua * ub);
    case BinaryOp::kDiv:
      if (std::is_signed_v<H> && b == static_cast<H>(-1)) return static_cast<H>(0 - ua);
      return a / b;
    case BinaryOp::kRem:
      if (std::is_signed_v<H> && b == static_cast<H>(-1)) return 0;
      return a % b;
    case BinaryOp::kAnd:
      return a & b;
    case BinaryOp::kOr:
      return a | b;
    case BinaryOp::kXor:
      return a ^ b;
    case BinaryOp::kShl:
      return ub >= static_cast<U>(kWidth) ? 0 : static_cast<H>(ua << ub);
    case BinaryOp::kShr:
      if (ub >= static_cast<U>(kWidth)) return a < 0 ? static_cast<H>(-1) : 0;
      return a >> b;
    case BinaryOp::kMin:
      return std::min(a, b);
    case BinaryOp::kMax:
      return std::max(a, b);
  }
  return 0;
}

float FoldFloat(BinaryOp op, float a, float b) {
  const bool a_is_less = a < b || (a == b && std::signbit(a));  // -0 is less than +0
  float result = 0;
  switch (op) {
    case BinaryOp::kAdd:
      result = a + b;
      break;
    case BinaryOp::kSub:
      result = a - b;
      break;
    case BinaryOp::kMul:
      result = a * b;
      break;
    case BinaryOp::kDiv:
      result = a / b;
      break;
    default:  // the number when one of the two is none
      result = std::isnan(a) ? b : std::isnan(b) || a_is_less == (op == BinaryOp::kMin) ? a : b;
      break;
  }
  return std::isnan(result) ? std::bit_cast<float>(0x7fffffffu) : result;  // PTX has one NaN
}

template <class T>
struct HostOf;
template <>
struct HostOf<U32> {
  using type = uint32_t;
};
template <>
struct HostOf<S32> {
  using type = int32_t;
};
template <>
struct HostOf<U64> {
  using type = uint64_t;
};

template <class T>
ir::Operand Fold(BinaryOp op, uint64_t a, uint64_t b) {
  if constexpr (std::same_as<T, F32>) {
    return Recorder::Float(FoldFloat(op, std::bit_cast<float>(static_cast<uint32_t>(a)),
                                     std::bit_cast<float>(static_cast<uint32_t>(b))));
  } else {
    using H = typename HostOf<T>::type;
    const H folded = FoldInteger<H>(op, static_cast<H>(a), static_cast<H>(b));
    return Recorder::Int(static_cast<uint64_t>(
        static_cast<std::conditional_t<std::is_signed_v<H>, int64_t, uint64_t>>(folded)));
  }
}

template <class T>
bool FoldCompare(Compare compare, uint64_t a, uint64_t b) {
  const auto test = [compare](auto x, auto y) {
    switch (compare) {
      case Compare::kEq:
        return x == y;
      case Compare::kNe:
        return x != y;
      case Compare::kLt:
        return x < y;
      case Compare::kLe:
        return x <= y;
      case Compare::kGt:
        return x > y;
      default:
        return x >= y;
    }
  };
  if constexpr (std::same_as<T, F32>) {
    return test(std::bit_cast<float>(static_cast<uint32_t>(a)),
                std::bit_cast<float>(static_cast<uint32_t>(b)));
  } else {
    using H = typename HostOf<T>::type;
    return test(static_cast<H>(a), static_cast<H>(b));
  }
}

// By BinaryOp and Compare. As in C++, a NaN is unequal to everything: the float form of != is the
// unordered one.
template <class T>
constexpr const char* kBinaryNames[12] = {};
template <class T>
constexpr const char* kCompareNames[6] = {};
#define PTXSMITH_NAMES_(TAG, TYPE, BITS, ROUND, LOW, UNEQUAL)                               \
  template <>                                                                               \
  constexpr const char* kBinaryNames<TAG>[12] = {                                           \
      "add." ROUND TYPE, "sub." ROUND TYPE, "mul." LOW TYPE, "div." ROUND TYPE,             \
      "rem." TYPE,       "and." BITS,       "or." BITS,      "xor." BITS,                   \
      "shl." BITS,       "shr." TYPE,       "min." TYPE,     "max." TYPE};                  \
  template <>                                                                               \
  constexpr const char* kCompareNames<TAG>[6] = {"setp.eq." TYPE, "setp." UNEQUAL "." TYPE, \
                                                 "setp.lt." TYPE, "setp.le." TYPE,          \
                                                 "setp.gt." TYPE, "setp.ge." TYPE};
PTXSMITH_NAMES_(U32, "u32", "b32", "", "lo.", "ne")
PTXSMITH_NAMES_(S32, "s32", "b32", "", "lo.", "ne")
PTXSMITH_NAMES_(U64, "u64", "b64", "", "lo.", "ne")
PTXSMITH_NAMES_(F32, "f32", "b32", "rn.", "rn.", "neu")
#undef PTXSMITH_NAMES_

template <class T>
const char* Mnemonic(BinaryOp op) {
  return kBinaryNames<T>[static_cast<int>(op)];
}

// The power of two known to divide `a op b`.
template <class T>
uint32_t MultipleOf(BinaryOp op, const Operand<T>& a, const Operand<T>& b) {
  const std::optional<uint64_t> amount = b.constant();
  switch (op) {
    case BinaryOp::kMul:
      return static_cast<uint32_t>(
          std::min<uint64_t>(uint64_t{a.multiple_of} * b.multiple_of, kMaxMultiple));
    case BinaryOp::kAnd:
      return std::max(a.multiple_of, b.multiple_of);
    case BinaryOp::kShl:
      if (!amount || *amount >= 32) return a.multiple_of;
      return static_cast<uint32_t>(
          std::min<uint64_t>(uint64_t{a.multiple_of} << *amount, kMaxMultiple));
    case BinaryOp::kShr:
      if (!amount || *amount >= 32) return 1;
      return std::max(1u, a.multiple_of >> *amount);
    case BinaryOp::kDiv:
      return 1;
    default:  // sums, remainders by a constant, selections: what divides both sides
      return std::min(a.multiple_of, b.multiple_of);
  }
}

bool IsPowerOfTwo(uint64_t value) { return value != 0 && (value & (value - 1)) == 0; }

uint64_t Log2(uint64_t value) { return 63 - static_cast<uint64_t>(__builtin_clzll(value)); }

// a / divisor, which is no power of two, by the high half of a product (Granlund and Montgomery,
// "Division by Invariant Integers using Multiplication", 1994). ptxas does so too, but not with
// numbers that it keeps in uniform registers: there it converts to f32, takes a reciprocal and
// converts back, some forty instructions that wait for each other.
ir::Operand DivideByConstant(Recorder& recorder, const ir::Operand& a, uint64_t divisor,
                             SourceLoc loc) {
  const auto emit = [&](const char* mnemonic, const ir::Operand& x, const ir::Operand& y) {
    return recorder.Emit(RegClass::kB32, mnemonic, {x, y}, loc);
  };
  for (uint32_t shift = 0; shift < 32; ++shift) {
    const uint64_t power = uint64_t{1} << (32 + shift);
    const uint64_t factor = power / divisor + 1;
    if (factor >> 32 != 0) break;
    if (factor * divisor - power > uint64_t{1} << shift) continue;
    const ir::Operand high = emit("mul.hi.u32", a, Recorder::Int(factor));
    return shift == 0 ? high : emit("shr.u32", high, Recorder::Int(shift));
  }
  // The factor has 33 bits: its highest is added by hand.
  const uint64_t bits = Log2(divisor) + 1;
  const uint64_t factor = (((uint64_t{1} << bits) - divisor) << 32) / divisor + 1;
  const ir::Operand high = emit("mul.hi.u32", a, Recorder::Int(factor));
  const ir::Operand rest = emit("shr.u32", emit("sub.u32", a, high), Recorder::Int(1));
  return emit("shr.u32", emit("add.u32", high, rest), Recorder::Int(bits - 1));
}

}  // namespace

template <class T>
Val<T> Binary(BinaryOp op, const Operand<T>& a, const Operand<T>& b) {
  Recorder* recorder = a.recorder != nullptr ? a.recorder : b.recorder;
  const SourceLoc loc = a.recorder != nullptr ? a.loc : b.loc;
  const std::optional<uint64_t> ca = a.constant();
  const std::optional<uint64_t> cb = b.constant();
  const bool divides = op == BinaryOp::kDiv || op == BinaryOp::kRem;
  if constexpr (IntegerTag<T>) {
    if (divides && cb && *cb == 0) {
      recorder->Fail(loc, "division by the constant zero");
      return Val<T>(recorder, a.ir);
    }
  }
  if (ca && cb) {
    const ir::Operand folded = Fold<T>(op, *ca, *cb);
    return Val<T>(recorder, folded, IntegerTag<T> ? MultipleOfConstant(folded.bits) : 1);
  }
  if constexpr (IntegerTag<T>) {
    const bool zero_is_neutral = op == BinaryOp::kAdd || op == BinaryOp::kSub ||
                                 op == BinaryOp::kOr || op == BinaryOp::kXor ||
                                 op == BinaryOp::kShl || op == BinaryOp::kShr;
    if (cb && *cb == 0 && zero_is_neutral) return Val<T>(recorder, a.ir, a.multiple_of);
    if (ca && *ca == 0 && (op == BinaryOp::kAdd || op == BinaryOp::kOr)) {
      return Val<T>(recorder, b.ir, b.multiple_of);
    }
    if (op == BinaryOp::kMul && ca && !cb) return Binary<T>(op, b, a);
    if (cb && *cb == 1 && (op == BinaryOp::kMul || op == BinaryOp::kDiv)) {
      return Val<T>(recorder, a.ir, a.multiple_of);
    }
    if (cb && *cb == 0 && (op == BinaryOp::kMul || op == BinaryOp::kAnd)) {
      return Val<T>(recorder, Recorder::Int(0), kMaxMultiple);
    }
    if (!std::same_as<T, S32> && cb && IsPowerOfTwo(*cb)) {
      if (op == BinaryOp::kMul) return Binary<T>(BinaryOp::kShl, a, Operand<T>(Log2(*cb), b.loc));
      if (op == BinaryOp::kDiv) return Binary<T>(BinaryOp::kShr, a, Operand<T>(Log2(*cb), b.loc));
      if (op == BinaryOp::kRem) return Binary<T>(BinaryOp::kAnd, a, Operand<T>(*cb - 1, b.loc));
    }
    if (std::same_as<T, U32> && cb && divides) {
      const ir::Operand quotient = DivideByConstant(*recorder, a.ir, *cb, loc);
      if (op == BinaryOp::kDiv) return Val<T>(recorder, quotient, MultipleOf(op, a, b));
      const ir::Operand whole =
          recorder->Emit(TypeTraits<T>::kClass, Mnemonic<T>(BinaryOp::kMul), {quotient, b.ir}, loc);
      const ir::Operand rest =
          recorder->Emit(TypeTraits<T>::kClass, Mnemonic<T>(BinaryOp::kSub), {a.ir, whole}, loc);
      return Val<T>(recorder, rest, MultipleOf(op, a, b));
    }
  }
  const ir::Operand result =
      recorder->Emit(TypeTraits<T>::kClass, Mnemonic<T>(op), {a.ir, b.ir}, loc);
  return Val<T>(recorder, result, IntegerTag<T> ? MultipleOf(op, a, b) : 1);
}

template <class T>
Pred Comparison(Compare compare, const Operand<T>& a, const Operand<T>& b) {
  Recorder* recorder = a.recorder != nullptr ? a.recorder : b.recorder;
  const SourceLoc loc = a.recorder != nullptr ? a.loc : b.loc;
  const std::optional<uint64_t> ca = a.constant();
  const std::optional<uint64_t> cb = b.constant();
  if (ca && cb) return Pred(recorder, Recorder::Int(FoldCompare<T>(compare, *ca, *cb) ? 1 : 0));
  return Pred(recorder, recorder->Emit(
                            RegClass::kPred, kCompareNames<T>[static_cast<int>(compare)],
                            { a.ir, b.ir }, loc));
}

template <class T>
Var<T>::Var(Recorder* recorder, const Operand<T>& init)
    : recorder_(recorder),
      ir_(recorder->RegOperand(recorder->NewReg(TypeTraits<T>::kClass, /*is_mutable=*/true))) {
  Assign(TypeTraits<T>::kMove, {init.ir}, init.loc);
}

template <class T>
Var<T>& Var<T>::Assign(const char* mnemonic, std::initializer_list<ir::Operand> src,
                       SourceLoc loc) {
  recorder_->Append(ir::Op::kPlain, mnemonic, src, loc, ir_.reg);
  return *this;
}

template <class T>
Var<T>::operator Val<T>() const {
  return Val<T>(recorder_,
                recorder_->Emit(TypeTraits<T>::kClass, TypeTraits<T>::kMove, {ir_}, SourceLoc{}));
}

Pred operator&&(const Pred& a, const Pred& b) {
  if (a.constant()) return *a.constant() ? b : a;
  if (b.constant()) return *b.constant() ? a : b;
  return Pred(a.recorder(), a.recorder()->Emit(RegClass::kPred, "and.pred", {a.ir(), b.ir()}, {}));
}

Pred operator||(const Pred& a, const Pred& b) {
  if (a.constant()) return *a.constant() ? a : b;
  if (b.constant()) return *b.constant() ? b : a;
  return Pred(a.recorder(), a.recorder()->Emit(RegClass::kPred, "or.pred", {a.ir(), b.ir()}, {}));
}

Pred operator!(const Pred& a) {
  if (a.constant()) return Pred(a.recorder(), Recorder::Int(*a.constant() ? 0 : 1));
  return Pred(a.recorder(), a.recorder()->Emit(RegClass::kPred, "not.pred", {a.ir()}, {}));
}

#define PTXSMITH_INSTANTIATE_(T)                                           \
  template Val<T> Binary(BinaryOp, const Operand<T>&, const Operand<T>&);  \
  template Pred Comparison(Compare, const Operand<T>&, const Operand<T>&); \
  template class Var<T>;
PTXSMITH_INSTANTIATE_(U32)
PTXSMITH_INSTANTIATE_(S32)
PTXSMITH_INSTANTIATE_(U64)
PTXSMITH_INSTANTIATE_(F32)
#undef PTXSMITH_INSTANTIATE_

}  // namespace ptxsmith

// Operations on values beyond the operators of val.h. Each comment names the PTX it emits.
//
//   Val<F32> y = Fma(a, b, c);                         // fma.rn.f32
//   Val<F32> s = Select(lane == 0, total, zero);       // selp.f32
#ifndef PTXSMITH_CODEGEN_OPS_H_
#define PTXSMITH_CODEGEN_OPS_H_

#include <cstdint>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "codegen/val.h"

namespace ptxsmith {

// The constant `value` as a Val of the kernel that `like` belongs to. No instruction.
template <class T, class L, class V>
requires LiteralOf<T, L> Val<T> Constant(const V& like, L value) {
  const Operand<T> operand(value);
  return Val<T>(like.recorder(), operand.ir, operand.multiple_of);
}

// a * b + c with one rounding: fma.rn.f32
inline Val<F32> Fma(Operand<F32> a, Operand<F32> b, Operand<F32> c,
                    SourceLoc loc = SourceLoc::Here()) {
  Recorder* recorder = a.recorder ? a.recorder : b.recorder ? b.recorder : c.recorder;
  return {recorder, recorder->Emit(RegClass::kF32, "fma.rn.f32", {a.ir, b.ir, c.ir}, loc)};
}

// -a, exact: neg.f32
inline Val<F32> Neg(Operand<F32> a, SourceLoc loc = SourceLoc::Here()) {
  return {a.recorder, a.recorder->Emit(RegClass::kF32, "neg.f32", {a.ir}, loc)};
}
// |a|: abs.f32
inline Val<F32> Abs(Operand<F32> a, SourceLoc loc = SourceLoc::Here()) {
  return {a.recorder, a.recorder->Emit(RegClass::kF32, "abs.f32", {a.ir}, loc)};
}
// Correctly rounded square root: sqrt.rn.f32
inline Val<F32> Sqrt(Operand<F32> a, SourceLoc loc = SourceLoc::Here()) {
  return {a.recorder, a.recorder->Emit(RegClass::kF32, "sqrt.rn.f32", {a.ir}, loc)};
}

// p ? a : b: selp
template <NumberTag T>
Val<T> Select(const Pred& p, Operand<T> a, Operand<T> b) {
  if (p.constant()) {
    const Operand<T>& chosen = *p.constant() ? a : b;
    return {p.recorder(), chosen.ir, chosen.multiple_of};
  }
  return {p.recorder(),
          p.recorder()->Emit(TypeTraits<T>::kClass, absl::StrCat("selp.", TypeTraits<T>::kOp),
                             {a.ir, b.ir, p.ir()}, a.loc),
          std::min(a.multiple_of, b.multiple_of)};
}
template <NumberTag T>  // b is no part of the deduction, so that literals and Vars convert
Val<T> Select(const Pred& p, const Val<T>& a, Operand<std::type_identity_t<T>> b) {
  return Select<T>(p, Operand<T>(a), b);
}

// Conversions. Integers to f32 round to nearest: cvt.rn.f32.u32, cvt.rn.f32.s32. f16 to f32 is
// exact: cvt.f32.f16.
template <class T>
requires(std::same_as<T, F16> || std::same_as<T, U32> ||
         std::same_as<T, S32>) Val<F32> ToF32(const Val<T>& a, SourceLoc loc = SourceLoc::Here()) {
  const char* mnemonic = std::is_same_v<T, F16>   ? "cvt.f32.f16"
                         : std::is_same_v<T, S32> ? "cvt.rn.f32.s32"
                                                  : "cvt.rn.f32.u32";
  return {a.recorder(), a.recorder()->Emit(RegClass::kF32, mnemonic, {a.ir()}, loc)};
}
// Round to nearest even: cvt.rn.f16.f32
inline Val<F16> ToF16(Operand<F32> a, SourceLoc loc = SourceLoc::Here()) {
  return {a.recorder, a.recorder->Emit(RegClass::kB16, "cvt.rn.f16.f32", {a.ir}, loc)};
}

// The word of two registers of 16 bits, `low` in the low half: mov.b32
Val<U32> JoinHalves(Recorder* recorder, const ir::Operand& low, const ir::Operand& high,
                    SourceLoc loc);

// Both rounded to nearest even, `low` in the low half. From sm_80 on cvt.rn.f16x2.f32, before it
// cvt.rn.f16.f32 twice and mov.b32.
Val<U32> PackHalf2(const Val<F32>& low, const Val<F32>& high, SourceLoc loc = SourceLoc::Here());
// The same for bf16: from sm_80 on cvt.rn.bf16x2.f32, before it integer arithmetic. NaN gives the
// one NaN 0x7fff in both.
Val<U32> PackBF16x2(const Val<F32>& low, const Val<F32>& high, SourceLoc loc = SourceLoc::Here());

// The same 32 bits under another type: mov.b32, or nothing between U32 and S32.
template <class To, class From>
Val<To> Bitcast(const Val<From>& a, SourceLoc loc = SourceLoc::Here()) {
  static_assert(kByteSize<To> == 4 && kByteSize<From> == 4, "Bitcast is between 32-bit types");
  if constexpr (TypeTraits<To>::kClass == TypeTraits<From>::kClass) {
    if (!a.constant()) return {a.recorder(), a.ir(), a.multiple_of()};
    return Constant<To>(a, static_cast<int32_t>(*a.constant()));  // extended as To asks
  } else {
    return {a.recorder(), a.recorder()->Emit(TypeTraits<To>::kClass, "mov.b32", {a.ir()}, loc)};
  }
}

// `count` bits of `a` from bit `first` on, zero-extended: bfe.u32
inline Val<U32> Bits(const Val<U32>& a, Operand<U32> first, uint32_t count,
                     SourceLoc loc = SourceLoc::Here()) {
  return {a.recorder(), a.recorder()->Emit(RegClass::kB32, "bfe.u32",
                                           {a.ir(), first.ir, Recorder::Int(count)}, loc)};
}

// Four bytes picked out of {b, a} by the nibbles of `selector`, lowest first; 0-3 are bytes of a,
// 4-7 of b: prmt.b32
inline Val<U32> Permute(Operand<U32> a, Operand<U32> b, Operand<U32> selector,
                        SourceLoc loc = SourceLoc::Here()) {
  Recorder* recorder = a.recorder ? a.recorder : b.recorder ? b.recorder : selector.recorder;
  return {recorder, recorder->Emit(RegClass::kB32, "prmt.b32", {a.ir, b.ir, selector.ir}, loc)};
}

// c + the dot product of the four signed bytes of a and of b, wrapping: dp4a.s32.s32
inline Val<S32> Dp4a(Operand<U32> a, Operand<U32> b, Operand<S32> c,
                     SourceLoc loc = SourceLoc::Here()) {
  Recorder* recorder = a.recorder ? a.recorder : b.recorder ? b.recorder : c.recorder;
  return {recorder, recorder->Emit(RegClass::kB32, "dp4a.s32.s32", {a.ir, b.ir, c.ir}, loc)};
}

// The same with unsigned bytes of a: dp4a.u32.s32
inline Val<S32> Dp4aUnsigned(Operand<U32> a, Operand<U32> b, Operand<S32> c,
                             SourceLoc loc = SourceLoc::Here()) {
  Recorder* recorder = a.recorder ? a.recorder : b.recorder ? b.recorder : c.recorder;
  return {recorder, recorder->Emit(RegClass::kB32, "dp4a.u32.s32", {a.ir, b.ir, c.ir}, loc)};
}

// The two f16 of a word, widened; low half first: mov.b32 {lo, hi}, cvt.f32.f16 twice
Vec<F32, 2> UnpackHalf2(const Val<U32>& word, SourceLoc loc = SourceLoc::Here());

// Both f16 of the words at once, rounded to nearest: add.rn.f16x2, mul.rn.f16x2, fma.rn.f16x2
Val<U32> AddHalf2(Operand<U32> a, Operand<U32> b, SourceLoc loc = SourceLoc::Here());
Val<U32> MulHalf2(Operand<U32> a, Operand<U32> b, SourceLoc loc = SourceLoc::Here());
Val<U32> FmaHalf2(Operand<U32> a, Operand<U32> b, Operand<U32> c,
                  SourceLoc loc = SourceLoc::Here());

// The four unsigned bytes of a word minus `bias` as floats, lowest first. Each is one prmt that
// makes the float 2^23 + byte and one exact subtraction of 2^23 + bias: 2 full-rate instructions,
// where the conversion instruction runs at an eighth of the rate (16 lanes per clock and SM,
// measured on an H200).
Vec<F32, 4> BytesToF32(const Val<U32>& word, uint32_t bias = 0, SourceLoc loc = SourceLoc::Here());

// sum of values in the tree order ((0+1)+(2+3))+..., fixed for a given N.
template <size_t N>
Val<F32> Sum(const Vec<F32, N>& v) {
  if constexpr (N == 1) {
    return v[0];
  } else {
    return Sum(MakeVec<N / 2 + N % 2>(
        [&](size_t i) { return 2 * i + 1 < N ? v[2 * i] + v[2 * i + 1] : Val<F32>(v[2 * i]); }));
  }
}

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_OPS_H_

// Elementary functions made of exactly rounded operations only (add, mul, fma; one exception says
// so), so that the emulator and every GPU give the same bits. The hardware's own approximations
// (ex2.approx, sin.approx) differ between the two and cost as much: 16 lanes per clock and SM for
// one ex2 against 128 for an fma, so the eight operations of the polynomial take the same time
// (H200, computed from measured rates).
//
//   Val<F32> w = Exp(score - best);
//   const auto [c, s] = CosSinTurns(turns);
//
// Coefficients: iteratively reweighted least squares on Chebyshev nodes, rounded to f32.
#ifndef PTXSMITH_CODEGEN_MATH_H_
#define PTXSMITH_CODEGEN_MATH_H_

#include "codegen/ops.h"
#include "codegen/val.h"

namespace ptxsmith {

// e^x. Relative error below 1.5e-7 (2.5 ulp) for -87.3 <= x <= 88.3; 0 below, +inf above; NaN stays
// NaN.
Val<F32> Exp(const Val<F32>& x);

// tanh(x). Relative error below 1.5e-7; NaN stays NaN.
Val<F32> Tanh(const Val<F32>& x);

// The error function. Relative error below 1.5e-7; NaN stays NaN.
Val<F32> Erf(const Val<F32>& x);

// 2^a by the hardware's approximation, within 2^-22 relatively; -inf gives 0. The emulator's bits
// differ from a GPU's: only for kernels whose sums differ between devices anyway (mma.h), where it
// is 16 lanes a clock beside the tensor cores, and Exp's ten instructions would take their issue
// slots. ex2.approx.ftz.f32
inline Val<F32> Exp2Approx(Operand<F32> a, SourceLoc loc = SourceLoc::Here()) {
  return {a.recorder, a.recorder->Emit(RegClass::kF32, "ex2.approx.ftz.f32", {a.ir}, loc)};
}

// The e4m3 (FP8) nearest to v, at most 448 in magnitude, ties to even; NaN gives 0x7f. In the low
// byte; made of integer operations.
Val<U32> ToE4M3(const Val<F32>& v);
// Four of them as one word, v[0] in the lowest byte. From sm_89 on cvt.rn.satfinite.e4m3x2.f32
// twice and mov.b32.
Val<U32> PackE4M3x4(const Vec<F32, 4>& v, SourceLoc loc = SourceLoc::Here());

// cos(2 pi t), sin(2 pi t) for |t| <= 0.5, as {cos, sin}. Absolute error below 2.5e-7.
Vec<F32, 2> CosSinTurns(const Val<F32>& t);

// position * (hi + lo) reduced to [-0.5, 0.5]: the fraction of a turn that an angle of that many
// turns leaves. hi + lo is a rate in turns per position split into two f32 (hi = f32(rate), lo =
// f32(rate - hi)). `position` must be an integer below 2^24. Absolute error below 2^-24 for rates
// up to 1/6.
Val<F32> FractionOfTurns(const Val<F32>& position, const Val<F32>& hi, const Val<F32>& lo);

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_MATH_H_

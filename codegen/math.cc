#include "codegen/math.h"

#include <limits>

namespace ptxsmith {
namespace {

// Adding 1.5 * 2^23 leaves the nearest integer in the low bits of an f32 of magnitude below 2^22.
constexpr float kRound = 12582912.0f;

// c[0] + c[1] x + ... by Horner's rule with fused steps.
template <size_t N>
Val<F32> Polynomial(const Val<F32>& x, const float (&c)[N]) {
  const auto step = [&](const auto& self, const Val<F32>& sum, size_t i) -> Val<F32> {
    const Val<F32> next = Fma(sum, x, c[i]);
    return i == 0 ? next : self(self, next, i - 1);
  };
  return step(step, Constant<F32>(x, c[N - 1]), N - 2);
}

// `magnitude`, which has no sign, with that of `x`.
Val<F32> WithSign(const Val<F32>& magnitude, const Val<F32>& x) {
  return Bitcast<F32>(Bitcast<U32>(magnitude) | (Bitcast<U32>(x) & 0x80000000));
}

}  // namespace

Val<F32> Exp(const Val<F32>& x) {
  // x = (n + f) ln 2 with integer n and |f| <= 0.5; log2(e) in two parts keeps f exact enough.
  constexpr float kLog2E = 1.44269502f;
  constexpr float kLog2ELow = 1.92596299e-8f;
  const Val<F32> shifted = Fma(x, kLog2E, kRound);
  const Val<F32> n = shifted - kRound;
  const Val<F32> f = Fma(x, kLog2ELow, Fma(x, kLog2E, Neg(n)));
  // 2^f: relative error 1.9e-9 before rounding.
  const Val<F32> power = Polynomial(f, {1.0f, 0.6931472f, 0.24022646f, 0.055503286f, 0.009618489f,
                                        0.0013399931f, 0.00015345811f});
  // The low bits of `shifted` hold n; move them to the exponent.
  const Val<F32> scale = Bitcast<F32>((Bitcast<U32>(shifted) << 23) + 0x3f800000);
  const Val<F32> result = power * scale;
  const Val<F32> bounded = Select<F32>(x < -87.3f, 0.0f, result);
  return Select<F32>(x > 88.3f, std::numeric_limits<float>::infinity(), bounded);
}

Val<F32> Tanh(const Val<F32>& x) {
  // Of |x|, as -0 would not survive the polynomial. Below 0.65 an odd polynomial (error 6.4e-9
  // before rounding); above, 1 - 2 / (e^2x + 1), where the subtraction cancels little. Both are
  // computed; comparing so sends NaN to the polynomial.
  const Val<F32> a = Abs(x);
  const Val<F32> a2 = a * a;
  const Val<F32> small = Fma(
      a * a2,
      Polynomial(a2, {-0.33333263f, 0.13330899f, -0.053692963f, 0.020483306f, -0.0055286246f}), a);
  const Val<F32> large = Constant<F32>(x, 1.0f) - Constant<F32>(x, 2.0f) / (Exp(a + a) + 1.0f);
  return WithSign(Select<F32>(a >= 0.65f, large, small), x);
}

Val<F32> Erf(const Val<F32>& x) {
  // Of |x|, as above. Below 1 an odd polynomial (error 1.2e-9 before rounding); above,
  // 1 - e^p(|x|), where p is fitted to log(erfc) on [1, 4]. From 4 on f32 cannot tell the function
  // from 1.
  const Val<F32> a = Abs(x);
  const Val<F32> small = Fma(a,
                             Polynomial(a * a, {0.12837917f, -0.37612626f, 0.112836f, -0.026854444f,
                                                0.0051895352f, -0.000802084f, 0.000078891142f}),
                             a);
  const Val<F32> log_rest =
      Polynomial(Min(a, 4.0f), {-0.00035373727f, -1.1270399f, -0.6382258f, -0.103037246f,
                                0.021805257f, -0.002939591f, 0.00018557225f});
  const Val<F32> large = Constant<F32>(x, 1.0f) - Exp(log_rest);
  return WithSign(Select<F32>(a >= 1.0f, large, small), x);
}

Vec<F32, 2> CosSinTurns(const Val<F32>& t) {
  // t = h / 2 + s with h in {-1, 0, 1} and |s| <= 0.25: both functions change sign with h odd.
  const Val<F32> h = Fma(t, 2.0f, kRound) - kRound;
  const Val<F32> s = Fma(h, -0.5f, t);
  const Val<F32> s2 = s * s;
  const Val<F32> sign = Fma(Abs(h), -2.0f, 1.0f);
  const Val<F32> cosine = Polynomial(
      s2, {1.0f, -19.739208f, 64.93939f, -85.45679f, 60.243313f, -26.394974f, 7.5367374f});
  const Val<F32> sine_over_s =
      Polynomial(s2, {6.2831855f, -41.3417f, 81.605225f, -76.70417f, 42.0078f, -14.381413f});
  const Val<F32> sine = sine_over_s * s;
  return Vec<F32, 2>({cosine * sign, sine * sign});
}

Val<F32> FractionOfTurns(const Val<F32>& position, const Val<F32>& hi, const Val<F32>& lo) {
  const Val<F32> turns = position * hi;
  const Val<F32> error = Fma(position, hi, Neg(turns));  // exactly what the product lost
  const Val<F32> whole = (turns + kRound) - kRound;
  const Val<F32> fraction = (turns - whole) + Fma(position, lo, error);
  // The correction can lead just beyond half a turn: fold it back.
  const Val<F32> fold = (fraction + kRound) - kRound;
  return fraction - fold;
}

Val<U32> ToE4M3(const Val<F32>& v) {
  constexpr float kLargest = 448.0f;
  constexpr float kLeastNormal = 0x1p-6f;
  const Val<F32> size = Min(Abs(v), kLargest);
  const Val<U32> bits = Bitcast<U32>(size);
  // Twenty bits of the fraction go, to the nearest even; the exponent's bias falls from 127 to 7.
  const Val<U32> normal = ((bits + (bits >> 20 & 1) + 0x7ffff) >> 20) - (120 << 3);
  // Beside 2^14 a float has steps of 2^-9, those of the subnormals.
  const Val<U32> small = Bitcast<U32>(size + 0x1p14f) & 0xf;
  const Val<U32> magnitude = Select(size < kLeastNormal, small, normal);
  const Val<U32> sign = Bitcast<U32>(v) >> 24 & 0x80;
  return Select<U32>(v == v, magnitude | sign, 0x7f);
}

Val<U32> PackE4M3x4(const Vec<F32, 4>& v, SourceLoc loc) {
  Recorder* recorder = v[0].recorder();
  if (recorder->kernel().target.sm < 89) {
    const auto bytes = [&](size_t low) {
      const Val<U32> first = ToE4M3(v[low]);
      return Permute(first, ToE4M3(v[low + 1]), 0x0040, loc);
    };
    const Val<U32> first = bytes(0);
    return Permute(first, bytes(2), 0x5410, loc);
  }
  const auto pair = [&](size_t low) {
    return recorder->Emit(RegClass::kB16, "cvt.rn.satfinite.e4m3x2.f32",
                          {v[low + 1].ir(), v[low].ir()}, loc);
  };
  const ir::Operand low = pair(0);
  return JoinHalves(recorder, low, pair(2), loc);
}

}  // namespace ptxsmith

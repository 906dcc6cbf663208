// Constants fold as the machine computes, and powers of two become shifts and masks only where that
// is the same.
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/codegen/kernels.h"

namespace ptxsmith {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr uint32_t kPtxNaN = 0x7fffffff;

uint32_t BitsOf(float x) { return std::bit_cast<uint32_t>(x); }

class FoldingTest : public testing::Test {
 protected:
  KernelBuilder k_{"fold", "fold", Sm(80)};

  uint32_t Bits(const Val<F32>& v) { return static_cast<uint32_t>(v.constant().value()); }
  template <class T>
  Val<T> C(std::common_type_t<int64_t> value) {
    return k_.Const<T>(value);
  }
  Val<F32> C(float value) { return k_.Const<F32>(value); }
};

TEST_F(FoldingTest, UnsignedMatchesTheHost) {
  const uint32_t values[] = {0,  1,  2,  3,         7,          31,         32,         33,
                             63, 64, 65, 0xfffffff, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff};
  for (const uint32_t a : values) {
    for (const uint32_t b : values) {
      SCOPED_TRACE(absl::StrCat(a, ", ", b));
      const Val<U32> x = C<U32>(a);
      const Val<U32> y = C<U32>(b);
      const auto u32 = [](const Val<U32>& v) { return v.constant().value(); };
      EXPECT_EQ(u32(x + y), a + b);
      EXPECT_EQ(u32(x - y), a - b);
      EXPECT_EQ(u32(x * y), a * b);
      EXPECT_EQ(u32(x & y), (a & b));
      EXPECT_EQ(u32(x | y), (a | b));
      EXPECT_EQ(u32(x ^ y), (a ^ b));
      EXPECT_EQ(u32(x << y), b < 32 ? a << b : 0);
      EXPECT_EQ(u32(x >> y), b < 32 ? a >> b : 0);
      EXPECT_EQ(u32(Min(x, y)), std::min(a, b));
      EXPECT_EQ(u32(Max(x, y)), std::max(a, b));
      EXPECT_EQ((x < y).constant(), a < b);
      EXPECT_EQ((x >= y).constant(), a >= b);
      EXPECT_EQ((x == y).constant(), a == b);
      if (b == 0) continue;
      EXPECT_EQ(u32(x / y), a / b);
      EXPECT_EQ(u32(x % y), a % b);
    }
  }
}

TEST_F(FoldingTest, SignedMatchesTheHost) {
  const int32_t values[] = {0,  1,  -1,        2,         -2,           7, -7, 31,
                            32, 33, INT32_MAX, INT32_MIN, INT32_MIN + 1};
  for (const int32_t a : values) {
    for (const int32_t b : values) {
      SCOPED_TRACE(absl::StrCat(a, ", ", b));
      const Val<S32> x = C<S32>(a);
      const Val<S32> y = C<S32>(b);
      const uint32_t ua = static_cast<uint32_t>(a);
      const uint32_t ub = static_cast<uint32_t>(b);
      const auto s32 = [](const Val<S32>& v) { return static_cast<int64_t>(*v.constant()); };
      EXPECT_EQ(s32(x + y), static_cast<int32_t>(ua + ub));
      EXPECT_EQ(s32(x - y), static_cast<int32_t>(ua - ub));
      EXPECT_EQ(s32(x * y), static_cast<int32_t>(ua * ub));
      EXPECT_EQ(s32(x << y), ub < 32 ? static_cast<int32_t>(ua << ub) : 0);
      EXPECT_EQ(s32(x >> y), a >> std::min(ub, 31u));
      EXPECT_EQ(s32(Min(x, y)), std::min(a, b));
      EXPECT_EQ((x < y).constant(), a < b);
      if (b == 0 || (a == INT32_MIN && b == -1)) continue;
      EXPECT_EQ(s32(x / y), a / b);
      EXPECT_EQ(s32(x % y), a % b);
    }
  }
  // The quotient that the host cannot compute wraps, as on the GPU.
  EXPECT_EQ(static_cast<int64_t>(*(C<S32>(INT32_MIN) / -1).constant()), INT32_MIN);
  EXPECT_EQ(*(C<S32>(INT32_MIN) % -1).constant(), 0u);
}

TEST_F(FoldingTest, SixtyFourBits) {
  EXPECT_EQ((C<U64>(1) << 63).constant(), 0x8000000000000000u);
  EXPECT_EQ((C<U64>(1) << 64).constant(), 0u);
  EXPECT_EQ((C<U64>(-1) * 3).constant(), ~uint64_t{2});
  EXPECT_EQ((C<U64>(-1) / 16).constant(), ~uint64_t{0} / 16);
}

TEST_F(FoldingTest, FloatsRoundToNearest) {
  const float values[] = {0.0f, -0.0f, 1.0f, -1.5f, 0.1f, 1e-40f, 3.0e38f, 16777217.0f};
  for (const float a : values) {
    for (const float b : values) {
      SCOPED_TRACE(absl::StrCat(a, ", ", b));
      EXPECT_EQ(Bits(C(a) + C(b)), BitsOf(a + b));
      EXPECT_EQ(Bits(C(a) - C(b)), BitsOf(a - b));
      EXPECT_EQ(Bits(C(a) * C(b)), BitsOf(a * b));
      if (b != 0.0f) {
        EXPECT_EQ(Bits(C(a) / C(b)), BitsOf(a / b));
      }
      EXPECT_EQ((C(a) < C(b)).constant(), a < b);
      EXPECT_EQ((C(a) == C(b)).constant(), a == b);
    }
  }
  EXPECT_EQ(Bits(C(1.0f) / C(-0.0f)), BitsOf(-kInf));
}

TEST_F(FoldingTest, MinAndMaxPreferNumbersAndOrderTheZeros) {
  EXPECT_EQ(Bits(Min(C(kNaN), C(1.0f))), BitsOf(1.0f));
  EXPECT_EQ(Bits(Min(C(1.0f), C(kNaN))), BitsOf(1.0f));
  EXPECT_EQ(Bits(Max(C(kNaN), C(-kInf))), BitsOf(-kInf));
  EXPECT_EQ(Bits(Max(C(kNaN), C(kNaN))), kPtxNaN);
  EXPECT_EQ(Bits(Min(C(0.0f), C(-0.0f))), BitsOf(-0.0f));
  EXPECT_EQ(Bits(Min(C(-0.0f), C(0.0f))), BitsOf(-0.0f));
  EXPECT_EQ(Bits(Max(C(-0.0f), C(0.0f))), BitsOf(0.0f));
  EXPECT_EQ(Bits(Max(C(0.0f), C(-0.0f))), BitsOf(0.0f));
  EXPECT_EQ(Bits(Min(C(2.0f), C(1.0f))), BitsOf(1.0f));
  EXPECT_EQ(Bits(Max(C(2.0f), C(1.0f))), BitsOf(2.0f));
}

TEST_F(FoldingTest, NaNs) {
  EXPECT_EQ(Bits(C(kInf) - C(kInf)), kPtxNaN);
  EXPECT_EQ(Bits(C(0.0f) / C(0.0f)), kPtxNaN);
  EXPECT_EQ(Bits(C(kNaN) + C(1.0f)), kPtxNaN);
  EXPECT_EQ((C(kNaN) != C(kNaN)).constant(), true);
  EXPECT_EQ((C(kNaN) == C(kNaN)).constant(), false);
  EXPECT_EQ((C(kNaN) < C(1.0f)).constant(), false);
  EXPECT_EQ((C(kNaN) >= C(1.0f)).constant(), false);
}

TEST_F(FoldingTest, BitcastOfConstantsKeepsTheThirtyTwoBits) {
  EXPECT_EQ(Bitcast<U32>(C<S32>(-1)).constant(), 0xffffffffu);
  EXPECT_EQ(static_cast<int64_t>(*Bitcast<S32>(C<U32>(0xffffffff)).constant()), -1);
  EXPECT_EQ((Bitcast<U32>(C<S32>(-1)) / 16).constant(), 0x0fffffffu);
}

// --- Strength reduction and neutral elements, as printed. ---

std::string Body(Val<U32> (*f)(const Val<U32>&)) {
  return BodyOf([f](KernelBuilder&, const Inputs& in) { f(in.a); });
}

TEST(StrengthReductionTest, PowersOfTwo) {
  EXPECT_EQ(Body([](const Val<U32>& a) { return a * 8; }), "shl.b32 %r2, %r0, 3;\n");
  EXPECT_EQ(Body([](const Val<U32>& a) { return 8 * a; }), "shl.b32 %r2, %r0, 3;\n");
  EXPECT_EQ(Body([](const Val<U32>& a) { return a / 32; }), "shr.u32 %r2, %r0, 5;\n");
  EXPECT_EQ(Body([](const Val<U32>& a) { return a % 32; }), "and.b32 %r2, %r0, 31;\n");
  EXPECT_EQ(Body([](const Val<U32>& a) { return a * 0x80000000u; }), "shl.b32 %r2, %r0, 31;\n");
  EXPECT_EQ(Body([](const Val<U32>& a) { return a % 1; }), "");
  // Not powers of two, and a division whose divisor is the variable.
  EXPECT_EQ(Body([](const Val<U32>& a) { return a * 12; }), "mul.lo.u32 %r2, %r0, 12;\n");
  EXPECT_EQ(Body([](const Val<U32>& a) { return 8 / a; }), "div.u32 %r2, 8, %r0;\n");
}

TEST(StrengthReductionTest, DivisionByConstants) {
  EXPECT_EQ(Body([](const Val<U32>& a) { return a / 12; }),
            "mul.hi.u32 %r2, %r0, 0xaaaaaaab;\n"
            "shr.u32 %r3, %r2, 3;\n");
}

TEST(StrengthReductionTest, NotForSignedNumbers) {
  const auto body = [](Val<S32> (*f)(const Val<S32>&)) {
    return BodyOf([f](KernelBuilder&, const Inputs& in) { f(Bitcast<S32>(in.a)); });
  };
  EXPECT_EQ(body([](const Val<S32>& a) { return a / 2; }), "div.s32 %r2, %r0, 2;\n");
  EXPECT_EQ(body([](const Val<S32>& a) { return a % 2; }), "rem.s32 %r2, %r0, 2;\n");
}

TEST(StrengthReductionTest, NeutralElementsEmitNothing) {
  EXPECT_EQ(Body([](const Val<U32>& a) { return a + 0; }), "");
  EXPECT_EQ(Body([](const Val<U32>& a) { return 0 + a; }), "");
  EXPECT_EQ(Body([](const Val<U32>& a) { return a - 0; }), "");
  EXPECT_EQ(Body([](const Val<U32>& a) { return a * 1; }), "");
  EXPECT_EQ(Body([](const Val<U32>& a) { return 1 * a; }), "");
  EXPECT_EQ(Body([](const Val<U32>& a) { return a / 1; }), "");
  EXPECT_EQ(Body([](const Val<U32>& a) { return a | 0; }), "");
  EXPECT_EQ(Body([](const Val<U32>& a) { return 0 | a; }), "");
  EXPECT_EQ(Body([](const Val<U32>& a) { return a ^ 0; }), "");
  EXPECT_EQ(Body([](const Val<U32>& a) { return a << 0; }), "");
  EXPECT_EQ(Body([](const Val<U32>& a) { return a >> 0; }), "");
  EXPECT_EQ(Body([](const Val<U32>& a) { return a * 0; }), "");
  EXPECT_EQ(Body([](const Val<U32>& a) { return a & 0; }), "");
  // 0 - a, 0 << a and 1 / a are not a.
  EXPECT_EQ(Body([](const Val<U32>& a) { return 0 - a; }), "sub.u32 %r2, 0, %r0;\n");
  EXPECT_EQ(Body([](const Val<U32>& a) { return 0 << a; }), "shl.b32 %r2, 0, %r0;\n");
}

TEST(StrengthReductionTest, NeverForFloats) {
  // -0 + 0 is +0 and NaN * 0 is NaN: nothing is neutral.
  EXPECT_EQ(BodyOf([](KernelBuilder&, const Inputs& in) {
              (void)(in.f + 0.0f);
              (void)(in.f * 0.0f);
              (void)(in.f / 2.0f);
            }),
            "add.rn.f32 %f2, %f0, 0f00000000;\nmul.rn.f32 %f3, %f0, 0f00000000;\n"
            "div.rn.f32 %f4, %f0, 0f40000000;\n");
}

TEST(MultipleOfTest, KnowsWhatDividesAResult) {
  KernelBuilder k("multiple", "multiple", Sm(80));
  const Val<U32> a = k.ParamDim("a", std::nullopt, 12);  // a multiple of 4
  const Val<U32> b = k.ParamDim("b", std::nullopt, 32);
  const Val<U32> free = k.ParamDim("free", std::nullopt);
  EXPECT_EQ(a.multiple_of(), 4u);
  EXPECT_EQ((a + b).multiple_of(), 4u);
  EXPECT_EQ((b - 8).multiple_of(), 8u);
  EXPECT_EQ((a * b).multiple_of(), 128u);
  EXPECT_EQ((free * 24).multiple_of(), 8u);
  EXPECT_EQ((a << 3).multiple_of(), 32u);
  EXPECT_EQ((b >> 2).multiple_of(), 8u);
  EXPECT_EQ((b >> free).multiple_of(), 1u);
  EXPECT_EQ((b / 2).multiple_of(), 16u);
  EXPECT_EQ((b / 3).multiple_of(), 1u);
  EXPECT_EQ((b % 12).multiple_of(), 4u);
  EXPECT_EQ((free & 0xf0).multiple_of(), 16u);
  EXPECT_EQ((a | b).multiple_of(), 4u);
  EXPECT_EQ((a ^ 2).multiple_of(), 2u);
  EXPECT_EQ(Min(a, b).multiple_of(), 4u);
  EXPECT_EQ(Select(free < 3, b, 16).multiple_of(), 16u);
  EXPECT_EQ(k.Const<U32>(0).multiple_of(), kMaxMultiple);
  EXPECT_EQ(Val<U32>(k.NewVar<U32>(b)).multiple_of(), 1u);
}

}  // namespace
}  // namespace ptxsmith

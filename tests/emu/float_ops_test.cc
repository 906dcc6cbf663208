// Floating-point instructions. f32 and f64 against 113-bit arithmetic rounded by comparison, f16
// and bf16 against a search over all their values; special values against the manual's rules.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/emu/op_runner.h"
#include "tests/emu/rounding.h"

namespace ptxsmith::emu {
namespace {

using Words = std::vector<uint64_t>;

constexpr uint64_t kNaN32 = 0x7fffffff;

struct F32 {
  using Host = float;
  static constexpr char kCode = 'w';
  static constexpr const char* kName = "f32";
  static uint64_t Raw(float v) { return Bits<uint32_t>(v); }
  static float Value(uint64_t raw) { return Bits<float>(static_cast<uint32_t>(raw)); }
};
struct F64 {
  using Host = double;
  static constexpr char kCode = 'd';
  static constexpr const char* kName = "f64";
  static uint64_t Raw(double v) { return Bits<uint64_t>(v); }
  static double Value(uint64_t raw) { return Bits<double>(raw); }
};

// a + b, or NaN when 113 bits cannot hold it.
Quad ExactSum(Quad a, Quad b) {
  const Quad sum = a + b, b_part = sum - a;
  const Quad error = (a - (sum - b_part)) + (b - b_part);
  return error == 0 ? sum : Quad(std::nan(""));
}

template <class F>
Words Samples(uint64_t seed) {
  using T = typename F::Host;
  using L = std::numeric_limits<T>;
  std::mt19937_64 random(seed);
  std::vector<T> values = {T(0),
                           -T(0),
                           T(1),
                           T(-1),
                           T(1) / 3,
                           L::max(),
                           -L::max(),
                           L::min(),
                           L::denorm_min(),
                           -L::denorm_min(),
                           3 * L::denorm_min(),
                           T(1) + L::epsilon()};
  std::shuffle(values.begin(), values.end(), random);
  while (values.size() < 32) {
    const T mantissa = 1 + static_cast<T>(random() >> 11) * T(0x1p-53);
    const int spread = random() % 3 == 0 ? (sizeof(T) == 4 ? 120 : 900) : 3;
    const int exponent = static_cast<int>(random() % (2 * spread)) - spread;
    values.push_back(std::ldexp(random() % 2 == 0 ? mantissa : -mantissa, exponent));
  }
  Words raw;
  for (T v : values) raw.push_back(F::Raw(v));
  return raw;
}

template <class F>
class ExactFloatOps : public testing::Test {
 protected:
  using T = typename F::Host;
  using Exact = Quad (*)(Quad, Quad, Quad);

  void Check(const std::string& op, int sources, Exact exact) {
    for (const Mode mode : {kRn, kRz, kRm, kRp}) {
      const OpText text{absl::StrCat(op, ".", kModeNames[mode], ".", F::kName),
                        std::string(sources + 1, F::kCode), ""};
      for (uint64_t seed = 1; seed <= 4; ++seed) {
        std::vector<Words> in;
        for (int s = 0; s < sources; ++s) in.push_back(Samples<F>(seed * 8 + s));
        ASSERT_OK_AND_ASSIGN(const Words got, RunOp(text, in));
        for (int i = 0; i < 32; ++i) {
          Quad v[3] = {0, 0, 0};
          for (int s = 0; s < sources; ++s) v[s] = F::Value(in[s][i]);
          const Quad value = exact(v[0], v[1], v[2]);
          if (!(value == value) || value == 0) continue;  // not known, or a matter of its sign
          if (value > Quad(std::numeric_limits<double>::max()) ||
              -value > Quad(std::numeric_limits<double>::max())) {
            continue;
          }
          const T expected = RoundQuad<T>(value, mode);
          ASSERT_EQ(got[i], F::Raw(expected))
              << text.mnemonic << " seed " << seed << " lane " << i << ": "
              << static_cast<double>(v[0]) << " " << static_cast<double>(v[1]) << " "
              << static_cast<double>(v[2]) << " expected " << expected << " got "
              << F::Value(got[i]);
        }
      }
    }
  }
};
using BothFloats = testing::Types<F32, F64>;
TYPED_TEST_SUITE(ExactFloatOps, BothFloats);

TYPED_TEST(ExactFloatOps, SumsAndProducts) {
  this->Check("add", 2, [](Quad a, Quad b, Quad) { return ExactSum(a, b); });
  this->Check("sub", 2, [](Quad a, Quad b, Quad) { return ExactSum(a, -b); });
  this->Check("mul", 2, [](Quad a, Quad b, Quad) { return a * b; });
}

// 1 / 0 and beyond would leave the range the check understands.
TYPED_TEST(ExactFloatOps, Quotients) {
  this->Check("div", 2, [](Quad a, Quad b, Quad) { return b == 0 ? Quad(0) : a / b; });
  this->Check("rcp", 1, [](Quad a, Quad, Quad) { return a == 0 ? Quad(0) : 1 / a; });
}

TYPED_TEST(ExactFloatOps, SquareRoot) {
  this->Check("sqrt", 1, [](Quad a, Quad, Quad) -> Quad {
    if (a <= 0) return 0;
    Quad root = std::sqrt(static_cast<long double>(a));
    if (root == 0) return 0;
    for (int i = 0; i < 3; ++i) root = (root + a / root) / 2;  // Newton in 113 bits
    return root;
  });
}

TYPED_TEST(ExactFloatOps, FusedMultiplyAdd) {
  this->Check("fma", 3, [](Quad a, Quad b, Quad c) { return ExactSum(a * b, c); });
}

Words Eval(const std::string& mnemonic, const std::string& codes, const std::vector<Words>& in) {
  const absl::StatusOr<Words> got = RunOp({mnemonic, codes, ""}, in);
  EXPECT_OK(got);
  return got.ok() ? *got : Words(32);
}

uint64_t R(float v) { return F32::Raw(v); }

TEST(FloatOps, FmaRoundsOnce) {
  // (1 + 2^-12)^2 - (1 + 2^-11) is 2^-24: lost when the product is rounded first.
  const float x = 1 + 0x1p-12f;
  EXPECT_EQ(Eval("fma.rn.f32", "wwww", {{R(x)}, {R(x)}, {R(-(1 + 0x1p-11f))}})[0], R(0x1p-24f));
  // add and mul after each other are not fused.
  const std::string text = Module(R"(
mov.f32 %f1, 0f3F800800;
mul.rn.f32 %f2, %f1, %f1;
add.rn.f32 %f3, %f2, 0fBF801000;
st.global.f32 [%d2], %f3;)");
  ASSERT_OK_AND_ASSIGN(const KernelResult result, RunKernel({.text = text, .block = {1, 1, 1}}));
  EXPECT_EQ(result.b[0], 0u);
}

TEST(FloatOps, NaNResultsAreCanonical) {
  const uint64_t inf = 0x7f800000, minus_inf = 0xff800000, odd_nan = 0xffc12345;
  EXPECT_EQ(Eval("add.f32", "www", {{inf, odd_nan, R(1)}, {minus_inf, R(1), 0x7f800001}}),
            Words(32, kNaN32));
  EXPECT_EQ(Eval("mul.f32", "www", {{inf}, {0}})[0], kNaN32);
  EXPECT_EQ(Eval("fma.rn.f32", "wwww", {{inf}, {0}, {R(1)}})[0], kNaN32);
  EXPECT_EQ(Eval("sqrt.rn.f32", "ww", {{R(-1)}})[0], kNaN32);
  EXPECT_EQ(Eval("div.rn.f32", "www", {{0}, {0}})[0], kNaN32);
}

TEST(FloatOps, SubnormalsAreKeptUnlessFlushed) {
  const uint64_t tiny = 1, small = 0x007fffff, minus_tiny = 0x80000001;
  EXPECT_EQ(Eval("add.f32", "www", {{tiny}, {small}})[0], 0x00800000u);
  EXPECT_EQ(Eval("add.ftz.f32", "www", {{tiny}, {small}})[0], 0u);
  EXPECT_EQ(Eval("mul.f32", "www", {{R(0x1p-100f)}, {R(0x1p-40f)}})[0], R(0x1p-140f));
  EXPECT_EQ(Eval("mul.ftz.f32", "www", {{R(0x1p-100f)}, {R(-0x1p-40f)}})[0], 0x80000000u);
  EXPECT_EQ(Eval("fma.rn.ftz.f32", "wwww", {{tiny}, {R(0x1p30f)}, {minus_tiny}})[0], 0u);
  EXPECT_EQ(Eval("abs.ftz.f32", "ww", {{minus_tiny}})[0], 0u);
  EXPECT_EQ(Eval("neg.f32", "ww", {{tiny}})[0], minus_tiny);
  EXPECT_EQ(Eval("setp.gt.f32", "pww", {{tiny}, {0}})[0], 1u);
  EXPECT_EQ(Eval("setp.gt.ftz.f32", "pww", {{tiny}, {0}})[0], 0u);
}

TEST(FloatOps, MinAndMax) {
  const uint64_t nan = 0x7fc00001, zero = 0, minus_zero = 0x80000000;
  const Words a = {R(1), nan, R(2), nan, zero, minus_zero, R(-3)};
  const Words b = {R(2), R(7), nan, nan, minus_zero, zero, R(-4)};
  const Words lesser = {R(1), R(7), R(2), kNaN32, minus_zero, minus_zero, R(-4)};
  const Words greater = {R(2), R(7), R(2), kNaN32, zero, zero, R(-3)};
  const Words low = Eval("min.f32", "www", {a, b}), high = Eval("max.f32", "www", {a, b});
  const Words low_nan = Eval("min.NaN.f32", "www", {a, b});
  const Words high_nan = Eval("max.NaN.f32", "www", {a, b});
  for (size_t i = 0; i < a.size(); ++i) {
    const bool has_nan = a[i] == nan || b[i] == nan;
    EXPECT_EQ(low[i], lesser[i]) << i;
    EXPECT_EQ(high[i], greater[i]) << i;
    EXPECT_EQ(low_nan[i], has_nan ? kNaN32 : lesser[i]) << i;
    EXPECT_EQ(high_nan[i], has_nan ? kNaN32 : greater[i]) << i;
  }
}

TEST(FloatOps, SaturationClampsAndMapsNaNToZero) {
  const Words a = {R(0.25f), R(2), R(-1), 0x7fc00000, 0x80000000};
  const Words got = Eval("add.sat.f32", "www", {a, {0x80000000}});
  const Words expected = {R(0.25f), R(1), 0, 0, 0};
  for (size_t i = 0; i < a.size(); ++i) EXPECT_EQ(got[i], expected[i]) << i;
  EXPECT_EQ(Eval("fma.rn.sat.f32", "wwww", {{R(3)}, {R(3)}, {R(0)}})[0], R(1));
  EXPECT_EQ(Eval("mul.sat.f32", "www", {{R(0.5f)}, {R(0.5f)}})[0], R(0.25f));
}

TEST(FloatOps, ComparisonsWithNaN) {
  const float nan = std::nanf("");
  const float a[] = {1, 2, 2, nan, 1, nan}, b[] = {2, 2, 1, 1, nan, nan};
  const struct {
    const char* name;
    bool less, equal, greater, unordered;
  } kTable[] = {{"eq", 0, 1, 0, 0},  {"ne", 1, 0, 1, 0},  {"lt", 1, 0, 0, 0},  {"le", 1, 1, 0, 0},
                {"gt", 0, 0, 1, 0},  {"ge", 0, 1, 1, 0},  {"equ", 0, 1, 0, 1}, {"neu", 1, 0, 1, 1},
                {"ltu", 1, 0, 0, 1}, {"leu", 1, 1, 0, 1}, {"gtu", 0, 0, 1, 1}, {"geu", 0, 1, 1, 1},
                {"num", 1, 1, 1, 0}, {"nan", 0, 0, 0, 1}};
  for (const auto& row : kTable) {
    Words wa, wb, da, db, ha, hb;
    for (int i = 0; i < 6; ++i) {
      wa.push_back(R(a[i]));
      wb.push_back(R(b[i]));
      da.push_back(F64::Raw(a[i]));
      db.push_back(F64::Raw(b[i]));
      ha.push_back(std::isnan(a[i]) ? 0x7e00 : a[i] == 1 ? 0x3c00 : 0x4000);
      hb.push_back(std::isnan(b[i]) ? 0x7e00 : b[i] == 1 ? 0x3c00 : 0x4000);
    }
    const std::string op = absl::StrCat("setp.", row.name);
    const Words f32 = Eval(op + ".f32", "pww", {wa, wb}), f64 = Eval(op + ".f64", "pdd", {da, db});
    const Words f16 = Eval(op + ".f16", "phh", {ha, hb});
    for (int i = 0; i < 6; ++i) {
      const bool expected = std::isnan(a[i]) || std::isnan(b[i]) ? row.unordered
                            : a[i] < b[i]                        ? row.less
                            : a[i] == b[i]                       ? row.equal
                                                                 : row.greater;
      EXPECT_EQ(f32[i] != 0, expected) << op << i;
      EXPECT_EQ(f64[i] != 0, expected) << op << i;
      EXPECT_EQ(f16[i] != 0, expected) << op << i;
    }
  }
}

TEST(FloatOps, SignAndClass) {
  const Words v = {R(1.5f), R(-0.0f), 0x7f800000, 0xff800000, 0x7fc00000, 1};
  const Words neg = Eval("neg.f32", "ww", {v}), abs = Eval("abs.f32", "ww", {v});
  for (size_t i = 0; i < v.size(); ++i) {
    EXPECT_EQ(neg[i], v[i] ^ 0x80000000u);
    EXPECT_EQ(abs[i], v[i] & 0x7fffffffu);
  }
  EXPECT_EQ(Eval("copysign.f32", "www", {{R(-1)}, {R(5)}})[0], R(-5));
  const struct {
    const char* name;
    bool expected[6];
  } kClasses[] = {{"finite", {1, 1, 0, 0, 0, 1}}, {"infinite", {0, 0, 1, 1, 0, 0}},
                  {"number", {1, 1, 1, 1, 0, 1}}, {"notanumber", {0, 0, 0, 0, 1, 0}},
                  {"normal", {1, 0, 0, 0, 0, 0}}, {"subnormal", {0, 0, 0, 0, 0, 1}}};
  for (const auto& c : kClasses) {
    const Words got = Eval(absl::StrCat("testp.", c.name, ".f32"), "pw", {v});
    for (int i = 0; i < 6; ++i) EXPECT_EQ(got[i] != 0, c.expected[i]) << c.name << i;
  }
}

TEST(FloatOps, ApproximateFunctionsAreCloserThanTheManualAsks) {
  const struct {
    const char* op;
    long double (*exact)(long double);
    float low, high;
  } kFunctions[] = {{"ex2.approx.f32", exp2l, -120, 120},
                    {"lg2.approx.f32", log2l, 0.01f, 1000},
                    {"sin.approx.f32", sinl, -6, 6},
                    {"cos.approx.f32", cosl, -6, 6},
                    {"tanh.approx.f32", tanhl, -4, 4},
                    {"rsqrt.approx.f32", [](long double x) { return 1 / sqrtl(x); }, 0.001f, 1000},
                    {"sqrt.approx.f32", sqrtl, 0.001f, 1000},
                    {"rcp.approx.f32", [](long double x) { return 1 / x; }, 0.001f, 1000}};
  for (const auto& f : kFunctions) {
    Words in;
    for (int i = 0; i < 32; ++i) in.push_back(R(f.low + (f.high - f.low) * float(i) / 31));
    const Words got = Eval(f.op, "ww", {in});
    for (int i = 0; i < 32; ++i) {
      const long double exact = f.exact(F32::Value(in[i]));
      EXPECT_LE(std::abs(F32::Value(got[i]) - exact), 0x1p-23L * std::abs(exact) + 1e-30L)
          << f.op << "(" << F32::Value(in[i]) << ")";
    }
  }
  EXPECT_EQ(Eval("ex2.approx.f32", "ww", {{0, 0x80000000, 0xff800000}})[2], 0u);
  EXPECT_EQ(Eval("ex2.approx.ftz.f32", "ww", {{R(-140)}})[0], 0u);
  EXPECT_EQ(Eval("div.full.f32", "www", {{R(1)}, {R(4)}})[0], R(0.25f));
  EXPECT_EQ(Eval("div.approx.f32", "www", {{R(1)}, {R(4)}})[0], R(0.25f));
}

TEST(HalfOps, ArithmeticIsRoundedOnce) {
  std::mt19937 random(7);
  for (const bool bf : {false, true}) {
    const std::string type = bf ? "bf16" : "f16";
    const auto sample = [&] {
      for (;;) {
        const uint64_t bits = random() & 0xffff;
        if (std::isfinite(HalfValue(bits, bf))) return bits;
      }
    };
    for (int round = 0; round < 30; ++round) {
      Words a, b, c;
      for (int i = 0; i < 32; ++i) {
        a.push_back(sample());
        // Half of the time of like magnitude, so that sums cancel and ties occur.
        b.push_back(i % 2 == 0 ? sample() : a.back() ^ (random() & 0x83ff));
        c.push_back(i % 3 == 0 ? 0x8000 ^ a.back() ^ (random() & 7) : sample());
        if (!std::isfinite(HalfValue(b.back(), bf))) b.back() = 0x3c00;
        if (!std::isfinite(HalfValue(c.back(), bf))) c.back() = 0x3c00;
      }
      const Words sum = Eval("add.rn." + type, "hhh", {a, b}),
                  less = Eval("sub." + type, "hhh", {a, b});
      const Words product = Eval("mul." + type, "hhh", {a, b});
      const Words fused = Eval("fma.rn." + type, "hhhh", {a, b, c});
      Words pair_a, pair_b, pair_c;
      for (int i = 0; i < 32; ++i) {
        pair_a.push_back(a[i] | a[31 - i] << 16);
        pair_b.push_back(b[i] | b[31 - i] << 16);
        pair_c.push_back(c[i] | c[31 - i] << 16);
      }
      const Words both = Eval("fma.rn." + type + "x2", "wwww", {pair_a, pair_b, pair_c});
      const Words both_sum = Eval("add." + type + "x2", "www", {pair_a, pair_b});
      for (int i = 0; i < 32; ++i) {
        const Quad x = HalfValue(a[i], bf), y = HalfValue(b[i], bf), z = HalfValue(c[i], bf);
        const auto check = [&](uint64_t got, Quad exact, const char* op) {
          if (exact == 0) return;  // signs of zero are the host's
          EXPECT_EQ(got, RoundHalf(exact, bf))
              << op << " " << type << " " << a[i] << " " << b[i] << " " << c[i];
        };
        check(sum[i], x + y, "add");
        check(less[i], x - y, "sub");
        check(product[i], x * y, "mul");
        check(fused[i], x * y + z, "fma");
        EXPECT_EQ(both[i], fused[i] | fused[31 - i] << 16) << i;
        EXPECT_EQ(both_sum[i], sum[i] | sum[31 - i] << 16) << i;
      }
    }
  }
}

TEST(HalfOps, MinMaxSignAndNaN) {
  EXPECT_EQ(Eval("min.f16", "hhh", {{0x7e00}, {0x3c00}})[0], 0x3c00u);
  EXPECT_EQ(Eval("max.NaN.f16", "hhh", {{0x7e00}, {0x3c00}})[0], 0x7fffu);
  EXPECT_EQ(Eval("max.f16x2", "www", {{0x3c004000}, {0x40003c00}})[0], 0x40004000u);
  EXPECT_EQ(Eval("min.bf16x2", "www", {{0x3f804000}, {0x40003f80}})[0], 0x3f803f80u);
  EXPECT_EQ(Eval("neg.f16x2", "ww", {{0x3c00bc00}})[0], 0xbc003c00u);
  EXPECT_EQ(Eval("abs.bf16", "hh", {{0xbf80}})[0], 0x3f80u);
  EXPECT_EQ(Eval("add.f16", "hhh", {{0x7c00}, {0xfc00}})[0], 0x7fffu);
  EXPECT_EQ(Eval("mul.bf16", "hhh", {{0x7f80}, {0}})[0], 0x7fffu);
  EXPECT_EQ(Eval("ex2.approx.f16", "hh", {{0x4000}})[0], 0x4400u);
  EXPECT_EQ(Eval("tanh.approx.f16", "hh", {{0x7c00}})[0], 0x3c00u);
}

}  // namespace
}  // namespace ptxsmith::emu

// cvt between all types, against 113-bit references, and the vectorised rows against the general
// routine.
#include <cmath>
#include <random>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/emu/op_runner.h"
#include "tests/emu/rounding.h"

namespace ptxsmith::emu {
namespace {

using Words = std::vector<uint64_t>;

struct IntType {
  const char* name;
  int bits;
  bool is_signed;
};
constexpr IntType kInts[] = {{"u8", 8, false},   {"s8", 8, true},    {"u16", 16, false},
                             {"s16", 16, true},  {"u32", 32, false}, {"s32", 32, true},
                             {"u64", 64, false}, {"s64", 64, true}};

char CodeOf(int bits) { return bits == 64 ? 'd' : bits == 32 ? 'w' : 'h'; }
uint64_t MaskOf(int bits) { return bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1; }

__int128 ValueOf(uint64_t raw, const IntType& t) {
  raw &= MaskOf(t.bits);
  return t.is_signed && (raw >> (t.bits - 1)) != 0 ? __int128(raw) - (__int128(1) << t.bits) : raw;
}

Words Integers(int bits, int seed) {
  std::mt19937_64 random(seed);
  Words v = {0,
             1,
             127,
             128,
             255,
             256,
             32767,
             32768,
             65535,
             uint64_t{1} << (bits - 1),
             (uint64_t{1} << (bits - 1)) - 1,
             ~uint64_t{0},
             0x1000001,
             0x80000080};
  while (v.size() < 32) v.push_back(random() >> (random() % 64));
  return v;
}

// Interesting numbers of a float format, as bits of f64.
std::vector<double> Numbers(int seed) {
  std::mt19937_64 random(seed);
  std::vector<double> v = {0.0,   -0.0,  0.5,    -0.5,  1.5,     2.5,     -2.5,    0.49999,
                           255.5, 256.0, -128.5, 65504, 65519.9, 65520,   2.1e9,   4.29e9,
                           -3e9,  1e19,  -1e19,  3e38,  1e-40,   5.96e-8, 2.98e-8, -1e-45};
  while (v.size() < 32) {
    v.push_back(
        std::ldexp(static_cast<double>(random() >> 11), static_cast<int>(random() % 60) - 80) *
        (random() % 2 == 0 ? 1 : -1));
  }
  return v;
}

Words Eval(const std::string& mnemonic, const std::string& codes, const std::vector<Words>& in) {
  const absl::StatusOr<Words> got = RunOp({mnemonic, codes, ""}, in);
  EXPECT_OK(got) << mnemonic;
  return got.ok() ? *got : Words(32);
}

TEST(Convert, IntegersToIntegers) {
  for (const IntType& from : kInts) {
    for (const IntType& to : kInts) {
      for (const bool saturate : {false, true}) {
        const std::string op =
            absl::StrCat("cvt", saturate ? ".sat." : ".", to.name, ".", from.name);
        const Words in = Integers(from.bits, to.bits + from.bits);
        const Words got = Eval(op, {CodeOf(to.bits), CodeOf(from.bits)}, {in});
        const __int128 low = to.is_signed ? -(__int128(1) << (to.bits - 1)) : 0;
        const __int128 high = (__int128(1) << (to.bits - (to.is_signed ? 1 : 0))) - 1;
        for (int i = 0; i < 32; ++i) {
          __int128 v = ValueOf(in[i], from);
          if (saturate) v = std::min(std::max(v, low), high);
          // The result is extended to its register: 16 bits hold the 8-bit types here.
          const uint64_t narrow = uint64_t(v) & MaskOf(to.bits);
          const uint64_t wide = uint64_t(ValueOf(narrow, to)) & MaskOf(std::max(to.bits, 16));
          ASSERT_EQ(got[i], wide) << op << " of 0x" << std::hex << in[i];
        }
      }
    }
  }
}

TEST(Convert, IntegersToFloats) {
  for (const IntType& from : kInts) {
    const Words in = Integers(from.bits, from.bits);
    for (const Mode mode : {kRn, kRz, kRm, kRp}) {
      const std::string prefix = absl::StrCat("cvt.", kModeNames[mode], ".");
      const Words f32 =
          Eval(absl::StrCat(prefix, "f32.", from.name), {'w', CodeOf(from.bits)}, {in});
      const Words f64 =
          Eval(absl::StrCat(prefix, "f64.", from.name), {'d', CodeOf(from.bits)}, {in});
      const Words f16 =
          Eval(absl::StrCat(prefix, "f16.", from.name), {'h', CodeOf(from.bits)}, {in});
      for (int i = 0; i < 32; ++i) {
        const Quad v = Quad(ValueOf(in[i], from));
        ASSERT_EQ(f32[i], Bits<uint32_t>(RoundQuad<float>(v, mode))) << prefix << from.name << i;
        ASSERT_EQ(f64[i], Bits<uint64_t>(RoundQuad<double>(v, mode))) << prefix << from.name << i;
        if (mode == kRn) {
          ASSERT_EQ(f16[i], v == 0 ? 0 : RoundHalf(v, false)) << from.name << i;
        }
      }
    }
  }
}

double RoundedToInteger(double x, const std::string& mode) {
  const double down = std::floor(x), up = std::ceil(x);
  if (mode == "rmi") return down;
  if (mode == "rpi") return up;
  if (mode == "rzi") return x < 0 ? up : down;
  if (x - down != up - x) return x - down < up - x ? down : up;
  return std::fmod(down, 2) == 0 ? down : up;
}

TEST(Convert, FloatsToIntegersClamp) {
  for (const IntType& to : kInts) {
    for (const std::string mode : {"rni", "rzi", "rmi", "rpi"}) {
      const std::vector<double> numbers = Numbers(to.bits);
      Words singles, doubles;
      for (double v : numbers) {
        singles.push_back(Bits<uint32_t>(static_cast<float>(v)));
        doubles.push_back(Bits<uint64_t>(v));
      }
      const std::string codes_32 = {CodeOf(to.bits), 'w'}, codes_64 = {CodeOf(to.bits), 'd'};
      const Words from32 =
          Eval(absl::StrCat("cvt.", mode, ".", to.name, ".f32"), codes_32, {singles});
      const Words from64 =
          Eval(absl::StrCat("cvt.", mode, ".", to.name, ".f64"), codes_64, {doubles});
      const Quad low = to.is_signed ? -std::ldexp(1.0, to.bits - 1) : 0;
      const Quad high = Quad(std::ldexp(1.0, to.bits - (to.is_signed ? 1 : 0))) - 1;
      const auto expected = [&](double v) {
        const Quad r = std::min(std::max(Quad(RoundedToInteger(v, mode)), low), high);
        const uint64_t raw = uint64_t(__int128(r)) & MaskOf(to.bits);
        return uint64_t(ValueOf(raw, to)) & MaskOf(std::max(to.bits, 16));
      };
      for (int i = 0; i < 32; ++i) {
        ASSERT_EQ(from32[i], expected(static_cast<float>(numbers[i])))
            << mode << to.name << numbers[i];
        ASSERT_EQ(from64[i], expected(numbers[i])) << mode << to.name << numbers[i];
      }
    }
  }
}

TEST(Convert, NaNToInteger) {
  const Words nan32 = {0x7fc00000}, nan64 = {0x7ff8000000000000};
  EXPECT_EQ(Eval("cvt.rzi.s32.f32", "ww", {nan32})[0], 0u);
  EXPECT_EQ(Eval("cvt.rzi.u32.f32", "ww", {nan32})[0], 0u);
  EXPECT_EQ(Eval("cvt.rzi.s64.f32", "dw", {nan32})[0], uint64_t{1} << 63);
  EXPECT_EQ(Eval("cvt.rzi.s32.f64", "wd", {nan64})[0], uint64_t{1} << 31);
  EXPECT_EQ(Eval("cvt.rzi.s32.f32", "ww", {{0x7f800000}})[0], 0x7fffffffu);
  EXPECT_EQ(Eval("cvt.rzi.u32.f32", "ww", {{0xff800000}})[0], 0u);
}

TEST(Convert, AllHalvesToSingle) {
  for (const bool bf : {false, true}) {
    const std::string type = bf ? "bf16" : "f16";
    for (uint64_t base = 0; base < 0x10000; base += 32 * 7) {
      Words in;
      for (int i = 0; i < 32; ++i) in.push_back((base + 7 * i) & 0xffff);
      const Words got = Eval("cvt.f32." + type, "wh", {in});
      for (int i = 0; i < 32; ++i) {
        const double v = HalfValue(in[i], bf);
        const uint64_t expected =
            std::isnan(v) ? 0x7fffffff : Bits<uint32_t>(static_cast<float>(v));
        ASSERT_EQ(got[i], expected) << type << " 0x" << std::hex << in[i];
      }
    }
  }
}

TEST(Convert, SinglesToHalves) {
  std::mt19937 random(3);
  for (int round = 0; round < 60; ++round) {
    Words in, other;
    for (int i = 0; i < 32; ++i) {
      // Near and exactly on ties, in the subnormal range, and anything.
      const uint32_t half = random() & 0x7fff;
      const float tie =
          static_cast<float>((HalfValue(half, false) + HalfValue(half + 1, false)) / 2);
      const uint32_t bits = i % 3 == 0 ? static_cast<uint32_t>(random()) : Bits<uint32_t>(tie);
      in.push_back(std::isfinite(Bits<float>(bits)) ? bits + (i % 3 == 2 ? 1 : 0) : 0x3f800000);
    }
    other.assign(in.rbegin(), in.rend());
    for (const bool bf : {false, true}) {
      const std::string type = bf ? "bf16" : "f16";
      const Words got = Eval("cvt.rn." + type + ".f32", "hw", {in});
      const Words pair = Eval("cvt.rn." + type + "x2.f32", "www", {in, other});
      for (int i = 0; i < 32; ++i) {
        const float v = Bits<float>(static_cast<uint32_t>(in[i]));
        const uint64_t expected = v == 0 ? uint64_t{std::signbit(v)} << 15
                                         : RoundHalf(Quad(v), bf) | uint64_t{std::signbit(v)} << 15;
        ASSERT_EQ(got[i], expected) << type << " of " << v;
        ASSERT_EQ(pair[i], got[i] << 16 | got[31 - i]);  // the first source is the upper half
      }
    }
  }
  EXPECT_EQ(Eval("cvt.rn.f16.f32", "hw", {{0x7fc12345}})[0], 0x7fffu);
  EXPECT_EQ(Eval("cvt.rn.f16.f32", "hw", {{0xff800000}})[0], 0xfc00u);
  EXPECT_EQ(Eval("cvt.rz.f16.f32", "hw", {{Bits<uint32_t>(1e6f)}})[0], 0x7bffu);
  EXPECT_EQ(Eval("cvt.rn.satfinite.bf16.f32", "hw", {{0x7f800000}})[0], 0x7f7fu);
  EXPECT_EQ(Eval("cvt.rn.relu.f16.f32", "hw", {{Bits<uint32_t>(-2.0f)}})[0], 0u);
}

TEST(Convert, BetweenSingleAndDouble) {
  Words in;
  for (double v : Numbers(9)) in.push_back(Bits<uint64_t>(v));
  for (const Mode mode : {kRn, kRz, kRm, kRp}) {
    const Words got = Eval(absl::StrCat("cvt.", kModeNames[mode], ".f32.f64"), "wd", {in});
    for (int i = 0; i < 32; ++i) {
      const double v = Bits<double>(in[i]);
      if (v == 0) continue;
      ASSERT_EQ(got[i], Bits<uint32_t>(RoundQuad<float>(Quad(v), mode))) << v;
    }
  }
  EXPECT_EQ(Eval("cvt.f64.f32", "dw", {{Bits<uint32_t>(1e-40f)}})[0],
            Bits<uint64_t>(static_cast<double>(1e-40f)));
}

TEST(Convert, RoundsToIntegralAndSaturates) {
  Words in;
  const std::vector<double> numbers = Numbers(4);
  for (double v : numbers) in.push_back(Bits<uint32_t>(static_cast<float>(v)));
  for (const std::string mode : {"rni", "rzi", "rmi", "rpi"}) {
    const Words got = Eval("cvt." + mode + ".f32.f32", "ww", {in});
    for (int i = 0; i < 32; ++i) {
      const float v = static_cast<float>(numbers[i]);
      ASSERT_EQ(Bits<float>(static_cast<uint32_t>(got[i])), RoundedToInteger(v, mode)) << mode << v;
    }
  }
  const Words clamped = Eval("cvt.sat.f32.f32", "ww", {in});
  for (int i = 0; i < 32; ++i) {
    const float v = static_cast<float>(numbers[i]);
    EXPECT_EQ(Bits<float>(static_cast<uint32_t>(clamped[i])), std::min(std::max(v, 0.0f), 1.0f))
        << v;
  }
  EXPECT_EQ(Eval("cvt.ftz.f32.f32", "ww", {{1}})[0], 0u);
  EXPECT_EQ(Eval("cvt.f32.f32", "ww", {{1}})[0], 1u);
}

// Every e4m3 and e5m2, to f16 (exact) and back.
TEST(Convert, EightBitFloats) {
  const struct {
    const char* name;
    int exponent_bits, fraction_bits;
  } kFormats[] = {{"e4m3x2", 4, 3}, {"e5m2x2", 5, 2}};
  for (const auto& format : kFormats) {
    for (uint64_t base = 0; base < 256; base += 32) {
      Words in;
      for (uint64_t i = 0; i < 32; ++i) in.push_back((base + i) | (255 - base - i) << 8);
      const Words halves = Eval(absl::StrCat("cvt.rn.f16x2.", format.name), "wh", {in});
      const Words back =
          Eval(absl::StrCat("cvt.rn.satfinite.", format.name, ".f16x2"), "hw", {halves});
      for (int i = 0; i < 32; ++i) {
        for (int part = 0; part < 2; ++part) {
          const uint64_t bits = in[i] >> (8 * part) & 0xff;
          const int bias = (1 << (format.exponent_bits - 1)) - 1;
          const int exponent =
              int(bits >> format.fraction_bits) & ((1 << format.exponent_bits) - 1);
          const int fraction = int(bits) & ((1 << format.fraction_bits) - 1);
          const bool top = exponent == (1 << format.exponent_bits) - 1;
          const bool special = format.fraction_bits == 2 ? top : top && fraction == 7;
          if (special) continue;
          const double value =
              (bits >> 7 != 0 ? -1 : 1) *
              (exponent == 0 ? std::ldexp(fraction, 1 - bias - format.fraction_bits)
                             : std::ldexp(fraction + (1 << format.fraction_bits),
                                          exponent - bias - format.fraction_bits));
          ASSERT_EQ(HalfValue(halves[i] >> (16 * part) & 0xffff, false), value) << bits;
          ASSERT_EQ(back[i] >> (8 * part) & 0xff, bits);
        }
      }
    }
  }
  EXPECT_EQ(Eval("cvt.rn.satfinite.e4m3x2.f32", "hww",
                 {{Bits<uint32_t>(1e9f)}, {Bits<uint32_t>(-17.0f)}})[0],
            0x7ed8u);  // 448 and -16 (ties to even)
}

}  // namespace
}  // namespace ptxsmith::emu

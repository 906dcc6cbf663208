// Integer and bit instructions against arithmetic in 128 bits, bit by bit where the emulator uses
// words, on edge values and random ones.
#include <algorithm>
#include <functional>
#include <random>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/emu/op_runner.h"

namespace ptxsmith::emu {
namespace {

using Wide = __int128;
using Words = std::vector<uint64_t>;

struct IntType {
  const char* name;
  int bits;
  bool is_signed;
  char code() const { return bits == 64 ? 'd' : bits == 32 ? 'w' : 'h'; }
  uint64_t mask() const { return bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1; }
  Wide Value(uint64_t raw) const {
    raw &= mask();
    const bool negative = is_signed && (raw >> (bits - 1)) != 0;
    return negative ? Wide(raw) - (Wide(1) << bits) : Wide(raw);
  }
};
constexpr IntType kInts[] = {{"u16", 16, false}, {"s16", 16, true},  {"u32", 32, false},
                             {"s32", 32, true},  {"u64", 64, false}, {"s64", 64, true}};

// 32 values: corners first, then random ones of all magnitudes.
Words Samples(int bits, uint64_t seed) {
  std::mt19937_64 random(seed);
  const uint64_t top = uint64_t{1} << (bits - 1);
  Words values = {0, 1, 2, 3, 7, top, top - 1, top + 1, ~uint64_t{0}, ~uint64_t{1}};
  std::shuffle(values.begin(), values.end(), random);
  while (values.size() < 32) values.push_back(random() >> (random() % 64));
  return values;
}

using Expectation = std::function<Wide(const Wide* v)>;

// Checks the instruction on three rounds of samples. `types` are those of the sources.
void Check(const std::string& mnemonic, const IntType& result, const std::vector<IntType>& types,
           const Expectation& expected, const std::string& tail = "",
           uint64_t source_mask = ~uint64_t{0}) {
  OpText op{mnemonic, std::string(1, result.code()), tail};
  for (const IntType& type : types) op.codes += type.code();
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    std::vector<Words> sources;
    for (size_t s = 0; s < types.size(); ++s) {
      sources.push_back(Samples(types[s].bits, seed * 16 + s));
      // Shift amounts and such: mostly small.
      if (s + 1 == types.size()) {
        for (uint64_t& v : sources[s]) v &= source_mask;
      }
    }
    ASSERT_OK_AND_ASSIGN(const Words got, RunOp(op, sources));
    for (size_t lane = 0; lane < 32; ++lane) {
      Wide values[4] = {};
      std::string inputs;
      for (size_t s = 0; s < types.size(); ++s) {
        values[s] = types[s].Value(sources[s][lane]);
        absl::StrAppend(&inputs, " 0x", absl::Hex(sources[s][lane] & types[s].mask()));
      }
      ASSERT_EQ(got[lane], uint64_t(expected(values)) & result.mask()) << mnemonic << inputs;
    }
  }
}

class IntOps : public testing::TestWithParam<IntType> {
 protected:
  std::string Name(const char* op) const { return absl::StrCat(op, ".", GetParam().name); }
  void Binary(const char* op, const Expectation& e) { Check(Name(op), t_, {t_, t_}, e); }
  const IntType t_ = GetParam();
};
INSTANTIATE_TEST_SUITE_P(Types, IntOps, testing::ValuesIn(kInts),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(IntOps, Arithmetic) {
  Binary("add", [](const Wide* v) { return v[0] + v[1]; });
  Binary("sub", [](const Wide* v) { return v[0] - v[1]; });
  Binary("mul.lo", [](const Wide* v) { return Wide((unsigned __int128)v[0] * v[1]); });
  Binary("min", [](const Wide* v) { return v[0] < v[1] ? v[0] : v[1]; });
  Binary("max", [](const Wide* v) { return v[0] < v[1] ? v[1] : v[0]; });
  Check(Name("sad"), t_, {t_, t_, t_},
        [](const Wide* v) { return v[2] + (v[0] > v[1] ? v[0] - v[1] : v[1] - v[0]); });
  Check(Name("mad.lo"), t_, {t_, t_, t_},
        [](const Wide* v) { return Wide((unsigned __int128)v[0] * v[1]) + v[2]; });
}

TEST_P(IntOps, HighHalfOfAProduct) {
  // Schoolbook on halves, so that 64 bits fit: floor((a * b) / 2^bits).
  const int half = t_.bits / 2;
  const Expectation high = [half](const Wide* v) {
    const Wide base = Wide(1) << half;
    const Wide a1 = v[0] >> half, a0 = v[0] - a1 * base, b1 = v[1] >> half, b0 = v[1] - b1 * base;
    const Wide low = a0 * b0, middle = a1 * b0 + (low >> half);
    const Wide middle_low = (middle & (base - 1)) + a0 * b1;
    return a1 * b1 + (middle >> half) + (middle_low >> half);
  };
  Binary("mul.hi", high);
  Check(Name("mad.hi"), t_, {t_, t_, t_}, [&](const Wide* v) { return high(v) + v[2]; });
}

TEST_P(IntOps, Division) {
  // A divisor of zero is a fault, so it is replaced.
  for (const bool quotient : {true, false}) {
    OpText op{Name(quotient ? "div" : "rem"), std::string(3, t_.code()), ""};
    Words a = Samples(t_.bits, 5), b = Samples(t_.bits, 6);
    for (uint64_t& v : b) v = (v & t_.mask()) == 0 ? 3 : v;
    ASSERT_OK_AND_ASSIGN(const Words got, RunOp(op, {a, b}));
    for (size_t i = 0; i < 32; ++i) {
      const Wide x = t_.Value(a[i]), y = t_.Value(b[i]);
      Wide q = 0;
      unsigned __int128 rest = x < 0 ? -x : x;
      const unsigned __int128 d = y < 0 ? -y : y;
      for (int bit = t_.bits - 1; bit >= 0; --bit) {  // restoring division
        if (rest >= (d << bit)) {
          rest -= d << bit;
          q += Wide(1) << bit;
        }
      }
      if ((x < 0) != (y < 0)) q = -q;
      const Wide r = x < 0 ? -Wide(rest) : Wide(rest);
      EXPECT_EQ(got[i], uint64_t(quotient ? q : r) & t_.mask()) << op.mnemonic << " lane " << i;
    }
  }
}

TEST_P(IntOps, ShiftsClampTheirAmount) {
  const IntType amount{"u32", 32, false};
  const std::string bits_name = absl::StrCat("b", t_.bits);
  Check(
      absl::StrCat("shl.", bits_name), t_, {t_, amount},
      [&](const Wide* v) { return v[1] >= t_.bits ? 0 : v[0] * (Wide(1) << int(v[1])); }, "", 127);
  Check(
      Name("shr"), t_, {t_, amount},
      [&](const Wide* v) {
        // Floor division by a power of two.
        const Wide d = Wide(1) << (v[1] > 70 ? 70 : int(v[1]));
        return v[0] / d - (v[0] % d < 0 ? 1 : 0);
      },
      "", 127);
}

TEST_P(IntOps, Comparisons) {
  const struct {
    const char* name;
    std::function<bool(Wide, Wide)> f;
  } kCompares[] = {{"eq", [](Wide a, Wide b) { return a == b; }},
                   {"ne", [](Wide a, Wide b) { return a != b; }},
                   {"lt", [](Wide a, Wide b) { return b - a > 0; }},
                   {"le", [](Wide a, Wide b) { return b - a >= 0; }},
                   {"gt", [](Wide a, Wide b) { return a - b > 0; }},
                   {"ge", [](Wide a, Wide b) { return a - b >= 0; }}};
  for (const auto& compare : kCompares) {
    const OpText op{absl::StrCat("setp.", compare.name, ".", t_.name),
                    std::string("p") + t_.code() + t_.code(), ""};
    Words a = Samples(t_.bits, 11), b = Samples(t_.bits, 12);
    for (int i = 20; i < 32; ++i) b[i] = a[i];
    ASSERT_OK_AND_ASSIGN(const Words got, RunOp(op, {a, b}));
    for (size_t i = 0; i < 32; ++i) {
      EXPECT_EQ(got[i] != 0, compare.f(t_.Value(a[i]), t_.Value(b[i]))) << op.mnemonic << i;
    }
  }
}

TEST_P(IntOps, Select) {
  const OpText op{Name("selp"), std::string(3, t_.code()) + "p", ""};
  const Words a = Samples(t_.bits, 1), b = Samples(t_.bits, 2), p = {0, 1, 1, 0, 0, 7};
  ASSERT_OK_AND_ASSIGN(const Words got, RunOp(op, {a, b, p}));
  for (size_t i = 0; i < 32; ++i) {
    EXPECT_EQ(got[i], (p[i % p.size()] != 0 ? a[i] : b[i]) & t_.mask()) << i;
  }
  Check(absl::StrCat("slct.", t_.name, ".s32"), t_, {t_, t_, kInts[3]},
        [](const Wide* v) { return v[2] >= 0 ? v[0] : v[1]; });
}

TEST(IntegerOps, SignedOnly) {
  for (const IntType& t : kInts) {
    if (!t.is_signed) continue;
    Check(absl::StrCat("neg.", t.name), t, {t}, [](const Wide* v) { return -v[0]; });
    Check(absl::StrCat("abs.", t.name), t, {t},
          [](const Wide* v) { return v[0] < 0 ? -v[0] : v[0]; });
  }
  const IntType& s32 = kInts[3];
  const auto clamp = [](Wide v) {
    return v > 0x7fffffff ? Wide(0x7fffffff) : v < -Wide(0x80000000u) ? -Wide(0x80000000u) : v;
  };
  Check("add.sat.s32", s32, {s32, s32}, [&](const Wide* v) { return clamp(v[0] + v[1]); });
  Check("sub.sat.s32", s32, {s32, s32}, [&](const Wide* v) { return clamp(v[0] - v[1]); });
}

TEST(IntegerOps, WideProducts) {
  for (int i = 0; i < 4; ++i) {
    const IntType& from = kInts[i];
    const IntType& to = kInts[i + 2];
    Check(absl::StrCat("mul.wide.", from.name), to, {from, from},
          [](const Wide* v) { return v[0] * v[1]; });
    Check(absl::StrCat("mad.wide.", from.name), to, {from, from, to},
          [](const Wide* v) { return v[0] * v[1] + v[2]; });
  }
  for (const IntType& t : {kInts[2], kInts[3]}) {
    const auto low24 = [&t](Wide v) {
      const Wide low = v & 0xffffff;
      return t.is_signed && low >= 0x800000 ? low - 0x1000000 : low;
    };
    Check(absl::StrCat("mul24.lo.", t.name), t, {t, t},
          [&](const Wide* v) { return low24(v[0]) * low24(v[1]); });
    Check(absl::StrCat("mul24.hi.", t.name), t, {t, t},
          [&](const Wide* v) { return (low24(v[0]) * low24(v[1])) >> 16; });
    Check(absl::StrCat("mad24.lo.", t.name), t, {t, t, t},
          [&](const Wide* v) { return low24(v[0]) * low24(v[1]) + v[2]; });
  }
}

TEST(IntegerOps, BitwiseOfEveryWidth) {
  for (int i : {0, 2, 4}) {
    const IntType& t = kInts[i];
    const std::string b = absl::StrCat(".b", t.bits);
    // a + b = (a ^ b) + 2 (a & b) ties the three together.
    Check("and" + b, t, {t, t}, [](const Wide* v) {
      Wide r = 0;
      for (int k = 0; k < 64; ++k) r += ((v[0] >> k) % 2 + (v[1] >> k) % 2 == 2 ? Wide(1) : 0) << k;
      return r;
    });
    Check("or" + b, t, {t, t}, [](const Wide* v) { return v[0] + v[1] - (v[0] & v[1]); });
    Check("xor" + b, t, {t, t}, [](const Wide* v) { return v[0] + v[1] - 2 * (v[0] & v[1]); });
    Check("not" + b, t, {t}, [](const Wide* v) { return -v[0] - 1; });
    Check("cnot" + b, t, {t}, [](const Wide* v) { return v[0] == 0 ? 1 : 0; });
    Check("mov" + b, t, {t}, [](const Wide* v) { return v[0]; });
  }
}

int BitAt(Wide v, int i) { return int((v >> i) & 1); }

TEST(IntegerOps, CountsAndScans) {
  const IntType& u32 = kInts[2];
  for (const IntType& t : {kInts[2], kInts[4]}) {
    const std::string b = absl::StrCat(".b", t.bits);
    const int bits = t.bits;
    const auto highest = [bits](Wide v) {
      for (int i = bits - 1; i >= 0; --i) {
        if (BitAt(v, i) != 0) return i;
      }
      return -1;
    };
    Check("popc" + b, u32, {t}, [bits](const Wide* v) {
      int n = 0;
      for (int i = 0; i < bits; ++i) n += BitAt(v[0], i);
      return n;
    });
    Check("clz" + b, u32, {t}, [&](const Wide* v) { return bits - 1 - highest(v[0]); });
    Check(absl::StrCat("bfind.", t.name), u32, {t}, [&](const Wide* v) { return highest(v[0]); });
    Check("brev" + b, t, {t}, [bits](const Wide* v) {
      Wide r = 0;
      for (int i = 0; i < bits; ++i) r += Wide(BitAt(v[0], i)) << (bits - 1 - i);
      return r;
    });
  }
  Check("bfind.shiftamt.u32", u32, {u32}, [](const Wide* v) {
    for (int i = 31; i >= 0; --i) {
      if (BitAt(v[0], i) != 0) return 31 - i;
    }
    return -1;
  });
  Check("bfind.s32", u32, {kInts[3]}, [](const Wide* v) {
    for (int i = 30; i >= 0; --i) {
      if (BitAt(v[0], i) != (v[0] < 0 ? 1 : 0)) return i;
    }
    return -1;
  });
}

TEST(IntegerOps, BitFields) {
  for (int i : {2, 3, 4, 5}) {
    const IntType& t = kInts[i];
    // The manual's pseudo-code, bit by bit. Positions and lengths beyond 255 are cut.
    const OpText op{absl::StrCat("bfe.", t.name), std::string(2, t.code()) + "ww", ""};
    const Words a = Samples(t.bits, 3);
    Words pos, len;
    std::mt19937 random(i);
    for (int k = 0; k < 32; ++k) {
      pos.push_back(random() % (t.bits + 8) + (k % 7 == 0 ? 256 : 0));
      len.push_back(k % 5 == 0 ? 0 : random() % (t.bits + 8));
    }
    ASSERT_OK_AND_ASSIGN(const Words got, RunOp(op, {a, pos, len}));
    for (int k = 0; k < 32; ++k) {
      const int p = int(pos[k] & 0xff), n = int(len[k] & 0xff), msb = t.bits - 1;
      const int sign_at = std::min(p + n - 1, msb);
      const int sign = !t.is_signed || n == 0 ? 0 : BitAt(Wide(a[k] & t.mask()), sign_at);
      Wide r = 0;
      for (int bit = 0; bit <= msb; ++bit) {
        const int value = bit < n && p + bit <= msb ? BitAt(Wide(a[k] & t.mask()), p + bit) : sign;
        r += Wide(value) << bit;
      }
      EXPECT_EQ(got[k], uint64_t(r)) << op.mnemonic << " " << a[k] << " " << p << " " << n;
    }
    if (t.is_signed) continue;
    const OpText insert{absl::StrCat("bfi.b", t.bits), std::string(3, t.code()) + "ww", ""};
    const Words b = Samples(t.bits, 4);
    ASSERT_OK_AND_ASSIGN(const Words merged, RunOp(insert, {a, b, pos, len}));
    for (int k = 0; k < 32; ++k) {
      const int p = int(pos[k] & 0xff), n = int(len[k] & 0xff);
      Wide r = Wide(b[k] & t.mask());
      for (int bit = 0; bit < n && p + bit < t.bits; ++bit) {
        r &= ~(Wide(1) << (p + bit));
        r |= Wide(BitAt(Wide(a[k]), bit)) << (p + bit);
      }
      EXPECT_EQ(merged[k], uint64_t(r)) << insert.mnemonic << " " << p << " " << n;
    }
  }
}

TEST(IntegerOps, FunnelShifts) {
  const IntType& u32 = kInts[2];
  for (const bool left : {true, false}) {
    for (const bool wrap : {true, false}) {
      Check(
          absl::StrCat("shf.", left ? "l" : "r", wrap ? ".wrap" : ".clamp", ".b32"), u32,
          {u32, u32, u32},
          [=](const Wide* v) {
            const int n = wrap ? int(v[2] & 31) : int(v[2] > 32 ? 32 : v[2]);
            const Wide both = v[1] * (Wide(1) << 32) + v[0];
            return left ? (both << n) >> 32 : both >> n;
          },
          "", 63);
    }
  }
}

TEST(IntegerOps, Lop3OfEveryTable) {
  const IntType& u32 = kInts[2];
  for (int table = 0; table < 256; table += 5) {
    Check(
        "lop3.b32", u32, {u32, u32, u32},
        [table](const Wide* v) {
          Wide r = 0;
          for (int i = 0; i < 32; ++i) {
            const int row = BitAt(v[0], i) * 4 + BitAt(v[1], i) * 2 + BitAt(v[2], i);
            r += Wide(table >> row & 1) << i;
          }
          return r;
        },
        absl::StrCat(", ", table));
  }
}

TEST(IntegerOps, PrmtPicksBytes) {
  const IntType& u32 = kInts[2];
  const auto byte_of = [](const Wide* v, int i) {
    return Wide((i < 4 ? v[0] : v[1]) >> (8 * (i % 4))) & 0xff;
  };
  Check("prmt.b32", u32, {u32, u32, u32}, [&](const Wide* v) {
    Wide r = 0;
    for (int i = 0; i < 4; ++i) {
      const int nibble = int(v[2] >> (4 * i)) & 15;
      Wide byte = byte_of(v, nibble & 7);
      if (nibble >= 8) byte = byte >= 128 ? 255 : 0;
      r += byte << (8 * i);
    }
    return r;
  });
  // The modes of the manual's table: bytes for selector n.
  const struct {
    const char* mode;
    int bytes[4][4];
  } kModes[] = {{"f4e", {{0, 1, 2, 3}, {1, 2, 3, 4}, {2, 3, 4, 5}, {3, 4, 5, 6}}},
                {"b4e", {{0, 7, 6, 5}, {1, 0, 7, 6}, {2, 1, 0, 7}, {3, 2, 1, 0}}},
                {"rc8", {{0, 0, 0, 0}, {1, 1, 1, 1}, {2, 2, 2, 2}, {3, 3, 3, 3}}},
                {"ecl", {{0, 1, 2, 3}, {1, 1, 2, 3}, {2, 2, 2, 3}, {3, 3, 3, 3}}},
                {"ecr", {{0, 0, 0, 0}, {0, 1, 1, 1}, {0, 1, 2, 2}, {0, 1, 2, 3}}},
                {"rc16", {{0, 1, 0, 1}, {2, 3, 2, 3}, {0, 1, 0, 1}, {2, 3, 2, 3}}}};
  for (const auto& mode : kModes) {
    Check(absl::StrCat("prmt.b32.", mode.mode), u32, {u32, u32, u32}, [&](const Wide* v) {
      Wide r = 0;
      for (int i = 0; i < 4; ++i) r += byte_of(v, mode.bytes[int(v[2] & 3)][i]) << (8 * i);
      return r;
    });
  }
}

TEST(IntegerOps, DotProductsOfBytes) {
  const IntType &u32 = kInts[2], &s32 = kInts[3];
  for (const bool a_signed : {false, true}) {
    for (const bool b_signed : {false, true}) {
      const std::string types =
          absl::StrCat(a_signed ? ".s32" : ".u32", b_signed ? ".s32" : ".u32");
      const auto part = [](Wide word, int i, int bits, bool is_signed) {
        const Wide v = (word >> (bits * i)) & ((1 << bits) - 1);
        return is_signed && v >= (1 << (bits - 1)) ? v - (1 << bits) : v;
      };
      Check("dp4a" + types, s32, {u32, u32, s32}, [&](const Wide* v) {
        Wide sum = v[2];
        for (int i = 0; i < 4; ++i) sum += part(v[0], i, 8, a_signed) * part(v[1], i, 8, b_signed);
        return sum;
      });
      for (const int half : {0, 1}) {
        Check((half == 0 ? "dp2a.lo" : "dp2a.hi") + types, s32, {u32, u32, s32},
              [&](const Wide* v) {
                return v[2] + part(v[0], 0, 16, a_signed) * part(v[1], 2 * half, 8, b_signed) +
                       part(v[0], 1, 16, a_signed) * part(v[1], 2 * half + 1, 8, b_signed);
              });
      }
    }
  }
}

TEST(IntegerOps, SetpCombinesAndInverts) {
  const std::string text = Module(R"(
and.b32 %r2, %r0, 1;
setp.eq.u32 %p1, %r2, 0;
setp.lt.and.u32 %p2|%p3, %r0, 10, %p1;
setp.lt.or.u32 %p4|%p5, %r0, 10, !%p1;
setp.lt.xor.u32 %p6|%p7, %r0, 10, %p1;
selp.u32 %r3, 1, 0, %p2;
selp.u32 %r4, 2, 0, %p3;
selp.u32 %r5, 4, 0, %p4;
selp.u32 %r6, 8, 0, %p5;
selp.u32 %r7, 16, 0, %p6;
selp.u32 %r8, 32, 0, %p7;
and.pred %p8, %p1, %p4;
not.pred %p9, %p8;
xor.pred %p10, %p9, %p1;
or.pred %p11, %p10, %p2;
selp.u32 %r9, 64, 0, %p11;
or.b32 %r3, %r3, %r4; or.b32 %r3, %r3, %r5; or.b32 %r3, %r3, %r6; or.b32 %r3, %r3, %r7;
or.b32 %r3, %r3, %r8; or.b32 %r3, %r3, %r9;
mul.wide.u32 %d4, %r0, 4;
add.u64 %d4, %d2, %d4;
st.global.u32 [%d4], %r3;
)");
  ASSERT_OK_AND_ASSIGN(const KernelResult result, RunKernel({.text = text}));
  for (uint32_t i = 0; i < 32; ++i) {
    const bool low = i < 10, even = i % 2 == 0;
    const bool p4 = low || !even, p2 = low && even;
    const uint32_t expected = (p2 ? 1 : 0) + (!low && even ? 2 : 0) + (p4 ? 4 : 0) +
                              (!low || !even ? 8 : 0) + (low != even ? 16 : 0) +
                              (!low != even ? 32 : 0) + (((!(even && p4)) != even) || p2 ? 64 : 0);
    EXPECT_EQ(result.b[i], expected) << i;
  }
}

TEST(IntegerOps, VectorMovesPackAndUnpack) {
  const std::string text = Module(R"(
mov.b32 %r2, 0x12345678;
mov.b32 {%h1, %h2}, %r2;
mov.b32 %r3, {%h2, %h1};
mov.b64 %d4, {%r2, %r3};
mov.b64 {%h3, %h4, %h5, %h6}, %d4;
mov.b64 %d5, {%h6, %h5, %h4, %h3};
mov.b64 {%r4, _}, %d5;
mov.b64 {_, %r5}, %d5;
st.global.v4.u32 [%d2], {%r3, %r4, %r5, %r2};
)");
  ASSERT_OK_AND_ASSIGN(const KernelResult result, RunKernel({.text = text, .block = {1, 1, 1}}));
  EXPECT_EQ(result.b[0], 0x56781234u);
  EXPECT_EQ(result.b[1], 0x12345678u);
  EXPECT_EQ(result.b[2], 0x56781234u);
}

}  // namespace
}  // namespace ptxsmith::emu

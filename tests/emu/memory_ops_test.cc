// Loads, stores and atomics of every type and space, asynchronous copies, barriers, and grids on
// several host threads.
#include <cmath>
#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/emu/op_runner.h"
#include "tests/emu/rounding.h"

namespace ptxsmith::emu {
namespace {

std::vector<uint32_t> RandomWords(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint32_t> words(n);
  for (uint32_t& w : words) w = static_cast<uint32_t>(random());
  return words;
}

// The signed or unsigned integer of `bytes` bytes at `at`.
int64_t At(const std::vector<uint32_t>& words, size_t at, size_t bytes, bool is_signed) {
  uint64_t v = 0;
  std::memcpy(&v, reinterpret_cast<const char*>(words.data()) + at, bytes);
  if (is_signed && bytes < 8 && (v >> (8 * bytes - 1)) != 0) v |= ~uint64_t{0} << (8 * bytes);
  return static_cast<int64_t>(v);
}

struct LoadCase {
  const char* type;
  size_t bytes;
  bool is_signed;
};
constexpr LoadCase kLoads[] = {{"u8", 1, false},  {"s8", 1, true},  {"b8", 1, false},
                               {"u16", 2, false}, {"s16", 2, true}, {"b16", 2, false},
                               {"u32", 4, false}, {"s32", 4, true}, {"b32", 4, false},
                               {"u64", 8, false}, {"s64", 8, true}};

// Uniform, contiguous, strided and reversed addresses, full and partial warps.
TEST(Loads, EveryTypeAndPattern) {
  const std::vector<uint32_t> a = RandomWords(1024, 1);
  for (const LoadCase& c : kLoads) {
    for (const int stride : {0, 1, 3, -1}) {
      for (const int active : {32, 13}) {
        for (const int vector : {1, 2, 4}) {
          if (c.bytes * vector > 16) continue;
          const size_t unit = c.bytes * vector;
          const size_t first = stride < 0 ? 31 : 2;
          std::string list = "%d20";
          for (int k = 1; k < vector; ++k) absl::StrAppend(&list, ", %d", 20 + k);
          std::string body = absl::StrCat(
              "setp.lt.u32 %p1, %r0, ", active, "; cvt.s64.s32 %d5, %r0; mul.lo.s64 %d5, %d5, ",
              stride * static_cast<int>(unit), "; add.s64 %d4, %d1, %d5;\n@%p1 ld.global",
              vector == 1 ? "." : absl::StrCat(".v", vector, "."), c.type,
              vector == 1 ? " %d20" : " {" + list + "}", ", [%d4+", first * unit, "];\n");
          absl::StrAppend(&body, "mul.wide.u32 %d6, %r0, 32; add.u64 %d6, %d2, %d6;\n");
          for (int k = 0; k < vector; ++k) {
            absl::StrAppend(&body, "@%p1 st.global.u64 [%d6+", 8 * k, "], %d", 20 + k, ";\n");
          }
          ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel({.text = Module(body), .a = a}));
          for (int lane = 0; lane < active; ++lane) {
            for (int k = 0; k < vector; ++k) {
              const size_t at = (first + stride * lane) * unit + k * c.bytes;
              uint64_t value = 0;
              std::memcpy(&value, &got.b[8 * lane + 2 * k], 8);
              ASSERT_EQ(static_cast<int64_t>(value), At(a, at, c.bytes, c.is_signed))
                  << c.type << " stride " << stride << " v" << vector << " lane " << lane;
            }
          }
          if (active < 32) {
            EXPECT_EQ(got.b[8 * active], 0xdeadbeefu);
          }
        }
      }
    }
  }
}

TEST(Loads, SmallTypesExtendToTheirRegister) {
  const std::vector<uint32_t> a = {0x0000f181};
  ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel({.text = Module(R"(
ld.global.s8 %h1, [%d1]; ld.global.s8 %r2, [%d1]; ld.global.s16 %r3, [%d1]; ld.global.u16 %h2, [%d1];
cvt.u32.u16 %r4, %h1; cvt.u32.u16 %r5, %h2;
st.global.v4.u32 [%d2], {%r4, %r2, %r3, %r5};)"),
                                                          .block = {1, 1, 1},
                                                          .a = a}));
  EXPECT_EQ(got.b[0], 0x0000ff81u);
  EXPECT_EQ(got.b[1], 0xffffff81u);
  EXPECT_EQ(got.b[2], 0xfffff181u);
  EXPECT_EQ(got.b[3], 0x0000f181u);
}

TEST(Stores, EveryWidthLeavesItsNeighboursAlone) {
  for (const int bytes : {1, 2, 4}) {
    const std::string type = absl::StrCat("u", 8 * bytes);
    const std::string body =
        absl::StrCat("mul.lo.u32 %r2, %r0, 0x01030507; mul.wide.u32 %d4, %r0, ", 2 * bytes,
                     "; add.u64 %d4, %d2, %d4; cvt.u16.u32 %h1, %r2; st.global.", type, " [%d4+",
                     bytes, "], ", bytes == 4 ? "%r2" : "%h1", ";");
    ASSERT_OK_AND_ASSIGN(const KernelResult got,
                         RunKernel({.text = Module(body), .clear_b = true}));
    for (int lane = 0; lane < 32; ++lane) {
      const uint64_t mask = (uint64_t{1} << (8 * bytes)) - 1;
      EXPECT_EQ(uint64_t(At(got.b, 2 * bytes * lane + bytes, bytes, false)),
                (lane * 0x01030507u) & mask);
      EXPECT_EQ(At(got.b, 2 * bytes * lane, bytes, false), 0);
    }
  }
}

TEST(Spaces, LocalConstAndGenericAddresses) {
  const std::string text = Module(R"(
.local .align 8 .b8 q[32];
mul.lo.u32 %r2, %r0, 7;
st.local.u32 [q+8], %r2;
mov.u64 %d4, q; cvta.local.u64 %d4, %d4; ld.u32 %r3, [%d4+8];
mov.u64 %d5, k; cvta.const.u64 %d5, %d5; ld.u32 %r4, [%d5+4];
ld.const.u32 %r5, [k+8];
shl.b32 %r6, %r0, 2; st.shared.u32 [%r6], %r3; mul.wide.u32 %d6, %r0, 4;
mov.u64 %d7, s; cvta.shared.u64 %d7, %d7; add.u64 %d7, %d7, %d6; ld.u32 %r7, [%d7];
cvta.to.shared.u64 %d8, %d7; ld.shared.u32 %r8, [%d8]; add.u32 %r7, %r7, %r8;
// Even lanes read local, odd ones global memory through one instruction.
and.b32 %r9, %r0, 1; setp.eq.u32 %p1, %r9, 1; add.u64 %d9, %d1, %d6; add.u64 %d10, %d4, 8;
selp.u64 %d11, %d9, %d10, %p1; ld.u32 %r10, [%d11];
ld.global.u32 %r11, [table+4]; mov.u64 %d12, table; ld.u32 %r12, [%d12]; add.u32 %r11, %r11, %r12;
add.u32 %r4, %r4, %r5;
mul.wide.u32 %d13, %r0, 16; add.u64 %d13, %d2, %d13;
st.global.v4.u32 [%d13], {%r4, %r7, %r10, %r11};
)",
                                  ".const .align 4 .u32 k[3] = {5, 6, 7};\n"
                                  ".shared .align 4 .b8 s[128];\n"
                                  ".global .align 4 .u32 table[2] = {100, 200};\n");
  ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel({.text = text, .a = RandomWords(32, 2)}));
  const std::vector<uint32_t> a = RandomWords(32, 2);
  for (uint32_t lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(got.b[4 * lane], 13u);
    EXPECT_EQ(got.b[4 * lane + 1], 14 * lane);
    EXPECT_EQ(got.b[4 * lane + 2], lane % 2 == 1 ? a[lane] : 7 * lane);
    EXPECT_EQ(got.b[4 * lane + 3], 300u);
  }
}

TEST(Spaces, ParameterStructsAndVectors) {
  const char* text = R"(.version 7.8
.target sm_80
.address_size 64
.visible .entry kernel(.param .u64 pa, .param .u64 pb, .param .align 8 .b8 pc[8], .param .u32 pn)
{
.reg .b64 %d<4>; .reg .b32 %r<4>; .reg .b16 %h<3>;
ld.param.u64 %d1, [pb];
ld.param.v2.u32 {%r1, %r2}, [pc];
ld.param.u8 %h1, [pn+1];
cvt.u32.u16 %r3, %h1;
st.global.u32 [%d1], %r1;
st.global.u32 [%d1+4], %r2;
st.global.u32 [%d1+8], %r3;
}
)";
  ASSERT_OK_AND_ASSIGN(const KernelResult got,
                       RunKernel({.text = text, .block = {1, 1, 1}, .number = 0x12345678}));
  EXPECT_EQ(got.b[1], 0x30u);  // c is the third allocation: its id lies above bit 36
  EXPECT_EQ(got.b[0], 0u);
  EXPECT_EQ(got.b[2], 0x56u);
}

struct AtomicCase {
  const char* op;
  uint32_t start;
  uint32_t (*expected)(uint32_t start);  // after 64 threads gave their index
};

TEST(Atomics, EveryOperationInBothSpaces) {
  const AtomicCase kCases[] = {
      {"add.u32", 5, [](uint32_t s) { return s + 2016; }},
      {"add.s32", 0x7fffffff, [](uint32_t s) { return s + 2016; }},
      {"min.u32", 9, [](uint32_t) { return 0u; }},
      {"min.s32", 0xfffffff0, [](uint32_t s) { return s; }},
      {"max.u32", 9, [](uint32_t) { return 63u; }},
      {"max.s32", 0xfffffff0, [](uint32_t) { return 63u; }},
      {"and.b32", 0xff, [](uint32_t) { return 0u; }},
      {"or.b32", 0x100, [](uint32_t s) { return s | 63; }},
      {"xor.b32", 7, [](uint32_t s) { return s; }},
  };
  for (const AtomicCase& c : kCases) {
    for (const bool shared : {false, true}) {
      for (const bool red : {false, true}) {
        const std::string space = shared ? ".shared." : ".global.";
        const std::string at = shared ? "[s]" : "[%d2+512]";
        const std::string body = absl::StrCat(
            "setp.eq.u32 %p1, %r0, 0; @%p1 st", space, "u32 ", at, ", %r1; bar.sync 0;\n",
            red ? "red" : "atom", space, c.op, red ? " " : " %r2, ", at, ", %r0;\nbar.sync 0; ld",
            space, "u32 %r3, ", at, "; @%p1 st.global.u32 [%d2], %r3;");
        KernelRun run;
        run.text = Module(body, ".shared .align 4 .b8 s[4];\n");
        run.block = {64, 1, 1};
        run.number = c.start;
        ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel(run));
        EXPECT_EQ(got.b[0], c.expected(c.start)) << c.op << space << (red ? "red" : "atom");
      }
    }
  }
}

TEST(Atomics, ExchangeCasIncDecReturnTheOldValue) {
  const std::string text = Module(R"(
atom.global.exch.b32 %r2, [%d2], 77;
atom.global.cas.b32 %r3, [%d2], 77, 88;
atom.global.cas.b32 %r4, [%d2], 77, 99;
atom.global.inc.u32 %r5, [%d2], 88;
atom.global.inc.u32 %r6, [%d2], 88;
atom.global.dec.u32 %r7, [%d2], 9;
mov.u64 %d9, 0x100000001; atom.global.add.u64 %d10, [%d2+8], %d9;
ld.global.u32 %r8, [%d2+8];
atom.global.add.f32 %f2, [%d2+16], 0f3FC00000;
atom.global.add.f32 %f3, [%d2+16], 0f3FC00000;
mov.b32 %r9, 0x3c004000; atom.global.add.noftz.f16x2 %r10, [%d2+20], %r9;
atom.global.add.noftz.f16x2 %r10, [%d2+20], %r9;
st.global.v4.u32 [%d2+64], {%r2, %r3, %r4, %r5};
st.global.v4.u32 [%d2+80], {%r6, %r7, %r8, %r10};
st.global.f32 [%d2+96], %f3;
)");
  ASSERT_OK_AND_ASSIGN(const KernelResult got,
                       RunKernel({.text = text, .block = {1, 1, 1}, .clear_b = true}));
  const std::vector<uint32_t> expected = {0, 77, 88, 88, 0, 1, 1, 0x3c004000};
  for (int i = 0; i < 8; ++i) EXPECT_EQ(got.b[16 + i], expected[i]) << i;
  EXPECT_EQ(got.b[0], 0u);  // 88 -> 0 (inc), 1 (inc), 0 (dec)
  EXPECT_EQ(got.b[5], 0x40004400u);
  EXPECT_EQ(got.b[24], Bits<uint32_t>(1.5f));
  EXPECT_EQ(got.b[4], Bits<uint32_t>(3.0f));
}

TEST(Atomics, SumsOverTheWholeGridOnSeveralThreads) {
  const std::string text =
      Module("red.global.add.u32 [%d2], 1; red.global.add.f32 [%d2+4], 0f3F800000;");
  for (const int threads : {1, 4}) {
    KernelRun run;
    run.text = text;
    run.grid = {50, 3, 1};
    run.block = {96, 1, 1};
    run.clear_b = true;
    run.threads = threads;
    ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel(run));
    EXPECT_EQ(got.b[0], 14400u);
    EXPECT_EQ(got.b[1], Bits<uint32_t>(14400.0f));
  }
}

TEST(AsyncCopy, CopiesZeroFillsAndGroups) {
  const std::string text = Module(R"(
mul.wide.u32 %d4, %r0, 16; add.u64 %d5, %d1, %d4; shl.b32 %r2, %r0, 4;
and.b32 %r3, %r0, 15;
cp.async.cg.shared.global.L2::128B [%r2], [%d5], 16, %r3;
cp.async.commit_group;
cp.async.ca.shared.global [%r2+512], [%d5], 16;
cp.async.commit_group;
cp.async.wait_group 0;
bar.sync 0;
xor.b32 %r4, %r2, 496;
ld.shared.v4.u32 {%r5, %r6, %r7, %r8}, [%r4];
ld.shared.v4.u32 {%r9, %r10, %r11, %r12}, [%r4+512];
add.u64 %d6, %d2, %d4;
st.global.v4.u32 [%d6], {%r5, %r6, %r7, %r8};
st.global.v4.u32 [%d6+512], {%r9, %r10, %r11, %r12};
)",
                                  ".shared .align 16 .b8 s[1024];\n");
  const std::vector<uint32_t> a = RandomWords(128, 4);
  ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel({.text = text, .a = a}));
  for (uint32_t lane = 0; lane < 32; ++lane) {
    const uint32_t from = 31 - lane;
    for (uint32_t byte = 0; byte < 16; ++byte) {
      const int64_t expected = byte < from % 16 ? At(a, 16 * from + byte, 1, false) : 0;
      EXPECT_EQ(At(got.b, 16 * lane + byte, 1, false), expected) << lane << " " << byte;
      EXPECT_EQ(At(got.b, 512 + 16 * lane + byte, 1, false), At(a, 16 * from + byte, 1, false));
    }
  }
}

TEST(Barriers, ReductionOverABlockIsTheSameInEverySchedule) {
  const std::string text = Module(R"(
shl.b32 %r2, %r0, 2; mul.wide.u32 %d4, %r0, 4; add.u64 %d5, %d1, %d4;
ld.global.u32 %r3, [%d5]; st.shared.u32 [%r2], %r3;
mov.u32 %r4, 128;
LOOP:
bar.sync 0;
setp.lt.u32 %p1, %r0, %r4;
shl.b32 %r5, %r4, 2; add.u32 %r5, %r5, %r2;
@!%p1 bra SKIP;
ld.shared.u32 %r6, [%r5]; ld.shared.u32 %r7, [%r2]; add.u32 %r7, %r7, %r6; st.shared.u32 [%r2], %r7;
SKIP:
shr.u32 %r4, %r4, 1;
setp.ne.u32 %p2, %r4, 0;
@%p2 bra LOOP;
setp.eq.u32 %p3, %r0, 0; mov.u32 %r8, %ctaid.x; mul.wide.u32 %d6, %r8, 4; add.u64 %d6, %d2, %d6;
@%p3 st.global.u32 [%d6], %r7;
)",
                                  ".shared .align 4 .b8 s[1024];\n");
  const std::vector<uint32_t> a = RandomWords(256, 5);
  uint32_t sum = 0;
  for (uint32_t v : a) sum += v;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    KernelRun run;
    run.text = text;
    run.block = {256, 1, 1};
    run.grid = {3, 1, 1};
    run.a = a;
    run.threads = 1 + static_cast<int>(seed % 2);
    run.options.schedule_seed = seed;
    ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel(run));
    for (int block = 0; block < 3; ++block) EXPECT_EQ(got.b[block], sum) << "seed " << seed;
  }
}

TEST(Barriers, ProducersAndConsumersOnNamedBarriers) {
  // Warp 0 fills two buffers in turn, warp 1 drains them; barriers 1, 2 say full, 3, 4 say empty.
  const std::string text = Module(R"(
and.b32 %r2, %r0, 31; shl.b32 %r3, %r2, 2; mov.u32 %r4, 0; mov.u32 %r9, 0;
setp.ge.u32 %p1, %r0, 32;
@%p1 bra CONSUMER;
PRODUCER:
and.b32 %r5, %r4, 1; shl.b32 %r6, %r5, 7; add.u32 %r6, %r6, %r3;
setp.lt.u32 %p2, %r4, 2; add.u32 %r7, %r5, 3; @!%p2 bra WAIT_EMPTY; bra FILL;
WAIT_EMPTY: barrier.sync %r7, 64;
FILL: mad.lo.u32 %r8, %r4, 1000, %r2; st.shared.u32 [%r6], %r8;
add.u32 %r7, %r5, 1; bar.arrive %r7, 64;
add.u32 %r4, %r4, 1; setp.lt.u32 %p3, %r4, 6; @%p3 bra PRODUCER;
bra END;
CONSUMER:
and.b32 %r5, %r4, 1; shl.b32 %r6, %r5, 7; xor.b32 %r10, %r3, 124; add.u32 %r6, %r6, %r10;
add.u32 %r7, %r5, 1; barrier.sync %r7, 64;
ld.shared.u32 %r8, [%r6]; add.u32 %r9, %r9, %r8;
setp.lt.u32 %p2, %r4, 4; add.u32 %r7, %r5, 3; @%p2 barrier.arrive %r7, 64;
add.u32 %r4, %r4, 1; setp.lt.u32 %p3, %r4, 6; @%p3 bra CONSUMER;
mul.wide.u32 %d4, %r2, 4; add.u64 %d4, %d2, %d4; st.global.u32 [%d4], %r9;
END:
)",
                                  ".shared .align 4 .b8 s[256];\n");
  for (uint64_t seed = 0; seed < 8; ++seed) {
    KernelRun run;
    run.text = text;
    run.block = {64, 1, 1};
    run.options.schedule_seed = seed;
    ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel(run));
    for (uint32_t lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(got.b[lane], 15000 + 6 * (31 - lane)) << "seed " << seed;
    }
  }
}

TEST(Statistics, CountLaneOperations) {
  // One warp: the prologue's 5 and ret are 6 instructions; a guarded branch halves the lanes of 3.
  ASSERT_OK_AND_ASSIGN(const KernelResult empty, RunKernel({.text = Module("")}));
  EXPECT_EQ(empty.stats.instructions, 6u);
  EXPECT_EQ(empty.stats.lane_ops, 6u * 32);
  ASSERT_OK_AND_ASSIGN(const KernelResult half, RunKernel({.text = Module(R"(
setp.lt.u32 %p1, %r0, 16; @%p1 bra L; add.u32 %r2, %r0, 1; add.u32 %r3, %r0, 1; L:)")}));
  EXPECT_EQ(half.stats.lane_ops, 6u * 32 + 2u * 32 + 2u * 16);
}

}  // namespace
}  // namespace ptxsmith::emu

// Exchange between lanes: shuffles against the manual's pseudo-code for all modes and widths,
// votes, match, redux, elect; divergence and member masks.
#include <random>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/emu/op_runner.h"

namespace ptxsmith::emu {
namespace {

constexpr char kStore[] =
    "mul.wide.u32 %d4, %r0, 8;\nadd.u64 %d4, %d2, %d4;\nst.global.v2.u32 [%d4], {%r10, %r11};\n";

// Two words per thread: %r10, %r11.
std::vector<uint32_t> RunWarp(const std::string& body, uint32_t threads = 32, uint64_t seed = 0) {
  KernelRun run;
  run.text = Module(absl::StrCat("mov.u32 %r10, 0; mov.u32 %r11, 0;\n", body, kStore));
  run.block = {threads, 1, 1};
  run.b_words = 2 * threads;
  run.options.schedule_seed = seed;
  const absl::StatusOr<KernelResult> result = RunKernel(run);
  EXPECT_OK(result) << body;
  return result.ok() ? result->b : std::vector<uint32_t>(2 * threads);
}

TEST(Shuffle, AllModesAndWidths) {
  std::mt19937 random(5);
  for (const std::string mode : {"up", "down", "bfly", "idx"}) {
    for (int width = 1; width <= 32; width *= 2) {
      for (int by = 0; by < 34; by += 1 + static_cast<int>(random() % 3)) {
        const int c = (32 - width) << 8 | (mode == "up" ? 0 : 31);
        const auto got =
            RunWarp(absl::StrCat("mul.lo.u32 %r2, %r0, 3; shfl.sync.", mode, ".b32 %r10|%p1, %r2, ",
                                 by, ", ", c, ", 0xffffffff; selp.u32 %r11, 1, 0, %p1;"));
        for (int lane = 0; lane < 32; ++lane) {
          // In words: within segments of `width` lanes; out of the segment: own value.
          const int begin = lane / width * width, end = begin + width;
          const int step = by % 32;
          int from = mode == "up"     ? lane - step
                     : mode == "down" ? lane + step
                     : mode == "bfly" ? lane ^ step
                                      : begin + step % width;
          bool ok = from >= begin && from < end;
          if (mode == "bfly") ok = from < end;  // lower segments are in range
          // idx takes the bits of b outside the segment mask, so it always stays inside.
          if (!ok) from = lane;
          EXPECT_EQ(got[2 * lane], 3u * from) << mode << " width " << width << " by " << by;
          EXPECT_EQ(got[2 * lane + 1], ok ? 1u : 0u) << mode << " width " << width << " by " << by;
        }
      }
    }
  }
}

TEST(Shuffle, ClampEndsTheSegmentEarly) {
  const auto got =
      RunWarp("shfl.sync.down.b32 %r10|%p1, %r0, 4, 20, 0xffffffff; selp.u32 %r11, 1, 0, %p1;");
  for (int lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(got[2 * lane], lane + 4 <= 20 ? lane + 4u : lane) << lane;
  }
}

TEST(Shuffle, HalvesOfAWarpWithTheirOwnMasks) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const auto got = RunWarp(R"(
setp.lt.u32 %p1, %r0, 16;
selp.u32 %r2, 0x0000ffff, 0xffff0000, %p1;
shfl.sync.bfly.b32 %r10, %r0, 5, 31, %r2;
@%p1 bra LOW;
shfl.sync.bfly.b32 %r11, %r0, 1, 31, 0xffff0000;
bra END;
LOW: shfl.sync.bfly.b32 %r11, %r0, 2, 31, 0x0000ffff;
END:
)",
                             32, seed);
    for (uint32_t lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(got[2 * lane], lane ^ 5u);
      EXPECT_EQ(got[2 * lane + 1], lane ^ (lane < 16 ? 2u : 1u));
    }
  }
}

TEST(Shuffle, ExitedAndMissingLanesAreNotWaitedFor) {
  const auto got = RunWarp("shfl.sync.idx.b32 %r10, %r0, 7, 31, 0xffffffff;", 20);
  for (int lane = 0; lane < 20; ++lane) EXPECT_EQ(got[2 * lane], 7u);
}

TEST(Vote, AllModes) {
  for (const uint32_t limit : {0u, 5u, 32u}) {
    const std::string set = absl::StrCat("setp.lt.u32 %p1, %r0, ", limit, ";");
    const auto got = RunWarp(absl::StrCat(set, R"(
vote.sync.all.pred %p2, %p1, 0xffffffff;
vote.sync.any.pred %p3, %p1, 0xffffffff;
vote.sync.uni.pred %p4, %p1, 0xffffffff;
vote.sync.all.pred %p5, !%p1, 0xffffffff;
selp.u32 %r10, 1, 0, %p2;
selp.u32 %r2, 2, 0, %p3; or.b32 %r10, %r10, %r2;
selp.u32 %r2, 4, 0, %p4; or.b32 %r10, %r10, %r2;
selp.u32 %r2, 8, 0, %p5; or.b32 %r10, %r10, %r2;
vote.sync.ballot.b32 %r11, %p1, 0xffffffff;
)"));
    const uint32_t expected = (limit == 32 ? 1 : 0) + (limit > 0 ? 2 : 0) +
                              (limit == 0 || limit == 32 ? 4 : 0) + (limit == 0 ? 8 : 0);
    for (int lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(got[2 * lane], expected) << limit;
      EXPECT_EQ(got[2 * lane + 1], limit == 32 ? 0xffffffffu : (1u << limit) - 1) << limit;
    }
  }
}

TEST(Vote, OnlyLanesOfTheMaskCount) {
  const auto got = RunWarp(R"(
setp.lt.u32 %p1, %r0, 12;
setp.ge.u32 %p2, %r0, 8;
@!%p2 bra END;
vote.sync.ballot.b32 %r10, %p1, 0xffffff00;
activemask.b32 %r11;
END:
)");
  EXPECT_EQ(got[2 * 9], 0x00000f00u);
  EXPECT_EQ(got[2 * 9 + 1], 0xffffff00u);
  EXPECT_EQ(got[2 * 3], 0u);
}

TEST(Match, AnyAndAll) {
  const auto got = RunWarp(R"(
rem.u32 %r2, %r0, 5;
match.any.sync.b32 %r10, %r2, 0xffffffff;
match.all.sync.b32 %r11|%p1, %r2, 0xffffffff;
)");
  for (uint32_t lane = 0; lane < 32; ++lane) {
    uint32_t same = 0;
    for (uint32_t i = lane % 5; i < 32; i += 5) same |= 1u << i;
    EXPECT_EQ(got[2 * lane], same);
    EXPECT_EQ(got[2 * lane + 1], 0u);
  }
  const auto equal = RunWarp(R"(
mov.u64 %d9, 0x123456789abcdef0;
match.all.sync.b64 %r10|%p1, %d9, 0xffffffff;
selp.u32 %r11, 1, 0, %p1;
)");
  EXPECT_EQ(equal[0], 0xffffffffu);
  EXPECT_EQ(equal[1], 1u);
}

TEST(Redux, AllOperations) {
  const struct {
    const char* op;
    uint32_t expected;
  } kCases[] = {{"add.u32", 32u * 5 - 496},
                {"add.s32", 32u * 5 - 496},
                {"min.s32", uint32_t(5 - 31)},
                {"max.s32", 5},
                {"min.u32", 0},
                {"max.u32", 0xffffffffu},
                {"and.b32", 0},
                {"or.b32", 0xffffffffu}};
  for (const auto& c : kCases) {
    const auto got = RunWarp(absl::StrCat("sub.u32 %r2, 5, %r0; redux.sync.", c.op,
                                          " %r10, %r2, 0xffffffff; redux.sync.xor.b32 %r11, %r0, "
                                          "0xffffffff;"));
    for (int lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(got[2 * lane], c.expected) << c.op;
      EXPECT_EQ(got[2 * lane + 1], 0u);
    }
  }
}

TEST(Elect, TheLowestLaneOfTheMask) {
  const auto got = RunWarp(R"(
setp.lt.u32 %p1, %r0, 6;
@%p1 bra END;
elect.sync %r10|%p2, 0xffffffc0;
selp.u32 %r11, 1, 0, %p2;
END:
)");
  for (int lane = 6; lane < 32; ++lane) {
    EXPECT_EQ(got[2 * lane], 6u);
    EXPECT_EQ(got[2 * lane + 1], lane == 6 ? 1u : 0u);
  }
}

TEST(Divergence, LanesLoopTheirOwnNumberOfTimes) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const auto got = RunWarp(R"(
mov.u32 %r2, %r0;
LOOP:
setp.eq.u32 %p1, %r2, 0;
@%p1 bra DONE;
add.u32 %r10, %r10, %r2;
sub.u32 %r2, %r2, 1;
and.b32 %r3, %r2, 1;
setp.eq.u32 %p2, %r3, 0;
@%p2 bra LOOP;
add.u32 %r11, %r11, 1;
bra LOOP;
DONE:
)",
                             32, seed);
    for (uint32_t lane = 0; lane < 32; ++lane) {
      EXPECT_EQ(got[2 * lane], lane * (lane + 1) / 2);
      EXPECT_EQ(got[2 * lane + 1], lane / 2);
    }
  }
}

TEST(Divergence, ReconvergesForAShuffleAfterNestedBranches) {
  for (uint64_t seed = 0; seed < 8; ++seed) {
    const auto got = RunWarp(R"(
setp.lt.u32 %p1, %r0, 20;
@!%p1 bra OUTER_ELSE;
setp.lt.u32 %p2, %r0, 7;
@!%p2 bra INNER_ELSE;
mov.u32 %r2, 1;
bra INNER_END;
INNER_ELSE: mov.u32 %r2, 2;
INNER_END: add.u32 %r2, %r2, 10;
bra OUTER_END;
OUTER_ELSE: mov.u32 %r2, 3;
OUTER_END:
shfl.sync.bfly.b32 %r10, %r2, 31, 31, 0xffffffff;
)",
                             32, seed);
    for (uint32_t lane = 0; lane < 32; ++lane) {
      const uint32_t from = 31 - lane;
      EXPECT_EQ(got[2 * lane], from < 7 ? 11u : from < 20 ? 12u : 3u);
    }
  }
}

TEST(Divergence, LanesThatExitLeaveTheOthersRunning) {
  KernelRun run;
  run.text = Module(absl::StrCat(R"(
and.b32 %r2, %r0, 3;
setp.eq.u32 %p1, %r2, 1;
@%p1 exit;
mov.u32 %r10, %r0; mov.u32 %r11, 5;
)",
                                 kStore));
  ASSERT_OK_AND_ASSIGN(const KernelResult result, RunKernel(run));
  for (uint32_t lane = 0; lane < 32; ++lane) {
    EXPECT_EQ(result.b[2 * lane], lane % 4 == 1 ? 0xdeadbeefu : lane);
  }
}

TEST(Divergence, IndexedBranch) {
  const auto got = RunWarp(R"(
rem.u32 %r2, %r0, 3;
brx.idx %r2, TABLE;
A: mov.u32 %r10, 100; bra END;
B: mov.u32 %r10, 200; bra END;
C: mov.u32 %r10, 300; bra END;
TABLE: .branchtargets A, B, C;
END:
)");
  for (uint32_t lane = 0; lane < 32; ++lane) EXPECT_EQ(got[2 * lane], 100 + 100 * (lane % 3));
}

TEST(SpecialRegisters, Geometry) {
  KernelRun run;
  run.text = Module(R"(
mov.u32 %r2, %tid.y; mov.u32 %r3, %ntid.x; mad.lo.u32 %r4, %r2, %r3, %r0;
mov.u32 %r5, %ctaid.x; mov.u32 %r6, %ctaid.y; mov.u32 %r7, %nctaid.x;
mad.lo.u32 %r8, %r6, %r7, %r5; mov.u32 %r9, %ntid.y; mul.lo.u32 %r10, %r9, %r3;
mad.lo.u32 %r11, %r8, %r10, %r4;
mov.u32 %r12, %laneid; mov.u32 %r13, %warpid; mov.u32 %r14, %lanemask_lt; mov.u32 %r15, %dynamic_smem_size;
mul.wide.u32 %d4, %r11, 16; add.u64 %d4, %d2, %d4;
st.global.v4.u32 [%d4], {%r12, %r13, %r14, %r15};
)");
  run.block = {10, 8, 1};
  run.grid = {3, 2, 1};
  run.b_words = 4 * 480;
  run.dynamic_shared = 96;
  run.threads = 2;
  ASSERT_OK_AND_ASSIGN(const KernelResult result, RunKernel(run));
  for (uint32_t i = 0; i < 480; ++i) {
    EXPECT_EQ(result.b[4 * i], i % 80 % 32);
    EXPECT_EQ(result.b[4 * i + 1], i % 80 / 32);
    EXPECT_EQ(result.b[4 * i + 2], (1u << (i % 80 % 32)) - 1);
    EXPECT_EQ(result.b[4 * i + 3], 96u);
  }
}

}  // namespace
}  // namespace ptxsmith::emu

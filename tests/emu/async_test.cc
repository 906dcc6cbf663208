// Bulk copies, mbarriers, fences and blocks that wait for each other: what they compute, in natural
// order and under random schedules, and what happens when a synchronisation is missing. Each kernel
// is written once; `Without` takes one line out of it.
#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "tests/emu/op_runner.h"

namespace ptxsmith::emu {
namespace {

using testing::AllOf;
using testing::HasSubstr;

constexpr uint64_t kSeeds = 16;

std::vector<uint32_t> Numbers(size_t n) {
  std::vector<uint32_t> list(n);
  for (size_t i = 0; i < n; ++i) list[i] = static_cast<uint32_t>(i * 2654435761u);
  return list;
}

// The kernel with other words at one place, which must exist.
std::string With(const std::string& body, const std::string& what, const std::string& instead) {
  EXPECT_NE(body.find(what), std::string::npos) << what;
  return absl::StrReplaceAll(body, {{what, instead}});
}
std::string Without(const std::string& body, const std::string& what) {
  return With(body, what, "");
}

// In natural order with these words, and with any under most random schedules.
void ExpectFault(KernelRun run, const std::string& message = "kernel") {
  run.options.instruction_budget = 10'000'000;
  EXPECT_THAT(RunKernel(run).status(), StatusIs(absl::StatusCode::kInternal, HasSubstr(message)));
  uint64_t found = 0;
  for (uint64_t seed = 1; seed < kSeeds; ++seed) {
    run.options.schedule_seed = seed;
    const absl::Status status = RunKernel(run).status();
    found += status.ok() ? 0 : 1;
    EXPECT_FALSE(absl::IsDeadlineExceeded(status)) << "seed " << seed;
  }
  EXPECT_GT(found, kSeeds / 2);
}
void ExpectWords(KernelRun run, const std::vector<uint32_t>& expected) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    run.options.schedule_seed = seed;
    ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel(run));
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(got.b[i], expected[i]) << "word " << i << ", seed " << seed;
    }
  }
}

// One warp of four copies 512 bytes, everybody reads some of them.
constexpr char kShared[] = ".shared .align 128 .b8 s[1024];\n.shared .align 8 .b8 bars[64];\n";
constexpr char kCopyOnce[] = R"(
mov.u32 %r20, s; mov.u32 %r21, bars;
setp.ne.u32 %p1, %r0, 0;
@%p1 bra READY;
mbarrier.init.shared.b64 [%r21], 1;
fence.mbarrier_init.release.cluster;
READY:
bar.sync 0;
@%p1 bra WAIT;
createpolicy.fractional.L2::evict_first.b64 %d9, 1.0;
mbarrier.arrive.expect_tx.shared.b64 _, [%r21], 512;
cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%r20], [%d1], 512, [%r21], %d9;
WAIT:
mbarrier.try_wait.parity.shared.b64 %p2, [%r21], 0;
@!%p2 bra WAIT;
xor.b32 %r2, %r0, 127; shl.b32 %r3, %r2, 2; add.u32 %r3, %r3, %r20;
ld.shared.u32 %r4, [%r3];
mul.wide.u32 %d4, %r0, 4; add.u64 %d4, %d2, %d4; st.global.u32 [%d4], %r4;
)";

KernelRun CopyOnce(const std::string& body) {
  KernelRun run;
  run.text = Module(body, kShared);
  run.block = {128, 1, 1};
  run.a = Numbers(128);
  return run;
}

TEST(BulkCopy, BringsBytesForWhoWaits) {
  std::vector<uint32_t> expected = Numbers(128);
  std::reverse(expected.begin(), expected.end());
  ExpectWords(CopyOnce(kCopyOnce), expected);
}

TEST(BulkCopy, ChecksItsArguments) {
  ExpectFault(CopyOnce(With(kCopyOnce, "[%d1], 512", "[%d1], 520")), "520 bytes, no positive");
  ExpectFault(CopyOnce(With(kCopyOnce, "[%d1], 512", "[%d1+8], 496")), "misaligned read");
  ExpectFault(CopyOnce(With(kCopyOnce, "[%d1], 512", "[%d1+16], 512")),
              "out-of-bounds read of 512 bytes at global address");
  ExpectFault(CopyOnce(With(kCopyOnce, "[%r20], [%d1]", "[%r20+8], [%d1]")),
              "misaligned write of 512 bytes at shared");
  ExpectFault(CopyOnce(With(kCopyOnce, "[%r20], [%d1]", "[%r20+1024], [%d1]")),
              "out-of-bounds write of 512 bytes at shared");
  ExpectFault(CopyOnce(With(kCopyOnce, "[%d1], 512", "[%d3], 256")), "undefined memory");
  ExpectFault(CopyOnce(With(kCopyOnce, "512, [%r21]", "512, [%r21+8]")), "is not initialised");
  ExpectFault(CopyOnce(With(kCopyOnce, ", %d9;", ", %d10;")), "register %d10");
}

TEST(BulkCopy, MissingSynchronisationIsFound) {
  // Nobody waits; one thread does not; the wait is for the wrong parity.
  ExpectFault(CopyOnce(Without(kCopyOnce, "@!%p2 bra WAIT;")), "bulk copy");
  ExpectFault(CopyOnce(With(kCopyOnce, "%p2, [%r21], 0", "%p2, [%r21], 1")),
              "unfinished cp.async: read of 4 bytes");
  ExpectFault(CopyOnce(With(
                  With(kCopyOnce, "WAIT:\n", "WAIT:\nsetp.eq.u32 %p5, %r0, 127;\n@%p5 bra SKIP;\n"),
                  "xor.b32 %r2", "SKIP:\nxor.b32 %r2")),
              "thread (127,0,0)");
  // The asynchronous unit may not know the mbarrier yet.
  ExpectFault(CopyOnce(Without(kCopyOnce, "fence.mbarrier_init.release.cluster;")),
              "no fence.proxy.async between what thread (0,0,0) stored");
  // Other threads may not know it yet.
  ExpectFault(CopyOnce(Without(kCopyOnce, "bar.sync 0;")), "data race");
  ExpectFault(CopyOnce(With(kCopyOnce, "WAIT:\n", "WAIT:\nret;\n")), "the block ends while a bulk");
  // A barrier orders threads, not the copy.
  ExpectFault(
      CopyOnce(With(kCopyOnce, "WAIT:\n", "WAIT: bar.sync 0; ld.shared.u32 %r9, [%r20];\n")),
      "unfinished cp.async");
  // The slot was written by threads.
  ExpectFault(
      CopyOnce(With(kCopyOnce, "@%p1 bra WAIT;", "@%p1 bra WAIT; st.shared.u32 [%r20], %r0;")),
      "no fence.proxy.async");
  KernelRun fenced =
      CopyOnce(With(kCopyOnce, "@%p1 bra WAIT;",
                    "@%p1 bra WAIT; st.shared.u32 [%r20], %r0; fence.proxy.async.shared::cta;"));
  EXPECT_OK(RunKernel(fenced));
}

TEST(BulkCopy, BytesAndArrivalsMustBeTheExpectedOnes) {
  ExpectFault(CopyOnce(With(kCopyOnce, "_, [%r21], 512", "_, [%r21], 528")),
              "0 arrivals are missing, 16 bytes are missing");
  ExpectFault(CopyOnce(With(kCopyOnce, "_, [%r21], 512", "_, [%r21], 496")),
              "16 bytes more than expected have come");
  ExpectFault(CopyOnce(With(kCopyOnce, "[%r21], 1;", "[%r21], 2;")), "1 arrivals are missing");
  ExpectFault(CopyOnce(With(kCopyOnce, "_, [%r21], 512", "_, [%r21], 0x100000")),
              "outstanding bytes exceed");
  ExpectFault(CopyOnce(With(kCopyOnce, "mbarrier.arrive.expect_tx.shared.b64 _, [%r21], 512;",
                            "mbarrier.expect_tx.relaxed.cta.shared.b64 [%r21], 512;"
                            "mbarrier.arrive.shared.b64 %d20, [%r21];"
                            "mbarrier.arrive.shared.b64 %d20, [%r21];")),
              "more arrivals than its phase expects, by 1");
}

// A ring of two slots of 256 bytes: thread 0 of warp 0 fills, warps 1 and 2 drain all of it in turn
// with others, 8 chunks in all. full[i] at bars + 8 i, empty[i] at bars + 16 + 8 i.
constexpr char kRing[] = R"(
mov.u32 %r20, s; mov.u32 %r21, bars; shr.u32 %r22, %r0, 5; and.b32 %r23, %r0, 31;
setp.ne.u32 %p1, %r0, 0;
@%p1 bra READY;
mbarrier.init.shared.b64 [%r21], 1; mbarrier.init.shared.b64 [%r21+8], 1;
mbarrier.init.shared.b64 [%r21+16], 2; mbarrier.init.shared.b64 [%r21+24], 2;
fence.proxy.async;
READY:
bar.sync 0;
mov.u32 %r4, 0; mov.u32 %r9, 0;
setp.ge.u32 %p3, %r22, 1;
@%p3 bra CONSUMER;
setp.ne.u32 %p4, %r23, 0;
@%p4 bra END;
PRODUCER:
and.b32 %r5, %r4, 1; shl.b32 %r6, %r5, 3; add.u32 %r6, %r6, %r21;
shr.u32 %r7, %r4, 1; xor.b32 %r7, %r7, 1; and.b32 %r7, %r7, 1;
EMPTY: mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %p5, [%r6+16], %r7;
@!%p5 bra EMPTY;
mbarrier.arrive.expect_tx.release.cta.shared::cta.b64 _, [%r6], 256;
shl.b32 %r8, %r5, 8; add.u32 %r8, %r8, %r20; mul.wide.u32 %d8, %r4, 256; add.u64 %d8, %d1, %d8;
cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%r8], [%d8], 256, [%r6];
add.u32 %r4, %r4, 1; setp.lt.u32 %p6, %r4, 8;
@%p6 bra PRODUCER;
bra END;
CONSUMER:
and.b32 %r5, %r4, 1; shl.b32 %r6, %r5, 3; add.u32 %r6, %r6, %r21;
shr.u32 %r7, %r4, 1; and.b32 %r7, %r7, 1;
FULL: mbarrier.try_wait.parity.shared.b64 %p5, [%r6], %r7;
@!%p5 bra FULL;
shl.b32 %r8, %r5, 8; add.u32 %r8, %r8, %r20; shl.b32 %r10, %r0, 2; and.b32 %r10, %r10, 255;
xor.b32 %r10, %r10, 4; add.u32 %r8, %r8, %r10;
ld.shared.u32 %r11, [%r8]; add.u32 %r9, %r9, %r11;
bar.warp.sync -1;
setp.eq.u32 %p7, %r23, 0;
@%p7 mbarrier.arrive.shared.b64 _, [%r6+16];
add.u32 %r4, %r4, 1; setp.lt.u32 %p6, %r4, 8;
@%p6 bra CONSUMER;
sub.u32 %r12, %r0, 32; mul.wide.u32 %d4, %r12, 4; add.u64 %d4, %d2, %d4; st.global.u32 [%d4], %r9;
END:
)";

KernelRun Ring(const std::string& body) {
  KernelRun run;
  run.text = Module(body, kShared);
  run.block = {96, 1, 1};
  run.a = Numbers(512);
  return run;
}

TEST(Mbarriers, RingOfSlots) {
  const std::vector<uint32_t> a = Numbers(512);
  std::vector<uint32_t> expected(64);
  for (uint32_t i = 0; i < 64; ++i) {
    for (uint32_t chunk = 0; chunk < 8; ++chunk) {
      expected[i] += a[64 * chunk + ((i + 32) % 64 ^ 1)];
    }
  }
  ExpectWords(Ring(kRing), expected);
  // Several blocks, on several host threads.
  KernelRun run = Ring(kRing);
  run.grid = {3, 1, 1};
  run.threads = 2;
  run.text = Module(With(kRing, "add.u64 %d4, %d2, %d4;",
                         "add.u64 %d4, %d2, %d4; mov.u32 %r30, %ctaid.x;"
                         "mul.wide.u32 %d5, %r30, 256; add.u64 %d4, %d4, %d5;"),
                    kShared);
  ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel(run));
  for (uint32_t i = 0; i < 192; ++i) EXPECT_EQ(got.b[i], expected[i % 64]) << i;
}

TEST(Mbarriers, MissingSynchronisationIsFound) {
  // Lane 0 says that the slot is free while other lanes of its warp may still read it.
  ExpectFault(Ring(Without(kRing, "bar.warp.sync -1;")), "data race");
  // The producer does not wait, or too little.
  ExpectFault(Ring(Without(kRing, "@!%p5 bra EMPTY;")), "more arrivals than");
  ExpectFault(Ring(With(kRing, "[%r21+16], 2;", "[%r21+16], 1;")));
  // One consumer does not wait.
  ExpectFault(Ring(With(kRing, "@!%p5 bra FULL;",
                        "setp.eq.u32 %p8, %r22, 2; @%p8 bra GO; @!%p5 bra FULL; GO:")));
  // Waits in the order of the other slot.
  ExpectFault(Ring(With(kRing, "FULL: mbarrier.try_wait.parity.shared.b64 %p5, [%r6], %r7;",
                        "xor.b32 %r31, %r6, 8; FULL: mbarrier.try_wait.parity.shared.b64 %p5, "
                        "[%r31], %r7;")));
}

TEST(Mbarriers, WaitsThatNeverEndAreDeadlocks) {
  ExpectFault(Ring(Without(kRing, "@%p7 mbarrier.arrive.shared.b64 _, [%r6+16];")),
              "deadlock: waits for the mbarrier at shared address");
  ExpectFault(Ring(With(kRing, "xor.b32 %r7, %r7, 1; and.b32", "and.b32")), "0 bytes are missing");
}

TEST(Mbarriers, StateTokensCountsAndDrops) {
  // Every thread arrives and waits with its state; warp 1 leaves in the second of three phases.
  const std::string text = R"(
mov.u32 %r21, bars; setp.ne.u32 %p1, %r0, 0;
@%p1 bra READY;
mbarrier.init.shared::cta.b64 [%r21], 96;
READY:
bar.sync 0;
shl.b32 %r2, %r0, 2; st.shared.u32 [%r2], %r0;
setp.ge.u32 %p3, %r0, 32;
mov.u32 %r3, 2; @%p3 mov.u32 %r3, 1;
mbarrier.arrive.shared.b64 %d8, [%r21], %r3;
FIRST: mbarrier.test_wait.shared.b64 %p4, [%r21], %d8;
@!%p4 bra FIRST;
xor.b32 %r4, %r0, 63; shl.b32 %r4, %r4, 2; ld.shared.u32 %r5, [%r4];
@!%p3 bra STAY;
mbarrier.arrive_drop.shared.b64 %d8, [%r21];
bra STORE;
STAY:
mbarrier.arrive.noComplete.shared.b64 %d9, [%r21], 1;
mbarrier.pending_count.b64 %r7, %d9;
mbarrier.arrive.shared.b64 %d9, [%r21];
SECOND: mbarrier.try_wait.shared.b64 %p4, [%r21], %d9, 1000;
@!%p4 bra SECOND;
mbarrier.arrive.shared.b64 %d9, [%r21], 2;
THIRD: mbarrier.test_wait.parity.shared.b64 %p4, [%r21], 0;
@!%p4 bra THIRD;
STORE: mul.wide.u32 %d4, %r0, 4; add.u64 %d4, %d2, %d4; st.global.u32 [%d4], %r5;
bar.sync 0;
@%p1 bra END;
mbarrier.inval.shared.b64 [%r21];
END:
)";
  KernelRun run;
  run.text = Module(text, kShared);
  run.block = {64, 1, 1};
  std::vector<uint32_t> expected(64);
  for (uint32_t i = 0; i < 64; ++i) expected[i] = 63 - i;
  ExpectWords(run, expected);
  run.text = Module(Without(text, "@!%p4 bra FIRST;"), kShared);
  ExpectFault(run);
}

TEST(Mbarriers, Misuse) {
  const auto fault = [](const std::string& body, const std::string& message) {
    KernelRun run;
    run.text = Module(absl::StrCat("mov.u32 %r21, bars;", body), kShared);
    run.block = {1, 1, 1};
    ExpectFault(run, message);
  };
  const std::string init = "mbarrier.init.shared.b64 [%r21], 1;";
  fault("mbarrier.arrive.shared.b64 _, [%r21];", "is not initialised");
  fault(init + init, "initialised twice");
  fault(init + "mbarrier.inval.shared.b64 [%r21]; mbarrier.arrive.shared.b64 _, [%r21];",
        "is not initialised");
  fault("mbarrier.init.shared.b64 [%r21], 0;", "0 arrivals are none of");
  fault("mbarrier.init.shared.b64 [%r21+4], 1;", "misaligned");
  fault("mbarrier.init.shared.b64 [%r21+4096], 1;", "out-of-bounds");
  fault(init + "ld.shared.u32 %r2, [%r21];", "which is part of an mbarrier");
  fault(init + "st.shared.u32 [%r21], %r0;", "which is part of an mbarrier");
  fault(init + "mbarrier.test_wait.parity.shared.b64 %p1, [%r21], 2;", "parity 2 is neither");
  fault(init +
            "mbarrier.arrive.shared.b64 %d9, [%r21]; mbarrier.arrive.shared.b64 _, [%r21];"
            "mbarrier.test_wait.shared.b64 %p1, [%r21], %d9;",
        "the state is not of this phase");
  fault(init +
            "mbarrier.expect_tx.relaxed.cta.shared.b64 [%r21], 8;"
            "mbarrier.inval.shared.b64 [%r21];",
        "is invalidated while");
  fault(init + "mbarrier.arrive.noComplete.shared.b64 %d9, [%r21], 1;", "completes the phase");
}

TEST(AsyncCopy, ArrivesOnAnMbarrier) {
  const std::string text = R"(
mov.u32 %r20, s; mov.u32 %r21, bars; setp.ne.u32 %p1, %r0, 0;
@%p1 bra READY;
mbarrier.init.shared.b64 [%r21], 64;
READY:
bar.sync 0;
mul.wide.u32 %d4, %r0, 16; add.u64 %d5, %d1, %d4; shl.b32 %r2, %r0, 4; add.u32 %r2, %r2, %r20;
cp.async.cg.shared.global [%r2], [%d5], 16;
cp.async.mbarrier.arrive.noinc.shared.b64 [%r21];
WAIT: mbarrier.try_wait.parity.shared.b64 %p2, [%r21], 0;
@!%p2 bra WAIT;
xor.b32 %r3, %r2, 1008; ld.shared.v4.u32 {%r4, %r5, %r6, %r7}, [%r3];
add.u64 %d6, %d2, %d4; st.global.v4.u32 [%d6], {%r4, %r5, %r6, %r7};
)";
  KernelRun run;
  run.text = Module(text, kShared);
  run.block = {64, 1, 1};
  run.a = Numbers(256);
  std::vector<uint32_t> expected(256);
  for (uint32_t i = 0; i < 256; ++i) expected[i] = run.a[(63 - i / 4) * 4 + i % 4];
  ExpectWords(run, expected);
  run.text = Module(Without(text, "@!%p2 bra WAIT;"), kShared);
  ExpectFault(run);
  run.text = Module(Without(text, ".noinc"), kShared);
  ExpectFault(run, "64 arrivals are missing");
}

// Threads fill shared memory, one thread stores it to `b` with a bulk copy.
constexpr char kStore[] = R"(
mov.u32 %r20, s; shl.b32 %r2, %r0, 2; add.u32 %r2, %r2, %r20;
mul.lo.u32 %r3, %r0, 3; st.shared.u32 [%r2], %r3;
fence.proxy.async.shared::cta;
bar.sync 0;
setp.ne.u32 %p1, %r0, 0;
@%p1 bra END;
cp.async.bulk.global.shared::cta.bulk_group [%d2], [%r20], 256;
cp.async.bulk.commit_group;
cp.async.bulk.wait_group.read 0;
END:
bar.sync 0;
st.shared.u32 [%r2], 0;
)";

TEST(BulkCopy, StoresToGlobalMemory) {
  KernelRun run;
  run.text = Module(kStore, kShared);
  run.block = {64, 1, 1};
  std::vector<uint32_t> expected(64);
  for (uint32_t i = 0; i < 64; ++i) expected[i] = 3 * i;
  ExpectWords(run, expected);
  run.text = Module(Without(kStore, "fence.proxy.async.shared::cta;"), kShared);
  ExpectFault(run, "no fence.proxy.async");
  run.text = Module(Without(kStore, "cp.async.bulk.wait_group.read 0;"), kShared);
  ExpectFault(run, "conflicts with a bulk copy that still reads it");
  run.text = Module(Without(Without(kStore, "cp.async.bulk.wait_group.read 0;"),
                            "END:\nbar.sync 0;\nst.shared.u32 [%r2], 0;") +
                        "END:",
                    kShared);
  ExpectFault(run, "the block ends while a bulk copy");
  run.text = Module(With(kStore, "[%d2], [%r20], 256", "[%d2+1008], [%r20], 256"), kShared);
  ExpectFault(run, "out-of-bounds write of 256 bytes at global address");
}

TEST(AsyncCopy, RandomSchedulesDelayIt) {
  // Without checks a missing wait shows in the result: the bytes are not there yet.
  const std::string text = R"(
mul.wide.u32 %d4, %r0, 4; add.u64 %d5, %d1, %d4; shl.b32 %r2, %r0, 2;
st.shared.u32 [%r2], 7;
cp.async.ca.shared.global [%r2], [%d5], 4;
cp.async.commit_group;
cp.async.wait_group 0;
ld.shared.u32 %r3, [%r2]; add.u64 %d6, %d2, %d4; st.global.u32 [%d6], %r3;
cp.async.wait_all;
)";
  int late = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    KernelRun run;
    run.text = Module(Without(text, "cp.async.wait_group 0;"), kShared);
    run.a = Numbers(32);
    run.options.checks = false;
    run.clear_b = true;
    run.options.schedule_seed = seed;
    ASSERT_OK_AND_ASSIGN(const KernelResult without, RunKernel(run));
    bool same = true;
    for (size_t i = 0; i < 32; ++i) same = same && without.b[i] == run.a[i];
    late += same ? 0 : 1;
    EXPECT_TRUE(seed != 0 || same);  // in natural order it goes unnoticed
    run.text = Module(text, kShared);
    ASSERT_OK_AND_ASSIGN(const KernelResult with, RunKernel(run));
    for (size_t i = 0; i < 32; ++i) EXPECT_EQ(with.b[i], run.a[i]) << "seed " << seed;
  }
  EXPECT_GE(late, static_cast<int>(kSeeds) - 2);
}

TEST(BulkCopy, RandomSchedulesDelayIt) {
  int late = 0;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    KernelRun run = CopyOnce(With(Without(kCopyOnce, "@!%p2 bra WAIT;"), "ld.shared.u32 %r4, [%r3]",
                                  "ld.shared.u32 %r4, [%r3];\n"
                                  "LAST: mbarrier.try_wait.parity.shared.b64 %p2, [%r21], 0;"
                                  "@!%p2 bra LAST"));
    run.options.checks = false;
    run.clear_b = true;
    run.options.schedule_seed = seed;
    ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel(run));
    late += got.b[0] == run.a[127] ? 0 : 1;
  }
  EXPECT_GE(late, static_cast<int>(kSeeds) / 2);
}

}  // namespace
}  // namespace ptxsmith::emu

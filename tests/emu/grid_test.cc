// Blocks that wait for each other through global memory, and launches that overlap the one before.
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

std::string With(const std::string& body, const std::string& what, const std::string& instead) {
  EXPECT_NE(body.find(what), std::string::npos) << what;
  return absl::StrReplaceAll(body, {{what, instead}});
}

// A chain: block i waits for the word of block i + 1 (the last one does not wait), so that blocks
// in natural order wait for blocks that have not begun. Words are 0 before.
constexpr char kChain[] = R"(
mov.u32 %r2, %ctaid.x; mov.u32 %r3, %nctaid.x; mul.wide.u32 %d4, %r2, 4; add.u64 %d4, %d2, %d4;
sub.u32 %r4, %r3, 1; mov.u32 %r5, 1;
setp.eq.u32 %p1, %r2, %r4;
@%p1 bra SAY;
POLL:
ld.relaxed.gpu.global.u32 %r5, [%d4+4];
setp.eq.u32 %p2, %r5, 0;
@%p2 bra POLL;
SAY:
add.u32 %r6, %r5, 3;
setp.eq.u32 %p3, %r0, 0;
@%p3 st.relaxed.gpu.global.u32 [%d4], %r6;
)";

KernelRun Chain(const std::string& body) {
  KernelRun run;
  run.text = Module(body);
  run.grid = {7, 1, 1};
  run.block = {64, 1, 1};
  run.clear_b = true;
  run.threads = 2;
  return run;
}

TEST(CoResidentBlocks, WaitForEachOther) {
  for (uint64_t seed = 0; seed < 12; ++seed) {
    KernelRun run = Chain(kChain);
    run.options.schedule_seed = seed;
    ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel(run));
    for (uint32_t i = 0; i < 7; ++i) EXPECT_EQ(got.b[i], 1 + 3 * (7 - i)) << "seed " << seed;
  }
}

TEST(CoResidentBlocks, PollingForEverIsADeadlock) {
  for (uint64_t seed = 0; seed < 12; ++seed) {
    KernelRun run = Chain(With(kChain, "@%p1 bra SAY;", ""));
    run.options.schedule_seed = seed;
    EXPECT_THAT(RunKernel(run).status(),
                StatusIs(absl::StatusCode::kInternal,
                         AllOf(HasSubstr("deadlock: polls global address"), HasSubstr("'b' + "),
                               HasSubstr("ld.relaxed.gpu.global.u32 %r5, [%d4+4];"))))
        << "seed " << seed;
  }
}

TEST(CoResidentBlocks, PollingCoversOnlyWhatIsPolled) {
  // The word at + 64 is stored before the word that is polled, but neither released nor acquired.
  const std::string payload =
      With(With(kChain, "add.u32 %r6, %r5, 3;",
                "add.u32 %r6, %r5, 3; setp.eq.u32 %p4, %r0, 0; @%p4 st.global.u32 [%d4+64], %r6;"),
           "SAY:\n", "ld.global.u32 %r7, [%d4+68];\nSAY:\n");
  EXPECT_THAT(RunKernel(Chain(payload)).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("data race: read of 4 bytes")));
  const std::string fenced = With(With(payload, "ld.global.u32 %r7",
                                       "fence.acq_rel.gpu;\n"
                                       "ld.global.u32 %r7"),
                                  "@%p3 st.relaxed", "fence.acq_rel.gpu; @%p3 st.relaxed");
  EXPECT_OK(RunKernel(Chain(fenced)));
  EXPECT_OK(RunKernel(Chain(With(payload, "ld.relaxed", "ld.acquire"))));
  // A relaxed load may not meet a plain store either.
  EXPECT_THAT(RunKernel(Chain(With(kChain, "@%p3 st.relaxed.gpu.", "@%p3 st."))).status(),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("data race")));
}

TEST(CoResidentBlocks, BarrierOfTheWholeGridByAtomics) {
  const std::string text = R"(
mov.u32 %r2, %ctaid.x; mov.u32 %r3, %nctaid.x; mul.wide.u32 %d4, %r2, 4; add.u64 %d4, %d2, %d4;
setp.ne.u32 %p1, %r0, 0;
mov.u32 %r9, 0;
ROUND:
@%p1 bra JOIN;
add.u32 %r8, %r9, %r2; st.global.u32 [%d4+64], %r8;
fence.acq_rel.gpu;
red.release.gpu.global.add.u32 [%d2], 1;
add.u32 %r10, %r9, 1; mul.lo.u32 %r10, %r10, %r3;
POLL: ld.acquire.gpu.global.u32 %r5, [%d2]; setp.lt.u32 %p2, %r5, %r10;
@%p2 bra POLL;
JOIN: bar.sync 0;
xor.b32 %r11, %r2, 1; mul.wide.u32 %d5, %r11, 4; add.u64 %d5, %d2, %d5;
ld.global.u32 %r12, [%d5+64];
bar.sync 0;
@%p1 bra NEXT;
red.release.gpu.global.add.u32 [%d2+4], 1;
POLL2: ld.acquire.gpu.global.u32 %r5, [%d2+4]; setp.lt.u32 %p2, %r5, %r10;
@%p2 bra POLL2;
NEXT:
add.u32 %r9, %r9, 1; setp.lt.u32 %p3, %r9, 3; @%p3 bra ROUND;
@!%p1 st.global.u32 [%d4+128], %r12;
)";
  for (uint64_t seed = 0; seed < 8; ++seed) {
    KernelRun run = Chain(text);
    run.grid = {6, 1, 1};
    run.options.schedule_seed = seed;
    ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel(run));
    for (uint32_t i = 0; i < 6; ++i) EXPECT_EQ(got.b[32 + i], 2 + (i ^ 1)) << "seed " << seed;
  }
}

TEST(CoResidentBlocks, LanesOfAWarpWaitForEachOther) {
  // Lane 0 waits, at the lower address, for what lane 1 stores.
  const std::string text = R"(
setp.eq.u32 %p1, %r0, 1;
@%p1 bra SAY;
POLL: ld.relaxed.gpu.global.u32 %r5, [%d2]; setp.eq.u32 %p2, %r5, 0;
@%p2 bra POLL;
bra END;
SAY: st.relaxed.gpu.global.u32 [%d2], 5;
END:
)";
  KernelRun run;
  run.text = Module(text);
  run.clear_b = true;
  EXPECT_OK(RunKernel(run));
}

TEST(RandomSchedules, PartTheLanesOfAWarp) {
  // Nothing holds lane 0 back until all have read; in lock step nobody notices.
  const std::string text = R"(
ld.global.u32 %r2, [%d2];
add.u32 %r2, %r2, 1;
setp.eq.u32 %p1, %r0, 0;
@%p1 st.global.u32 [%d2], %r2;
)";
  int found = 0;
  for (uint64_t seed = 0; seed < 64; ++seed) {
    KernelRun run;
    run.text = Module(text);
    run.clear_b = true;
    run.options.schedule_seed = seed;
    const bool ok = RunKernel(run).ok();
    EXPECT_TRUE(ok || seed != 0);
    found += ok ? 0 : 1;
    run.text = Module(With(text, "setp.eq.u32", "bar.warp.sync -1; setp.eq.u32"));
    EXPECT_OK(RunKernel(run)) << "seed " << seed;
  }
  EXPECT_GT(found, 2);
}

TEST(CoResidentBlocks, CooperativeGridsAreBounded) {
  ASSERT_OK_AND_ASSIGN(const auto program, ParseProgram(Module("")));
  Memory memory;
  Emulator emulator(1);
  uint64_t none = 0;
  uint32_t n = 0;
  void* params[] = {&none, &none, &none, &n};
  LaunchConfig config;
  config.params = params;
  config.cooperative = true;
  config.grid = {1024, 1, 1};
  EXPECT_OK(emulator.Launch(program, "kernel", config, memory));
  config.grid = {1025, 1, 1};
  EXPECT_THAT(emulator.Launch(program, "kernel", config, memory),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("1024")));
}

class Overlap : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(address_, memory_.Allocate(256, "x"));
    ASSERT_OK(memory_.Fill(address_, 0, 256));
  }
  absl::Status Launch(const std::string& body, bool programmatic) {
    PTXSMITH_ASSIGN_OR_RETURN(const auto program, ParseProgram(Module(body)));
    uint32_t n = 0;
    void* params[] = {&address_, &address_, &address_, &n};
    LaunchConfig config;
    config.params = params;
    config.block = {64, 1, 1};
    config.programmatic = programmatic;
    return emulator_.Launch(program, "kernel", config, memory_).status();
  }

  Memory memory_;
  Emulator emulator_{1};
  uint64_t address_ = 0;
};

constexpr char kStore[] =
    "griddepcontrol.launch_dependents; griddepcontrol.wait;"
    "setp.eq.u32 %p1, %r0, 0; @%p1 st.global.u32 [%d1], 1;";

TEST_F(Overlap, ReadsBeforeGridWaitAreReported) {
  const std::string before = "ld.global.u32 %r2, [%d1]; griddepcontrol.wait;";
  const std::string after = "griddepcontrol.wait; ld.global.u32 %r2, [%d1];";
  const std::string elsewhere = "ld.global.u32 %r2, [%d1+128]; griddepcontrol.wait;";
  ASSERT_OK(Launch(kStore, false));
  EXPECT_THAT(Launch(before, true),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(HasSubstr("which a kernel wrote that may still run"),
                             HasSubstr("before griddepcontrol.wait"), HasSubstr("'x' + 0"))));
  EXPECT_OK(Launch(after, true));
  EXPECT_OK(Launch(elsewhere, true));
  // The kernel between lets this one start before it has waited itself.
  EXPECT_THAT(Launch(before, true), StatusIs(absl::StatusCode::kInternal, HasSubstr("may still")));
  EXPECT_OK(Launch(before, false));
  EXPECT_OK(Launch(before, true));
}

TEST_F(Overlap, StoresBeforeGridWaitAreReported) {
  ASSERT_OK(Launch(kStore, false));
  EXPECT_THAT(Launch("st.global.u32 [%d1], %r0;", true),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("write of 4 bytes")));
}

TEST_F(Overlap, BarriersPassTheWaitOn) {
  ASSERT_OK(Launch(kStore, false));
  const std::string body =
      "setp.lt.u32 %p1, %r0, 32; @%p1 griddepcontrol.wait; bar.sync 0; ld.global.u32 %r2, [%d1];";
  EXPECT_OK(Launch(body, true));
  EXPECT_THAT(Launch(With(body, "bar.sync 0;", ""), true),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("may still run")));
}

TEST_F(Overlap, CopiesOfTheHostComeAfterEverything) {
  ASSERT_OK(Launch(kStore, false));
  ASSERT_OK(memory_.Fill(address_, 0, 16));
  EXPECT_OK(Launch("ld.global.u32 %r2, [%d1];", true));
}

TEST(Fences, OfEveryKindAreKnown) {
  for (const char* fence : {"membar.cta", "membar.gl", "membar.sys", "fence.sc.cta",
                            "fence.acq_rel.gpu", "fence.acq_rel.sys", "fence.sc.cluster",
                            "fence.proxy.async", "fence.proxy.async.shared::cta",
                            "fence.proxy.async.global", "fence.mbarrier_init.release.cluster"}) {
    EXPECT_OK(ParseProgram(Module(absl::StrCat(fence, ";")))) << fence;
  }
  for (const char* fence : {"fence.acq_rel", "fence.proxy.tensormap", "fence.gpu.gpu.gpu", "membar",
                            "fence.proxy.async.nowhere", "fence.weak.gpu"}) {
    EXPECT_THAT(ParseProgram(Module(absl::StrCat(fence, ";"))),
                StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(fence)));
  }
}

TEST(Hints, AreChecked) {
  const auto run = [](const std::string& body) {
    KernelRun kernel;
    kernel.text = Module(body);
    kernel.a.assign(64, 1);
    return RunKernel(kernel).status();
  };
  const std::string policy = "createpolicy.fractional.L2::evict_last.b64 %d9, 0.5;";
  for (const char* use :
       {"ld.global.L1::no_allocate.L2::cache_hint.v4.u32 {%r2, %r3, %r4, %r5}, [%d1], %d9;",
        "setp.eq.u32 %p1, %r0, 0; @%p1 st.global.L2::cache_hint.u32 [%d2], %r0, %d9;",
        "red.relaxed.gpu.global.add.L2::cache_hint.u32 [%d1], 1, %d9;"}) {
    EXPECT_OK(run(absl::StrCat(policy, use)));
    EXPECT_THAT(run(use), StatusIs(absl::StatusCode::kInternal, HasSubstr("register %d9")));
  }
  EXPECT_OK(run("setmaxnreg.dec.sync.aligned.u32 40;"));
  EXPECT_THAT(run("setmaxnreg.dec.sync.aligned.u32 41;"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("41 registers")));
  EXPECT_OK(run("mapa.shared::cluster.u32 %r2, %r0, 0;"));
  EXPECT_THAT(run("mapa.shared::cluster.u32 %r2, %r0, 1;"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("clusters")));
}

}  // namespace
}  // namespace ptxsmith::emu

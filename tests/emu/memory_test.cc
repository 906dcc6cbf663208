// The memory object, and what a launch promises about its host: threads, rounding mode, backends.
#include "runtime/emu/memory.h"

#include <thread>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/emu/op_runner.h"

namespace ptxsmith::emu {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Memory, CopiesWithinBoundsOnly) {
  Memory memory;
  ASSERT_OK_AND_ASSIGN(const uint64_t a, memory.Allocate(100, "left"));
  ASSERT_OK_AND_ASSIGN(const uint64_t b, memory.Allocate(100, "right"));
  EXPECT_EQ(a % 256, 0u);
  EXPECT_NE(a, b);
  const std::string text(100, 'x');
  ASSERT_OK(memory.Write(a, text.data(), 100));
  ASSERT_OK(memory.Copy(b + 50, a, 50));
  std::string got(50, ' ');
  ASSERT_OK(memory.Read(b + 50, got.data(), 50));
  EXPECT_EQ(got, text.substr(0, 50));
  EXPECT_THAT(memory.Write(a + 1, text.data(), 100),
              StatusIs(absl::StatusCode::kOutOfRange, AllOf(HasSubstr("'left' + 1 (100 bytes)"))));
  EXPECT_THAT(memory.Read(12345, got.data(), 1),
              StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("no allocation")));
  EXPECT_THAT(memory.Fill(b + 99, 0, 2), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_OK(memory.Write(a + 100, text.data(), 0));
}

TEST(Memory, TracksEveryUndefinedByte) {
  Memory memory;
  ASSERT_OK_AND_ASSIGN(const uint64_t a, memory.Allocate(64, "a"));
  ASSERT_OK_AND_ASSIGN(const uint64_t b, memory.Allocate(64, "b"));
  char out[64];
  EXPECT_THAT(memory.Read(a, out, 1),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("a + 0 (64 bytes)")));
  ASSERT_OK(memory.Fill(a, 1, 10));
  EXPECT_OK(memory.Read(a, out, 10));
  EXPECT_THAT(memory.Read(a, out, 11),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("a + 10")));
  // Copies carry it along, into defined memory too.
  ASSERT_OK(memory.Fill(b, 0, 64));
  ASSERT_OK(memory.Copy(b, a, 20));
  EXPECT_OK(memory.Read(b + 20, out, 44));
  EXPECT_THAT(memory.Read(b, out, 20),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("b + 10")));
}

TEST(Memory, AddressesAreNeverUsedAgain) {
  Memory memory;
  uint64_t last = 0;
  for (int i = 0; i < 5000; ++i) {
    ASSERT_OK_AND_ASSIGN(const uint64_t a, memory.Allocate(16, "a"));
    EXPECT_GT(a, last);
    last = a;
    ASSERT_OK(memory.Free(a));
  }
  EXPECT_THAT(memory.Free(last), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("twice")));
  EXPECT_THAT(memory.Free(last + 4), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(memory.Free(0), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(memory.Describe(last), HasSubstr("'a' + 0 (16 bytes, freed)"));
}

TEST(Memory, TooMuchIsResourceExhausted) {
  Memory memory;
  EXPECT_THAT(memory.Allocate(uint64_t{1} << 50, "all"),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("'all'")));
  ASSERT_OK_AND_ASSIGN(const uint64_t nothing, memory.Allocate(0, "nothing"));
  EXPECT_THAT(memory.Fill(nothing, 0, 1), StatusIs(absl::StatusCode::kOutOfRange));
  EXPECT_OK(memory.Free(nothing));
}

TEST(Memory, MayBeUsedWhileKernelsRun) {
  Memory memory;
  Emulator emulator(2);
  ASSERT_OK_AND_ASSIGN(const auto program, ParseProgram(Module("st.global.u32 [%d2], %r0;")));
  std::vector<std::thread> threads;
  std::vector<absl::Status> results(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      results[t] = [&]() -> absl::Status {
        for (int i = 0; i < 50; ++i) {
          PTXSMITH_ASSIGN_OR_RETURN(uint64_t b, memory.Allocate(64, "b"));
          uint32_t n = 0;
          void* params[] = {&b, &b, &b, &n};
          LaunchConfig config;
          config.params = params;
          PTXSMITH_RETURN_IF_ERROR(emulator.Launch(program, "kernel", config, memory).status());
          PTXSMITH_RETURN_IF_ERROR(memory.Read(b, &n, 4));
          PTXSMITH_RETURN_IF_ERROR(memory.Free(b));
        }
        return absl::OkStatus();
      }();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) EXPECT_OK(result);
}

TEST(Host, VariablesOfAModuleLiveAsLongAsTheMemory) {
  ASSERT_OK_AND_ASSIGN(const auto program,
                       ParseProgram(Module("ld.global.u32 %r2, [count]; add.u32 %r2, %r2, 1;"
                                           "st.global.u32 [count], %r2; st.global.u32 [%d2], %r2;",
                                           ".global .u32 count = 5;\n")));
  Emulator emulator(1);
  for (int memories = 0; memories < 2; ++memories) {
    Memory memory;
    ASSERT_OK_AND_ASSIGN(uint64_t b, memory.Allocate(64, "b"));
    uint32_t n = 0;
    void* params[] = {&b, &b, &b, &n};
    LaunchConfig config;
    config.params = params;
    for (uint32_t launch = 1; launch <= 3; ++launch) {
      ASSERT_OK(emulator.Launch(program, "kernel", config, memory));
      ASSERT_OK(memory.Read(b, &n, 4));
      EXPECT_EQ(n, 5 + launch);
    }
  }
}

TEST(Host, ItsRoundingModeIsNeitherUsedNorChanged) {
  // 2^-150 rounds to zero by default, to the least subnormal upwards; with FTZ subnormals vanish.
  const uint32_t saved = __builtin_ia32_stmxcsr();
  const uint32_t odd = saved | 0x8000 | 0x0040 | 0x4000;  // FTZ, DAZ, round up
  __builtin_ia32_ldmxcsr(odd);
  KernelRun run;
  run.text = Module(R"(
mov.f32 %f1, 0f00800000; mov.f32 %f2, 0f3F000000; mul.rn.f32 %f3, %f1, %f2; st.global.f32 [%d2], %f3;
mov.f32 %f4, 0f00000001; mul.rn.f32 %f5, %f4, %f2; st.global.f32 [%d2+4], %f5;)");
  run.block = {1, 1, 1};
  const absl::StatusOr<KernelResult> result = RunKernel(run);
  const uint32_t after = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr(saved);
  EXPECT_EQ(after & ~0x3fu, odd & ~0x3fu);  // the low bits record exceptions
  ASSERT_OK(result);
  EXPECT_EQ(result->b[0], 0x00400000u);
  EXPECT_EQ(result->b[1], 0u);
}

TEST(Host, ResultsDoNotDependOnThreads) {
  KernelRun run;
  run.text = Module(R"(
mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.u32 %r4, %r2, %r3, %r0; cvt.rn.f32.u32 %f1, %r4;
ex2.approx.f32 %f2, 0fBF000000; mov.u32 %r5, 0;
L: fma.rn.f32 %f1, %f1, %f2, 0f3F800000; add.u32 %r5, %r5, 1; setp.lt.u32 %p1, %r5, %r2; @%p1 bra L;
mul.wide.u32 %d4, %r4, 4; add.u64 %d4, %d2, %d4; st.global.f32 [%d4], %f1;)");
  run.grid = {40, 1, 1};
  run.block = {50, 1, 1};
  run.b_words = 2000;
  run.threads = 1;
  ASSERT_OK_AND_ASSIGN(const KernelResult one, RunKernel(run));
  for (const Backend* backend : RunnableBackends()) {
    run.threads = 7;
    ASSERT_OK_AND_ASSIGN(const KernelResult many, RunKernel(run, *backend));
    EXPECT_EQ(many.b, one.b) << backend->name;
    EXPECT_EQ(many.stats.lane_ops, one.stats.lane_ops);
  }
}

TEST(Host, TheFirstFaultyBlockIsReported) {
  for (int i = 0; i < 20; ++i) {
    KernelRun run;
    run.text = Module("mov.u32 %r2, %ctaid.x; setp.ge.u32 %p1, %r2, 33; @%p1 trap;");
    run.grid = {100, 1, 1};
    run.threads = 1 + i % 5;
    EXPECT_THAT(RunKernel(run).status(),
                StatusIs(absl::StatusCode::kInternal, HasSubstr("block (33,0,0)")));
  }
}

}  // namespace
}  // namespace ptxsmith::emu

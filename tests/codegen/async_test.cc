// Asynchronous copies, polling and ordered memory: the PTX they print and what is refused.
#include "codegen/async.h"

#include "gtest/gtest.h"
#include "tests/codegen/kernels.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

// A ring of two slots: the smallest kernel that uses every operation of async.h.
absl::StatusOr<KernelSpec> Ring(const Target& target) {
  return Build(
      [](KernelBuilder& k) {
        const auto w = k.Param<In<U8>>("w", {.count = 256, .constant = true});
        const auto y = k.Param<Out<U32>>("y", {.count = 64});
        const auto ring = k.SharedArray<U8>("ring", 256);
        const MBarriers full(k, "full", 2);
        const MBarriers empty(k, "empty", 2);
        k.If(k.ThreadX() == 0, [&] {
          full.Init(1, 1);
          empty.Init(1, 2);
          FenceMBarrierInit(k);
        });
        k.Barrier();
        k.If(k.ThreadX() == 0, [&] {
          const Val<U64> policy = EvictFirst(k);
          full.ArriveExpecting(1, 128);
          CopyBulk(ring.At(128), w.At(k.CtaX(), 128), 128, full, 1, policy);
        });
        full.Wait(k, 1, 0);
        y.Store(k.ThreadX(), ring.As<U32>().At(32).Load(k.Lane()));
        k.WarpBarrier();
        k.If(k.Lane() == 0, [&] { empty.Arrive(1, 1); });
      },
      target);
}

TEST(AsyncTest, PrintsARing) {
  ASSERT_OK_AND_ASSIGN(const KernelSpec spec, Ring(Sm(90)));
  for (const char* line :
       {"mbarrier.init.shared::cta.b64 [%r1+8], 1;\n",
        "mbarrier.init.shared::cta.b64 [%r2+8], 2;\n", "fence.mbarrier_init.release.cluster;\n",
        "createpolicy.fractional.L2::evict_first.b64 %rd4, 0f3F800000;\n",
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%r1+8], 128;\n",
        "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
        "[%r0+128], [%rd5], 128, [%r1+8], %rd4;\n",
        "$loop_2:\n\tmbarrier.try_wait.parity.shared::cta.b64 %p3, [%r1+8], 0;\n"
        "\tnot.pred %p4, %p3;\n\t@%p4 bra $loop_2;\n",
        "bar.warp.sync 0xffffffff;\n",
        "mbarrier.arrive.release.cta.shared::cta.b64 _, [%r2+8], 1;\n"}) {
    EXPECT_THAT(spec.ptx, HasSubstr(line));
  }
  EXPECT_EQ(spec.version, (PtxVersion{8, 0}));
}

TEST(AsyncTest, NeedsSm90) {
  EXPECT_THAT(Ring(Sm(89)), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("sm_90")));
}

absl::StatusOr<KernelSpec> SmallCopy(const Target& target) {
  return Build(
      [](KernelBuilder& k) {
        const auto w = k.Param<In<U8>>("w", {.count = 512});
        const auto tile = k.SharedArray<U8>("tile", 512);
        CopyAsync16(tile.At(k.Lane(), 16), w.At(k.Lane(), 16));
        CommitCopies(k);
        WaitForCopies(k, 1);
      },
      target);
}

TEST(AsyncTest, ThreadsCopy16BytesEach) {
  ASSERT_OK_AND_ASSIGN(const KernelSpec spec, SmallCopy(Sm(80)));
  EXPECT_THAT(spec.ptx, testing::ContainsRegex("cp.async.cg.shared.global \\[%r[0-9]+\\], "
                                               "\\[%rd[0-9]+\\], 16;\n"
                                               "\tcp.async.commit_group;\n"
                                               "\tcp.async.wait_group 1;\n"));
}

TEST(AsyncTest, BeforeSm80TheyLoadAndStore) {
  ASSERT_OK_AND_ASSIGN(const KernelSpec spec, SmallCopy(Sm(75)));
  EXPECT_THAT(spec.ptx, testing::AllOf(testing::Not(HasSubstr("cp.async")),
                                       HasSubstr("ld.global.v4"), HasSubstr("st.shared.v4")));
}

TEST(AsyncTest, SmallCopiesGoToSharedMemoryFromPlacesOf16Bytes) {
  EXPECT_THAT(Build([](KernelBuilder& k) {
                const auto w = k.Param<InOut<U8>>("w", {.count = 64});
                CopyAsync16(w, k.Param<In<U8>>("x", {.count = 64}));
              }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("to shared memory")));
  EXPECT_THAT(Build([](KernelBuilder& k) {
                const auto w = k.Param<In<U8>>("w", {.count = 64});
                CopyAsync16(k.SharedArray<U8>("tile", 64), w.At(8));
              }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("16")));
}

TEST(AsyncTest, CopiesAreMultiplesOf16Bytes) {
  const auto copy = [](uint32_t from, uint32_t bytes) {
    return Build(
        [&](KernelBuilder& k) {
          const auto w = k.Param<In<U8>>("w", {.count = 256});
          const auto ring = k.SharedArray<U8>("ring", 128);
          const MBarriers full(k, "full", 1);
          CopyBulk(ring, w.At(from), bytes, full, 0, EvictFirst(k));
        },
        Sm(90));
  };
  EXPECT_OK(copy(16, 48));
  EXPECT_THAT(copy(8, 48), StatusIs(absl::StatusCode::kInvalidArgument,
                                    HasSubstr("only known to be a multiple of 8")));
  EXPECT_THAT(copy(16, 40), StatusIs(absl::StatusCode::kInvalidArgument,
                                     HasSubstr("a multiple of 8 bytes: must be one of 16")));
}

TEST(OrderedMemoryTest, Prints) {
  EXPECT_EQ(BodyOf([](KernelBuilder&, const Inputs& in) {
              in.y.Load(1, MemoryOrder::kRelaxed);
              in.y.Load<4>(4, MemoryOrder::kAcquire);
              in.y.Store(2, in.a, MemoryOrder::kRelaxed);
              in.y.Store<2>(2, Vec<U32, 2>({in.a, in.b}), MemoryOrder::kRelease);
            }),
            "ld.relaxed.gpu.global.u32 %r2, [%rd1+4];\n"
            "ld.acquire.gpu.global.v4.u32 {%r3, %r4, %r5, %r6}, [%rd1+16];\n"
            "st.relaxed.gpu.global.u32 [%rd1+8], %r0;\n"
            "st.release.gpu.global.v2.u32 [%rd1+8], {%r0, %r1};\n");
}

TEST(OrderedMemoryTest, RefusesWhatMakesNoSense) {
  const auto load = [](MemoryOrder order, bool constant) {
    return Build([&](KernelBuilder& k) {
      const auto x = k.Param<InOut<U32>>("x", {.count = 64, .constant = constant});
      x.Store(1, x.Load(0, order));
    });
  };
  EXPECT_OK(load(MemoryOrder::kAcquire, false));
  EXPECT_THAT(load(MemoryOrder::kRelease, false),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cannot be release")));
  EXPECT_THAT(load(MemoryOrder::kRelaxed, true),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cannot be relaxed")));
}

TEST(RepeatTest, Polls) {
  EXPECT_EQ(BodyOf([](KernelBuilder& k, const Inputs& in) {
              k.Repeat([&] { return !All(in.y.Load(1, MemoryOrder::kRelaxed) != 0); });
              k.WarpBarrier();  // all lanes leave a loop whose condition is the same for them
            }),
            "$loop_0:\n"
            "ld.relaxed.gpu.global.u32 %r2, [%rd1+4];\n"
            "setp.ne.u32 %p1, %r2, 0;\n"
            "vote.sync.all.pred %p2, %p1, 0xffffffff;\n"
            "not.pred %p3, %p2;\n"
            "@%p3 bra $loop_0;\n"
            "bar.warp.sync 0xffffffff;\n");
}

TEST(RepeatTest, BodyIsUnderItsCondition) {
  const auto repeat = [](bool vote) {
    return Build([&](KernelBuilder& k) {
      const auto x = k.Param<InOut<U32>>("x", {.count = 64});
      k.Repeat([&] {
        const Pred again = x.Load(k.Lane()) != 0;
        k.WarpBarrier();
        return vote ? All(again) : again;
      });
    });
  };
  EXPECT_OK(repeat(true));
  EXPECT_THAT(repeat(false),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("some lanes of the warp")));
}

TEST(RepeatTest, EndlessIsRefused) {
  EXPECT_THAT(Build([](KernelBuilder& k) { k.Repeat([&] { return k.True(); }); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("never ends")));
}

TEST(NamedBarrierTest, Prints) {
  EXPECT_EQ(BodyOf([](KernelBuilder& k, const Inputs&) {
              k.If(k.Warp() == 1, [&] { k.NamedBarrier(3, 32); });
            }),
            "mov.u32 %r2, %tid.x;\n"
            "shr.u32 %r3, %r2, 5;\n"
            "setp.eq.u32 %p0, %r3, 1;\n"
            "@!%p0 bra $else_0;\n"
            "bar.sync 3, 32;\n"
            "$else_0:\n");
  EXPECT_THAT(Build([](KernelBuilder& k) { k.NamedBarrier(0, 32); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("ids are 1 to 15")));
  EXPECT_THAT(Build([](KernelBuilder& k) { k.NamedBarrier(1, 33); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("whole warps")));
}

absl::StatusOr<KernelSpec> Dependent(bool programmatic, bool waits) {
  const Target target = Sm(90);
  KernelBuilder k("test", "test", target);
  k.Launch({.block = {64, 1, 1}, .programmatic = programmatic});
  k.LaunchDependents();
  if (waits) k.WaitForPredecessors();
  return std::move(k).Finish();
}

TEST(ProgrammaticTest, LaunchAndWaitBelongTogether) {
  ASSERT_OK_AND_ASSIGN(const KernelSpec spec, Dependent(true, true));
  EXPECT_TRUE(spec.launch.programmatic);
  EXPECT_THAT(spec.ptx, HasSubstr("\tgriddepcontrol.launch_dependents;\n\tgriddepcontrol.wait;\n"));
  EXPECT_OK(Dependent(false, false));
  EXPECT_THAT(Dependent(true, false),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("never waits")));
  EXPECT_THAT(Dependent(false, true),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("is not programmatic")));
}

}  // namespace
}  // namespace ptxsmith

// Each rule of verify.h: kernels that break it with the message they get, and twins that differ in
// the point that matters and are accepted.
#include "codegen/verify.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/codegen/kernels.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::ContainsRegex;
using testing::HasSubstr;

constexpr char kBarrierText[] = "bar.sync is reached by some threads of the block only";
constexpr char kShuffleText[] = "shfl.sync.bfly.b32 is reached by some lanes of the warp only";

// The kernel's body with a buffer `x` that is read and written.
template <class F>
absl::StatusOr<KernelSpec> With(F&& body, const Target& target = Sm(80)) {
  return Build(
      [&](KernelBuilder& k) {
        const auto x = k.Param<InOut<U32>>("x", {.count = 64});
        x.Store(0, x.Load(1));
        body(k, x);
      },
      target);
}

auto Refused(const std::string& message) {
  return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message));
}

TEST(BarrierTest, InIf) {
  const auto under = [](auto condition) {
    return With([&](KernelBuilder& k, auto& x) { k.If(condition(k, x), [&] { k.Barrier(); }); });
  };
  EXPECT_THAT(under([](auto& k, auto&) { return k.Lane() == 0; }), Refused(kBarrierText));
  EXPECT_THAT(under([](auto& k, auto&) { return k.ThreadX() < 40; }), Refused(kBarrierText));
  EXPECT_THAT(under([](auto& k, auto&) { return k.Warp() == 0; }), Refused(kBarrierText));
  EXPECT_THAT(under([](auto& k, auto&) { return k.CtaX() < 3 && k.Warp() == 0; }),
              Refused(kBarrierText));
  EXPECT_THAT(under([](auto& k, auto& x) { return x.Load(k.Lane()) == 0; }), Refused(kBarrierText));
  EXPECT_THAT(under([](auto& k, auto&) { return ToF32(k.Lane()) * 0.5f < 3.0f; }),
              Refused(kBarrierText));
  EXPECT_THAT(under([](auto& k, auto&) { return Broadcast(k.Lane(), 3) == 0; }),
              Refused(kBarrierText));
  EXPECT_OK(under([](auto& k, auto&) { return k.CtaX() < 3; }));
  EXPECT_OK(under([](auto& k, auto&) { return k.CtaX() < k.CtaY(); }));
  EXPECT_OK(under([](auto& k, auto& x) { return x.Load(k.CtaX()) == 0; }));
  EXPECT_OK(under([](auto& k, auto&) { return k.True(); }));
}

TEST(BarrierTest, InElse) {
  const auto in_else = [](auto condition) {
    return With([&](KernelBuilder& k, auto&) {
      k.If(
          condition(k), [] {}, [&] { k.Barrier(); });
    });
  };
  EXPECT_THAT(in_else([](auto& k) { return k.Lane() == 0; }), Refused(kBarrierText));
  EXPECT_OK(in_else([](auto& k) { return k.CtaX() == 0; }));
}

TEST(BarrierTest, AfterADivergentIfAllThreadsAreBack) {
  EXPECT_OK(With([](KernelBuilder& k, auto& x) {
    k.If(k.Lane() == 0, [&] { x.Store(0, 1); });
    k.Barrier();
  }));
}

TEST(BarrierTest, InFor) {
  const auto loop = [](auto bound) {
    return With([&](KernelBuilder& k, auto&) {
      k.For(0, bound(k), {}, [&](const Val<U32>&) { k.Barrier(); });
    });
  };
  EXPECT_THAT(loop([](auto& k) { return k.Lane(); }), Refused(kBarrierText));
  EXPECT_THAT(loop([](auto& k) { return k.Warp(); }), Refused(kBarrierText));
  EXPECT_OK(loop([](auto& k) { return k.CtaX(); }));
  EXPECT_OK(loop([](auto& k) { return k.template Const<U32>(7); }));
}

TEST(BarrierTest, InForFromADivergentStart) {
  EXPECT_THAT(With([](KernelBuilder& k, auto&) {
                k.For(k.ThreadX(), 64, {.step = 32}, [&](const Val<U32>&) { k.Barrier(); });
              }),
              Refused(kBarrierText));
}

TEST(BarrierTest, NestedUnderAnOuterDivergence) {
  EXPECT_THAT(With([](KernelBuilder& k, auto&) {
                k.If(k.Lane() < 3, [&] {
                  k.For(0, 4, {},
                        [&](const Val<U32>&) { k.If(k.CtaX() == 0, [&] { k.Barrier(); }); });
                });
              }),
              Refused(kBarrierText));
}

TEST(BarrierTest, VarAssignedUnderDivergence) {
  const auto var = [](auto condition) {
    return With([&](KernelBuilder& k, auto&) {
      Var<U32> v = k.NewVar<U32>(0);
      k.If(condition(k), [&] { v = 1; });
      k.If(v == 1, [&] { k.Barrier(); });
    });
  };
  EXPECT_THAT(var([](auto& k) { return k.Lane() == 0; }), Refused(kBarrierText));
  EXPECT_THAT(var([](auto& k) { return k.Warp() == 0; }), Refused(kBarrierText));
  EXPECT_OK(var([](auto& k) { return k.CtaX() == 0; }));
}

TEST(BarrierTest, VarThatBecomesDivergentLaterInTheLoop) {
  // The condition reads what the previous iteration assigned below it: needs the fixed point.
  const auto loop = [](bool divergent) {
    return With([&](KernelBuilder& k, auto&) {
      Var<U32> v = k.NewVar<U32>(0);
      k.For(0, 4, {}, [&](const Val<U32>& i) {
        k.If(v == 1, [&] { k.Barrier(); });
        v = divergent ? k.Lane() : i;
      });
    });
  };
  EXPECT_THAT(loop(true), Refused(kBarrierText));
  EXPECT_OK(loop(false));
}

TEST(BarrierTest, VarOfDivergentTripCount) {
  // How often a lane adds depends on the lane, though what it adds does not.
  EXPECT_THAT(With([](KernelBuilder& k, auto&) {
                Var<U32> v = k.NewVar<U32>(0);
                k.For(0, k.Lane(), {}, [&](const Val<U32>&) { v += 1; });
                k.If(v == 3, [&] { k.Barrier(); });
              }),
              Refused(kBarrierText));
}

TEST(BarrierTest, BlockSumUnderAWarp) {
  EXPECT_THAT(With([](KernelBuilder& k, auto& x) {
                const Val<F32> value = ToF32(x.Load(k.ThreadX()));
                k.If(k.Warp() == 0, [&] { BlockSum(k, value, 2, "sums"); });
              }),
              Refused(kBarrierText));
  EXPECT_OK(With([](KernelBuilder& k, auto& x) {
    const Val<F32> value = ToF32(x.Load(k.ThreadX()));
    k.If(k.CtaX() == 0, [&] { BlockSum(k, value, 2, "sums"); });
  }));
}

TEST(BarrierTest, TheMessageNamesBothLines) {
  uint32_t condition = 0;
  uint32_t barrier = 0;
  const auto spec = With([&](KernelBuilder& k, auto&) {
    condition = __LINE__ + 1;
    k.If(k.Lane() == 0, [&] {
      barrier = __LINE__ + 1;
      k.Barrier();
    });
  });
  EXPECT_THAT(spec, Refused(absl::StrCat("test@sm_80.ptx70: verify_test.cc:", barrier, ": ",
                                         kBarrierText, ": the condition at verify_test.cc:",
                                         condition, " may differ between them")));
}

TEST(ShuffleTest, NeedsTheWholeWarp) {
  const auto under = [](auto condition) {
    return With([&](KernelBuilder& k, auto& x) {
      const Val<F32> value = ToF32(x.Load(k.ThreadX()));
      k.If(condition(k), [&] { x.Store(0, Bitcast<U32>(WarpSum(value))); });
    });
  };
  EXPECT_THAT(under([](auto& k) { return k.Lane() < 16; }), Refused(kShuffleText));
  EXPECT_THAT(under([](auto& k) { return k.GlobalThread() < 100; }), Refused(kShuffleText));
  EXPECT_OK(under([](auto& k) { return k.Warp() < 1; }));
  EXPECT_OK(under([](auto& k) { return k.CtaX() * 4 + k.Warp() < 100; }));
}

TEST(ShuffleTest, ResultsOfCollectivesAreWarpUniform) {
  EXPECT_OK(With([](KernelBuilder& k, auto& x) {
    const Val<F32> value = ToF32(x.Load(k.ThreadX()));
    k.If(WarpMax(value) > 0.0f, [&] { WarpSum(value); });
    k.If(Broadcast(k.Lane(), 2) == 2, [&] { WarpSum(value); });
  }));
  // One butterfly step is not.
  EXPECT_THAT(With([](KernelBuilder& k, auto& x) {
                const Val<F32> value = ToF32(x.Load(k.ThreadX()));
                k.If(ShuffleXor(value, 16) > 0.0f, [&] { WarpSum(value); });
              }),
              Refused(kShuffleText));
}

TEST(ShuffleTest, InForWithALanesTripCount) {
  const auto loop = [](auto bound) {
    return With([&](KernelBuilder& k, auto& x) {
      const Val<F32> value = ToF32(x.Load(k.ThreadX()));
      k.For(0, bound(k), {}, [&](const Val<U32>&) { WarpSum(value); });
    });
  };
  EXPECT_THAT(loop([](auto& k) { return k.Lane(); }), Refused(kShuffleText));
  EXPECT_OK(loop([](auto& k) { return k.Warp(); }));
}

// --- Features. ---

// A kernel with one plain instruction that has no operands.
absl::StatusOr<KernelSpec> WithInstruction(const char* mnemonic, int sm) {
  return Build(
      [&](KernelBuilder& k) {
        k.recorder().Append(ir::Op::kPlain, mnemonic, {}, SourceLoc::Here());
      },
      Sm(sm));
}

TEST(FeaturesTest, RefusedBelowTheirArchitecture) {
  const auto lacks = [](const char* text) {
    return StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(text));
  };
  EXPECT_THAT(WithInstruction("cp.async.wait_all", 75),
              lacks("cp.async.wait_all needs sm_80, the target is sm_75"));
  EXPECT_THAT(WithInstruction("griddepcontrol.wait", 89),
              lacks("griddepcontrol.wait needs sm_90, the target is sm_89"));
  // The longest prefix counts: cp.async.bulk is not cp.async.
  EXPECT_THAT(WithInstruction("cp.async.bulk.commit_group", 80),
              lacks("cp.async.bulk.commit_group needs sm_90, the target is sm_80"));
  EXPECT_THAT(WithInstruction("setmaxnreg.dec.sync.aligned.u32 40", 100),
              lacks("setmaxnreg.dec.sync.aligned.u32 40 needs sm_90a, the target is sm_100"));
  EXPECT_OK(WithInstruction("cp.async.wait_all", 80));
  EXPECT_OK(WithInstruction("cp.async.bulk.commit_group", 90));
}

TEST(FeaturesTest, RaiseTheVersion) {
  const auto version = [](const char* mnemonic, int sm) {
    return WithInstruction(mnemonic, sm).value().version.ToString();
  };
  EXPECT_EQ(version("ret", 75), "6.3");
  EXPECT_EQ(version("ret", 90), "7.8");
  EXPECT_EQ(version("cp.async.wait_all", 80), "7.0");
  EXPECT_EQ(version("cp.async.bulk.commit_group", 90), "8.0");
  EXPECT_EQ(version("ldmatrix.sync.aligned.m8n8.x4.shared.b16", 75), "6.5");
  EXPECT_THAT(WithInstruction("cp.async.bulk.commit_group", 90).value().ptx,
              testing::StartsWith(".version 8.0\n.target sm_90\n"));
}

TEST(FeaturesTest, TheTargetsVersionIsTheFloor) {
  const auto spec = Build([](KernelBuilder&) {}, Target::Parse("sm_80.ptx84").value());
  EXPECT_EQ(spec.value().version.ToString(), "8.4");
  EXPECT_THAT(spec->ptx, testing::StartsWith(".version 8.4\n.target sm_80\n"));
}

// --- Shared memory. ---

absl::StatusOr<KernelSpec> WithShared(std::initializer_list<uint32_t> floats, int sm) {
  return Build(
      [&](KernelBuilder& k) {
        int i = 0;
        for (const uint32_t count : floats) {
          k.SharedArray<F32>(absl::StrCat("s", i++), count).Store(0, 1.0f);
        }
      },
      Sm(sm));
}

TEST(SharedMemoryTest, StaticUpTo48KiB) {
  const KernelSpec spec = WithShared({12 * 1024 - 4, 3}, 80).value();
  EXPECT_EQ(spec.static_shared, 48u * 1024);  // 12 bytes count as 16
  EXPECT_EQ(spec.dynamic_shared, 0u);
  EXPECT_THAT(spec.ptx, HasSubstr("\t.shared .align 16 .b8 s0[49136];\n"
                                  "\t.shared .align 16 .b8 s1[16];\n"));
}

TEST(SharedMemoryTest, DynamicAbove) {
  const KernelSpec spec = WithShared({12 * 1024 - 3, 3}, 80).value();
  EXPECT_EQ(spec.static_shared, 0u);
  EXPECT_EQ(spec.dynamic_shared, 48u * 1024 + 16);
  EXPECT_THAT(spec.ptx, HasSubstr("\n.extern .shared .align 16 .b8 dynamic_shared[];\n"));
  EXPECT_THAT(spec.ptx, HasSubstr("mov.u32 %r0, dynamic_shared+0;\n"));
  EXPECT_THAT(spec.ptx, HasSubstr("mov.u32 %r1, dynamic_shared+49152;\n"));
}

TEST(SharedMemoryTest, RefusedAboveTheTargetsLimit) {
  EXPECT_OK(WithShared({8 * 1024, 8 * 1024}, 75));
  EXPECT_THAT(
      WithShared({8 * 1024, 8 * 1024 + 4}, 75),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               "test@sm_75.ptx63: 65552 bytes of shared memory; sm_75 has 65536 per block"));
  EXPECT_OK(WithShared({8 * 1024, 8 * 1024 + 4}, 86));
  // What counts is what is laid out: three arrays of 4 bytes fill 48.
  EXPECT_THAT(WithShared({16 * 1024 - 8, 1, 1, 1}, 75),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("65552 bytes of shared memory; sm_75 has 65536 per block")));
}

TEST(UniformityTest, OfEachKindOfRegister) {
  KernelBuilder k("uniformity", "uniformity", Sm(80));
  k.Launch({.block = {64, 1, 1}});
  const Val<U32> n = k.ParamDim("n", std::nullopt);
  const auto x = k.Param<In<U32>>("x", {.count = 64});
  const Val<U32> values[] = {n,
                             k.CtaX(),
                             x.Load(n),
                             k.Warp(),
                             k.Warp() + n,
                             Broadcast(k.ThreadX(), 0),
                             k.ThreadX(),
                             x.Load(k.ThreadX()),
                             Select(k.Lane() < 1, n, 1)};
  using enum ir::Uniformity;
  const ir::Uniformity expected[] = {kCta, kCta, kCta, kWarp, kWarp, kWarp, kLane, kLane, kLane};
  const std::vector<ir::Uniformity> regs = AnalyzeUniformity(k.recorder().kernel());
  for (size_t i = 0; i < std::size(values); ++i) {
    EXPECT_EQ(regs[values[i].ir().reg], expected[i]) << "value " << i;
  }
}

}  // namespace
}  // namespace ptxsmith

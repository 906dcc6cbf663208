// If and For in all their forms, as printed.
#include <string>

#include "gtest/gtest.h"
#include "tests/codegen/kernels.h"

namespace ptxsmith {
namespace {

TEST(ForTest, ConstantBoundsNeedNoGuard) {
  EXPECT_EQ(BodyOf([](KernelBuilder& k, const Inputs& in) {
              k.For(2, 10, {.step = 2}, [&](const Val<U32>& i) { in.y.Store(0, i); });
            }),
            "mov.u32 %r2, 2;\n$loop_0:\nst.global.u32 [%rd1], %r2;\nadd.u32 %r2, %r2, 2;\n"
            "setp.lt.u32 %p0, %r2, 10;\n@%p0 bra $loop_0;\n");
}

TEST(ForTest, UnrollWithRemainder) {
  // i = 0, 3 | 6, 9 | 12 : two whole iterations of two copies, and one more.
  EXPECT_EQ(BodyOf([](KernelBuilder& k, const Inputs& in) {
              k.For(0, 13, {.step = 3, .unroll = 2}, [&](const Val<U32>& i) { in.y.Store(0, i); });
            }),
            "mov.u32 %r2, 0;\n$loop_0:\nst.global.u32 [%rd1], %r2;\nadd.u32 %r3, %r2, 3;\n"
            "st.global.u32 [%rd1], %r3;\nadd.u32 %r2, %r2, 6;\nsetp.lt.u32 %p0, %r2, 12;\n"
            "@%p0 bra $loop_0;\nst.global.u32 [%rd1], 12;\n");
}

TEST(ForTest, ConstantTripsOfOneIterationAreStraightCode) {
  EXPECT_EQ(BodyOf([](KernelBuilder& k, const Inputs& in) {
              k.For(4, 7, {.unroll = 3}, [&](const Val<U32>& i) { in.y.Store(0, i); });
              k.For(8, 9, {}, [&](const Val<U32>& i) { in.y.Store(0, i); });
            }),
            "st.global.u32 [%rd1], 4;\nst.global.u32 [%rd1], 5;\nst.global.u32 [%rd1], 6;\n"
            "st.global.u32 [%rd1], 8;\n");
}

TEST(ForTest, EmptyConstantRangesEmitNothing) {
  EXPECT_EQ(BodyOf([](KernelBuilder& k, const Inputs& in) {
              k.For(4, 4, {}, [&](const Val<U32>& i) { in.y.Store(0, i); });
              k.For(5, 4, {.unroll = 4}, [&](const Val<U32>& i) { in.y.Store(0, i); });
            }),
            "");
}

TEST(ForTest, DynamicBoundsAreGuarded) {
  EXPECT_EQ(BodyOf([](KernelBuilder& k, const Inputs& in) {
              k.For(in.a, in.b, {.step = 5}, [&](const Val<U32>& i) { in.y.Store(0, i); });
            }),
            "mov.u32 %r2, %r0;\nsetp.ge.u32 %p0, %r2, %r1;\n@%p0 bra $done_0;\n$loop_0:\n"
            "st.global.u32 [%rd1], %r2;\nadd.u32 %r2, %r2, 5;\nsetp.lt.u32 %p0, %r2, %r1;\n"
            "@%p0 bra $loop_0;\n$done_0:\n");
}

TEST(ForTest, DynamicUnrollHasASecondLoopForTheRest) {
  EXPECT_EQ(BodyOf([](KernelBuilder& k, const Inputs& in) {
              k.For(in.a, in.b, {.unroll = 2}, [&](const Val<U32>& i) { in.y.Store(0, i); });
            }),
            "max.u32 %r2, %r1, %r0;\nsub.u32 %r3, %r2, %r0;\nand.b32 %r4, %r3, 1;\n"
            "sub.u32 %r5, %r3, %r4;\nadd.u32 %r6, %r0, %r5;\n"
            "mov.u32 %r7, %r0;\nsetp.ge.u32 %p0, %r7, %r6;\n@%p0 bra $done_0;\n$loop_0:\n"
            "st.global.u32 [%rd1], %r7;\nadd.u32 %r8, %r7, 1;\nst.global.u32 [%rd1], %r8;\n"
            "add.u32 %r7, %r7, 2;\nsetp.lt.u32 %p0, %r7, %r6;\n@%p0 bra $loop_0;\n$done_0:\n"
            "mov.u32 %r9, %r6;\nsetp.ge.u32 %p1, %r9, %r1;\n@%p1 bra $done_1;\n$loop_1:\n"
            "st.global.u32 [%rd1], %r9;\nadd.u32 %r9, %r9, 1;\nsetp.lt.u32 %p1, %r9, %r1;\n"
            "@%p1 bra $loop_1;\n$done_1:\n");
}

TEST(ForTest, Nested) {
  EXPECT_EQ(BodyOf([](KernelBuilder& k, const Inputs& in) {
              k.For(0, 3, {}, [&](const Val<U32>& i) {
                k.For(0, 2, {}, [&](const Val<U32>& j) { in.y.Store(0, i + j); });
              });
            }),
            "mov.u32 %r2, 0;\n$loop_0:\nmov.u32 %r3, 0;\n$loop_1:\nadd.u32 %r4, %r2, %r3;\n"
            "st.global.u32 [%rd1], %r4;\nadd.u32 %r3, %r3, 1;\nsetp.lt.u32 %p1, %r3, 2;\n"
            "@%p1 bra $loop_1;\nadd.u32 %r2, %r2, 1;\nsetp.lt.u32 %p0, %r2, 3;\n"
            "@%p0 bra $loop_0;\n");
}

TEST(IfTest, ThenAlone) {
  EXPECT_EQ(
      BodyOf([](KernelBuilder& k, const Inputs& in) { k.If(in.a < 3, [&] { in.y.Store(0, 1); }); }),
      "setp.lt.u32 %p0, %r0, 3;\n@!%p0 bra $else_0;\nst.global.u32 [%rd1], 1;\n$else_0:\n");
}

TEST(IfTest, ThenAndElseNested) {
  EXPECT_EQ(BodyOf([](KernelBuilder& k, const Inputs& in) {
              k.If(
                  in.a < 3, [&] { k.If(in.b < 4, [&] { in.y.Store(0, 1); }); },
                  [&] { in.y.Store(0, 2); });
            }),
            "setp.lt.u32 %p0, %r0, 3;\n@!%p0 bra $else_0;\nsetp.lt.u32 %p1, %r1, 4;\n"
            "@!%p1 bra $else_1;\nst.global.u32 [%rd1], 1;\n$else_1:\nbra $endif_0;\n$else_0:\n"
            "st.global.u32 [%rd1], 2;\n$endif_0:\n");
}

TEST(IfTest, ConstantPredicatesAreDecidedNow) {
  EXPECT_EQ(BodyOf([](KernelBuilder& k, const Inputs& in) {
              const auto store = [&](int value) { return [&in, value] { in.y.Store(0, value); }; };
              k.If(k.True(), store(1));
              k.If(k.True(), store(2), store(3));
              k.If(!k.True(), store(4));
              k.If(!k.True(), store(5), store(6));
              k.If(k.Const<U32>(3) < 2 || k.True(), store(7));
              k.If(k.True() && in.a < 9, store(8));
            }),
            "st.global.u32 [%rd1], 1;\nst.global.u32 [%rd1], 2;\nst.global.u32 [%rd1], 6;\n"
            "st.global.u32 [%rd1], 7;\nsetp.lt.u32 %p0, %r0, 9;\n@!%p0 bra $else_0;\n"
            "st.global.u32 [%rd1], 8;\n$else_0:\n");
}

}  // namespace
}  // namespace ptxsmith

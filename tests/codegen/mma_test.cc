// Matrix tiles, and what narrow conversions become on the generation before cvt had pairs.
#include "codegen/mma.h"

#include "codegen/math.h"
#include "gtest/gtest.h"
#include "tests/codegen/kernels.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

void MultiplyOnce(KernelBuilder& k, const Inputs& in) {
  MmaTile tile(k);
  tile.MultiplyAdd16(Vec<U32, 4>({in.a, in.b, in.a, in.b}), Vec<U32, 2>({in.b, in.a}));
}

constexpr const char* kZeros =
    "mov.f32 %f2, 0f00000000;\nmov.f32 %f3, 0f00000000;\nmov.f32 %f4, 0f00000000;\n"
    "mov.f32 %f5, 0f00000000;\n";

TEST(MmaTest, OneInstructionFromSm80On) {
  EXPECT_EQ(BodyOf(MultiplyOnce, Sm(80)),
            absl::StrCat(kZeros,
                         "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f2, %f3, %f4, %f5}, "
                         "{%r0, %r1, %r0, %r1}, {%r1, %r0}, {%f2, %f3, %f4, %f5};\n"));
}

TEST(MmaTest, TwoHalvesOnSm75) {
  EXPECT_EQ(BodyOf(MultiplyOnce, Sm(75)),
            absl::StrCat(kZeros,
                         "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f2, %f3, %f4, %f5}, "
                         "{%r0, %r1}, {%r1}, {%f2, %f3, %f4, %f5};\n"
                         "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f2, %f3, %f4, %f5}, "
                         "{%r0, %r1}, {%r0}, {%f2, %f3, %f4, %f5};\n"));
}

TEST(MmaTest, RefusedWhereLanesMayBeElsewhere) {
  EXPECT_THAT(Build([](KernelBuilder& k) {
                k.If(k.Lane() < 16, [&] {
                  MmaTile tile(k);
                  const Val<U32> one = k.Const<U32>(1);
                  tile.MultiplyAdd16(Vec<U32, 4>({one, one, one, one}), Vec<U32, 2>({one, one}));
                });
              }),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::HasSubstr("is reached by some lanes of the warp only")));
}

void LoadAndMultiply(KernelBuilder& k) {
  const Shared<F16> rows = k.SharedArray<F16>("rows", 512);
  MmaTile tile(k);
  const Vec<U32, 4> a = LoadMatrices(rows.At(k.Lane() * 8), false);
  const Vec<U32, 4> b = LoadMatrices(rows.At(k.Lane() * 8).At(256), true);
  tile.MultiplyAdd16(a, Vec<U32, 2>({b[0], b[1]}));
  tile.SetElement(2, tile.Element(0));
}

TEST(MmaTest, MatricesComeFromSharedMemory) {
  ASSERT_OK_AND_ASSIGN(const KernelSpec spec, Build(LoadAndMultiply));
  for (const char* line :
       {"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r5, %r6, %r7, %r8}, [%r4];\n",
        "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%r13, %r14, %r15, %r16}, [%r12+512];\n",
        "{%r5, %r6, %r7, %r8}, {%r13, %r14}, "}) {
    EXPECT_THAT(spec.ptx, testing::HasSubstr(line));
  }
}

TEST(MmaTest, MatricesOfGlobalMemoryAndOddPlacesAreRefused) {
  EXPECT_THAT(
      Build([](KernelBuilder& k) { LoadMatrices(k.Param<InOut<F16>>("x", {.count = 64}), false); }),
      StatusIs(absl::StatusCode::kInvalidArgument,
               testing::HasSubstr("matrices are loaded from shared memory")));
  EXPECT_THAT(Build([](KernelBuilder& k) {
                LoadMatrices(k.SharedArray<F16>("rows", 512).At(k.Lane() * 4), false);
              }),
              StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("16")));
}

TEST(PackTest, WithoutPairsOnSm75) {
  EXPECT_EQ(BodyOf([](KernelBuilder&, const Inputs& in) { PackHalf2(in.f, in.g); }, Sm(75)),
            "cvt.rn.f16.f32 %h0, %f0;\ncvt.rn.f16.f32 %h1, %f1;\nmov.b32 %r2, {%h0, %h1};\n");
  EXPECT_THAT(BodyOf([](KernelBuilder&, const Inputs& in) { PackBF16x2(in.f, in.g); }, Sm(75)),
              testing::AllOf(testing::Not(testing::HasSubstr("cvt")),
                             testing::EndsWith("prmt.b32 %r12, %r6, %r11, 30258;\n")));
}

TEST(PackTest, E4M3HasAnInstructionFromSm89On) {
  const auto pack = [](KernelBuilder&, const Inputs& in) {
    PackE4M3x4(Vec<F32, 4>({in.f, in.g, in.g, in.f}));
  };
  EXPECT_EQ(BodyOf(pack, Sm(89)),
            "cvt.rn.satfinite.e4m3x2.f32 %h0, %f1, %f0;\n"
            "cvt.rn.satfinite.e4m3x2.f32 %h1, %f0, %f1;\nmov.b32 %r2, {%h0, %h1};\n");
  EXPECT_THAT(BodyOf(pack, Sm(80)),
              testing::AllOf(testing::Not(testing::HasSubstr("cvt")), testing::HasSubstr("prmt")));
}

}  // namespace
}  // namespace ptxsmith

// Products of warp groups: what they print, and what is refused.
#include "codegen/wgmma.h"

#include "gtest/gtest.h"
#include "tests/codegen/kernels.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

Target Sm90a() { return Sm(90).Specific().value(); }

void Multiply(KernelBuilder& k) {
  const Shared<F16> rows = k.AlignedSharedArray<F16>("rows", 2 * 64 * 64, SwizzledRows::kAlignment);
  WgmmaTile tile(k, 8);
  const SwizzledRows a(rows), b(rows.At(64 * 64));
  LowerMaxRegisters(k, 40);
  WgmmaFence(k);
  tile.MultiplyAdd16(a, b, 0, !k.True());
  tile.MultiplyAdd16(a, b, 3, k.True());
  WgmmaCommit(k);
  WgmmaWait(k, 0);
  RaiseMaxRegisters(k, 232);
  k.Param<Out<F32>>("y", {.count = 64}).Store(k.ThreadX(), tile.Element(3));
}

TEST(WgmmaTest, ReadsSwizzledRows) {
  ASSERT_OK_AND_ASSIGN(const KernelSpec spec, Build(Multiply, Sm90a()));
  for (const char* line :
       {".version 8.0\n.target sm_90a\n", "\t.shared .align 1024 .b8 rows[16384];\n",
        "\tshr.u32 %r1, %r0, 4;\n\tcvt.u64.u32 %rd0, %r1;\n"
        "\tadd.u64 %rd1, %rd0, 0x4000004000010000;\n",
        "\tadd.u64 %rd3, %rd2, 0x4000004000010200;\n", "\tsetmaxnreg.dec.sync.aligned.u32 40;\n",
        "\twgmma.fence.sync.aligned;\n"
        "\twgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0, %f1, %f2, %f3}, %rd1, %rd3, 0, "
        "1, 1, 0, 0;\n\tadd.u64 %rd4, %rd1, 6;\n\tadd.u64 %rd5, %rd3, 6;\n",
        "%rd4, %rd5, 1, 1, 1, 0, 0;\n\twgmma.commit_group.sync.aligned;\n"
        "\twgmma.wait_group.sync.aligned 0;\n\tsetmaxnreg.inc.sync.aligned.u32 232;\n"}) {
    EXPECT_THAT(spec.ptx, HasSubstr(line));
  }
}

TEST(WgmmaTest, TakesAFragmentFromRegisters) {
  const auto multiply = [](KernelBuilder& k) {
    const Shared<F16> rows = k.AlignedSharedArray<F16>("rows", 8 * 64, SwizzledRows::kAlignment);
    WgmmaTile tile(k, 8);
    const Val<U32> lane = k.Lane();
    const Vec<U32, 4> a({lane, lane + 1, lane + 2, lane + 3});
    WgmmaFence(k);
    tile.MultiplyAdd16(a, SwizzledRows(rows), 0, k.True());
    WgmmaCommit(k);
    WgmmaWait(k, 0);
    k.Param<Out<F32>>("y", {.count = 64}).Store(k.ThreadX(), tile.Element(3));
  };
  ASSERT_OK_AND_ASSIGN(const KernelSpec spec, Build(multiply, Sm90a()));
  EXPECT_THAT(spec.ptx, testing::ContainsRegex("m64n8k16.f32.f16.f16 \\{%f0, %f1, %f2, %f3\\}, "
                                               "\\{%r[0-9]+, %r[0-9]+, %r[0-9]+, %r[0-9]+\\}, "
                                               "%rd[0-9]+, 1, 1, 1, 0;"));
}

TEST(WgmmaTest, OnlySm90aHasThem) {
  for (const Target& target : {Sm(90), Sm(80), Sm(100).Specific().value()}) {
    EXPECT_THAT(Build([](KernelBuilder& k) { WgmmaCommit(k); }, target),
                StatusIs(absl::StatusCode::kFailedPrecondition,
                         HasSubstr("wgmma.commit_group.sync.aligned needs sm_90a, the target is")));
  }
  EXPECT_THAT(Sm(80).Specific(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("unknown target 'sm_80a'")));
}

TEST(WgmmaTest, RefusesWhatTheHardwareWould) {
  const auto fails = [](absl::FunctionRef<void(KernelBuilder&)> body, const char* message) {
    EXPECT_THAT(Build(body, Sm90a()),
                StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message)));
  };
  fails([](KernelBuilder& k) { SwizzledRows(k.SharedArray<F16>("rows", 512)); },
        "rows of 'rows' are not in shared memory or not known to be aligned to 1024 bytes");
  fails(
      [](KernelBuilder& k) {
        SwizzledRows(k.Param<InOut<F16>>("x", {.count = 1, .alignment = 1024}));
      },
      "rows of 'x' are not in shared memory");
  fails([](KernelBuilder& k) { WgmmaTile(k, 20); }, "a product of 20 columns");
  fails([](KernelBuilder& k) { WgmmaTile(k, 264); }, "a product of 264 columns");
  fails([](KernelBuilder& k) { k.AlignedSharedArray<F16>("x", 8, 24); },
        "alignment 24 of shared array 'x'");
  fails([](KernelBuilder& k) { k.If(k.Lane() < 16, [&] { WgmmaWait(k, 0); }); },
        "is reached by some lanes of the warp only");
}

TEST(WgmmaTest, LargeArraysKeepTheirAlignment) {
  ASSERT_OK_AND_ASSIGN(const KernelSpec spec, Build([](KernelBuilder& k) {
                         k.SharedArray<U8>("small", 40);
                         k.AlignedSharedArray<U8>("rows", 60 * 1024, 1024);
                         k.SharedArray<U8>("last", 16);
                       }));
  EXPECT_EQ(spec.dynamic_shared, 1024 + 60 * 1024 + 16u);
  for (const char* line :
       {".extern .shared .align 1024 .b8 dynamic_shared[];\n", ", dynamic_shared+0;\n",
        ", dynamic_shared+1024;\n", ", dynamic_shared+62464;\n"}) {
    EXPECT_THAT(spec.ptx, HasSubstr(line));
  }
}

}  // namespace
}  // namespace ptxsmith

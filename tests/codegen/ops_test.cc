// Every operator and operation emits the PTX its header documents.
#include "codegen/ops.h"

#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/codegen/kernels.h"

namespace ptxsmith {
namespace {

struct Case {
  const char* name;
  std::function<void(KernelBuilder&, const Inputs&)> body;
  const char* ptx;  // the lines of the body
};

void PrintTo(const Case& c, std::ostream* os) { *os << c.name; }

class OpsTest : public testing::TestWithParam<Case> {};

TEST_P(OpsTest, EmitsTheDocumentedPtx) { EXPECT_EQ(BodyOf(GetParam().body), GetParam().ptx); }

#define OP(NAME, EXPR, PTX)                                           \
  Case {                                                              \
    NAME, [](KernelBuilder&, const Inputs& in) { (void)(EXPR); }, PTX \
  }

const Case kOperators[] = {
    OP("AddU32", in.a + in.b, "add.u32 %r2, %r0, %r1;\n"),
    OP("SubU32", in.a - in.b, "sub.u32 %r2, %r0, %r1;\n"),
    OP("MulU32", in.a* in.b, "mul.lo.u32 %r2, %r0, %r1;\n"),
    OP("DivU32", in.a / in.b, "div.u32 %r2, %r0, %r1;\n"),
    OP("RemU32", in.a % in.b, "rem.u32 %r2, %r0, %r1;\n"),
    OP("AndU32", in.a& in.b, "and.b32 %r2, %r0, %r1;\n"),
    OP("OrU32", in.a | in.b, "or.b32 %r2, %r0, %r1;\n"),
    OP("XorU32", in.a ^ in.b, "xor.b32 %r2, %r0, %r1;\n"),
    OP("ShlU32", in.a << in.b, "shl.b32 %r2, %r0, %r1;\n"),
    OP("ShrU32", in.a >> in.b, "shr.u32 %r2, %r0, %r1;\n"),
    OP("MinU32", Min(in.a, in.b), "min.u32 %r2, %r0, %r1;\n"),
    OP("MaxU32", Max(in.a, in.b), "max.u32 %r2, %r0, %r1;\n"),
    OP("ShrS32", Bitcast<S32>(in.a) >> 3, "shr.s32 %r2, %r0, 3;\n"),
    OP("DivS32", Bitcast<S32>(in.a) / 4, "div.s32 %r2, %r0, 4;\n"),
    OP("MulS32", Bitcast<S32>(in.a) * -4, "mul.lo.s32 %r2, %r0, -4;\n"),
    OP("LargeImmediate", in.a & 0x0f0f0f0f, "and.b32 %r2, %r0, 0xf0f0f0f;\n"),
    OP("LiteralOnTheLeft", 7 - in.a, "sub.u32 %r2, 7, %r0;\n"),
    OP("AddF32", in.f + in.g, "add.rn.f32 %f2, %f0, %f1;\n"),
    OP("SubF32", in.f - in.g, "sub.rn.f32 %f2, %f0, %f1;\n"),
    OP("MulF32", in.f* in.g, "mul.rn.f32 %f2, %f0, %f1;\n"),
    OP("DivF32", in.f / in.g, "div.rn.f32 %f2, %f0, %f1;\n"),
    OP("MinF32", Min(in.f, in.g), "min.f32 %f2, %f0, %f1;\n"),
    OP("MaxF32", Max(in.f, 0.0f), "max.f32 %f2, %f0, 0f00000000;\n"),
    OP("EqU32", in.a == in.b, "setp.eq.u32 %p0, %r0, %r1;\n"),
    OP("NeU32", in.a != in.b, "setp.ne.u32 %p0, %r0, %r1;\n"),
    OP("LtU32", in.a < in.b, "setp.lt.u32 %p0, %r0, %r1;\n"),
    OP("LeU32", in.a <= in.b, "setp.le.u32 %p0, %r0, %r1;\n"),
    OP("GtU32", in.a > in.b, "setp.gt.u32 %p0, %r0, %r1;\n"),
    OP("GeU32", in.a >= in.b, "setp.ge.u32 %p0, %r0, %r1;\n"),
    OP("LtS32", Bitcast<S32>(in.a) < -1, "setp.lt.s32 %p0, %r0, -1;\n"),
    OP("EqF32", in.f == in.g, "setp.eq.f32 %p0, %f0, %f1;\n"),
    OP("NeF32IsTrueForNaN", in.f != in.g, "setp.neu.f32 %p0, %f0, %f1;\n"),
    OP("LtF32", in.f < 0.5f, "setp.lt.f32 %p0, %f0, 0f3F000000;\n"),
    OP("AndPred", in.a < 1 && in.b < 2,
       "setp.lt.u32 %p0, %r0, 1;\nsetp.lt.u32 %p1, %r1, 2;\nand.pred %p2, %p0, %p1;\n"),
    OP("OrPred", in.a < 1 || in.b < 2,
       "setp.lt.u32 %p0, %r0, 1;\nsetp.lt.u32 %p1, %r1, 2;\nor.pred %p2, %p0, %p1;\n"),
    OP("NotPred", !(in.a < 1), "setp.lt.u32 %p0, %r0, 1;\nnot.pred %p1, %p0;\n"),
};

const Case kOperations[] = {
    OP("Fma", Fma(in.f, in.g, 1.0f), "fma.rn.f32 %f2, %f0, %f1, 0f3F800000;\n"),
    OP("Neg", Neg(in.f), "neg.f32 %f2, %f0;\n"),
    OP("Abs", Abs(in.f), "abs.f32 %f2, %f0;\n"),
    OP("Sqrt", Sqrt(in.f), "sqrt.rn.f32 %f2, %f0;\n"),
    OP("SelectU32", Select(in.a < in.b, in.a, 7),
       "setp.lt.u32 %p0, %r0, %r1;\nselp.u32 %r2, %r0, 7, %p0;\n"),
    OP("SelectF32", Select<F32>(in.a < in.b, 1.0f, in.f),
       "setp.lt.u32 %p0, %r0, %r1;\nselp.f32 %f2, 0f3F800000, %f0, %p0;\n"),
    OP("ToF32OfU32", ToF32(in.a), "cvt.rn.f32.u32 %f2, %r0;\n"),
    OP("ToF32OfS32", ToF32(Bitcast<S32>(in.a)), "cvt.rn.f32.s32 %f2, %r0;\n"),
    OP("F16ThereAndBack", ToF32(ToF16(in.f)), "cvt.rn.f16.f32 %h0, %f0;\ncvt.f32.f16 %f2, %h0;\n"),
    OP("BitcastToF32", Bitcast<F32>(in.a), "mov.b32 %f2, %r0;\n"),
    OP("BitcastToU32", Bitcast<U32>(in.f), "mov.b32 %r2, %f0;\n"),
    OP("BitcastOfIntegersIsFree", Bitcast<U32>(Bitcast<S32>(in.a)), ""),
    OP("Bits", Bits(in.a, in.b, 6), "bfe.u32 %r2, %r0, %r1, 6;\n"),
    OP("Permute", Permute(in.a, in.b, 0x6420), "prmt.b32 %r2, %r0, %r1, 25632;\n"),
    OP("Dp4a", Dp4a(in.a, in.b, -1), "dp4a.s32.s32 %r2, %r0, %r1, -1;\n"),
    OP("PackHalf2", PackHalf2(in.f, in.g), "cvt.rn.f16x2.f32 %r2, %f1, %f0;\n"),
    OP("PackBF16x2", PackBF16x2(in.f, in.g), "cvt.rn.bf16x2.f32 %r2, %f1, %f0;\n"),
    OP("SelectPointer", Select(in.a < 1, in.x.At(4), in.x).Load(1),
       "setp.lt.u32 %p0, %r0, 1;\nadd.u64 %rd4, %rd3, 16;\nselp.u64 %rd5, %rd4, %rd3, %p0;\n"
       "ld.global.u32 %r2, [%rd5+4];\n"),
    OP("UnpackHalf2", UnpackHalf2(in.a),
       "mov.b32 {%h0, %h1}, %r0;\ncvt.f32.f16 %f2, %h0;\ncvt.f32.f16 %f3, %h1;\n"),
    OP("BytesToF32", BytesToF32(in.a, 32)[0],
       "prmt.b32 %r2, %r0, 0x4b000000, 30288;\nmov.b32 %f2, %r2;\n"
       "sub.rn.f32 %f3, %f2, 0f4B000020;\n"
       "prmt.b32 %r3, %r0, 0x4b000000, 30289;\nmov.b32 %f4, %r3;\n"
       "sub.rn.f32 %f5, %f4, 0f4B000020;\n"
       "prmt.b32 %r4, %r0, 0x4b000000, 30290;\nmov.b32 %f6, %r4;\n"
       "sub.rn.f32 %f7, %f6, 0f4B000020;\n"
       "prmt.b32 %r5, %r0, 0x4b000000, 30291;\nmov.b32 %f8, %r5;\n"
       "sub.rn.f32 %f9, %f8, 0f4B000020;\n"),
    OP("SumIsATree", Sum(in.x.As<F32>().Load<4>(4)),
       "ld.global.v4.f32 {%f2, %f3, %f4, %f5}, [%rd3+16];\nadd.rn.f32 %f6, %f2, %f3;\n"
       "add.rn.f32 %f7, %f4, %f5;\nadd.rn.f32 %f8, %f6, %f7;\n"),
    OP("ShuffleXor", ShuffleXor(in.f, 16), "shfl.sync.bfly.b32 %f2, %f0, 16, 31, 0xffffffff;\n"),
    OP("Broadcast", Broadcast(in.a, 5), "shfl.sync.idx.b32 %r2, %r0, 5, 31, 0xffffffff;\n"),
    OP("WarpMax", WarpMax(in.f),
       "shfl.sync.bfly.b32 %f2, %f0, 16, 31, 0xffffffff;\nmax.f32 %f3, %f0, %f2;\n"
       "shfl.sync.bfly.b32 %f4, %f3, 8, 31, 0xffffffff;\nmax.f32 %f5, %f3, %f4;\n"
       "shfl.sync.bfly.b32 %f6, %f5, 4, 31, 0xffffffff;\nmax.f32 %f7, %f5, %f6;\n"
       "shfl.sync.bfly.b32 %f8, %f7, 2, 31, 0xffffffff;\nmax.f32 %f9, %f7, %f8;\n"
       "shfl.sync.bfly.b32 %f10, %f9, 1, 31, 0xffffffff;\nmax.f32 %f11, %f9, %f10;\n"
       "mov.f32 %f12, %f11;\n"),
};

const Case kBuilder[] = {
    {"Var",
     [](KernelBuilder& k, const Inputs& in) {
       Var<F32> acc = k.NewVar<F32>(0.0f);
       acc += in.f;
       acc -= in.g;
       acc *= 2.0f;
       acc.Fma(in.f, in.g);
       acc = in.g;
       (void)Val<F32>(acc);
     },
     "mov.f32 %f2, 0f00000000;\nadd.rn.f32 %f3, %f2, %f0;\nmov.f32 %f2, %f3;\n"
     "sub.rn.f32 %f4, %f2, %f1;\nmov.f32 %f2, %f4;\nmul.rn.f32 %f5, %f2, 0f40000000;\n"
     "mov.f32 %f2, %f5;\nfma.rn.f32 %f2, %f0, %f1, %f2;\nmov.f32 %f2, %f1;\nmov.f32 %f6, %f2;\n"},
    {"VarOr",
     [](KernelBuilder& k, const Inputs& in) {
       Var<U32> bits = k.NewVar<U32>(in.a);
       bits |= in.b;
     },
     "mov.u32 %r2, %r0;\nor.b32 %r3, %r2, %r1;\nmov.u32 %r2, %r3;\n"},
    {"SpecialRegisters",
     [](KernelBuilder& k, const Inputs&) {
       k.ThreadX();
       k.Lane();
       k.Warp();
       k.CtaX();
       k.CtaY();
       k.GlobalThread();
     },
     "mov.u32 %r2, %tid.x;\nmov.u32 %r3, %tid.x;\nand.b32 %r4, %r3, 31;\nmov.u32 %r5, %tid.x;\n"
     "shr.u32 %r6, %r5, 5;\nmov.u32 %r7, %ctaid.x;\nmov.u32 %r8, %ctaid.y;\n"
     "mov.u32 %r9, %ctaid.x;\nshl.b32 %r10, %r9, 6;\nmov.u32 %r11, %tid.x;\n"
     "add.u32 %r12, %r10, %r11;\n"},
    {"Memory",
     [](KernelBuilder&, const Inputs& in) {
       in.x.Load(in.a);
       in.x.At(in.a).At(in.b, 144).Load(3);
       in.x.As<U8>().Load(in.b);
       in.x.As<S8>().Load(1);
       in.x.As<F16>().Load(1);
       in.y.Store(in.a, 9);
       in.y.As<U8>().Store(5, in.a);
       in.y.As<F32>().Store<2>(2, Vec<F32, 2>({in.f, in.g}));
     },
     "mad.wide.u32 %rd4, %r0, 4, %rd3;\nld.global.u32 %r2, [%rd4];\n"
     "mad.wide.u32 %rd5, %r0, 4, %rd3;\nmad.wide.u32 %rd6, %r1, 144, %rd5;\n"
     "ld.global.u32 %r3, [%rd6+12];\nmad.wide.u32 %rd7, %r1, 1, %rd3;\n"
     "ld.global.u8 %r4, [%rd7];\nld.global.s8 %r5, [%rd3+1];\nld.global.b16 %h0, [%rd3+2];\n"
     "mad.wide.u32 %rd8, %r0, 4, %rd1;\nst.global.u32 [%rd8], 9;\nst.global.u8 [%rd1+5], %r0;\n"
     "st.global.v2.f32 [%rd1+8], {%f0, %f1};\n"},
    {"OffsetsBeyond32Bits", [](KernelBuilder&, const Inputs& in) { in.x.At(0x40000000).Load(1); },
     "add.u64 %rd4, %rd3, 0x100000000;\nld.global.u32 %r2, [%rd4+4];\n"},
    {"SharedMemory",
     [](KernelBuilder& k, const Inputs& in) {
       const Shared<F32> s = k.SharedArray<F32>("s", 64);
       s.Store(k.ThreadX(), in.f);
       k.Barrier();
       s.Load<4>(8);
     },
     "mov.u32 %r2, s;\nmov.u32 %r3, %tid.x;\nmad.lo.u32 %r4, %r3, 4, %r2;\n"
     "st.shared.f32 [%r4], %f0;\nbar.sync 0;\nld.shared.v4.f32 {%f2, %f3, %f4, %f5}, [%r2+32];\n"},
    {"BlockSum", [](KernelBuilder& k, const Inputs& in) { BlockSum(k, in.f, 1, "sums"); },
     "shfl.sync.bfly.b32 %f2, %f0, 16, 31, 0xffffffff;\nadd.rn.f32 %f3, %f0, %f2;\n"
     "shfl.sync.bfly.b32 %f4, %f3, 8, 31, 0xffffffff;\nadd.rn.f32 %f5, %f3, %f4;\n"
     "shfl.sync.bfly.b32 %f6, %f5, 4, 31, 0xffffffff;\nadd.rn.f32 %f7, %f5, %f6;\n"
     "shfl.sync.bfly.b32 %f8, %f7, 2, 31, 0xffffffff;\nadd.rn.f32 %f9, %f7, %f8;\n"
     "shfl.sync.bfly.b32 %f10, %f9, 1, 31, 0xffffffff;\nadd.rn.f32 %f11, %f9, %f10;\n"
     "mov.f32 %f12, %f11;\n"},
};

const auto kName = [](const auto& info) { return std::string(info.param.name); };
INSTANTIATE_TEST_SUITE_P(Operators, OpsTest, testing::ValuesIn(kOperators), kName);
INSTANTIATE_TEST_SUITE_P(Operations, OpsTest, testing::ValuesIn(kOperations), kName);
INSTANTIATE_TEST_SUITE_P(Builder, OpsTest, testing::ValuesIn(kBuilder), kName);

TEST(PrintTest, MinBlocksPerSm) {
  KernelBuilder k("test@sm_80.ptx70", "test", Sm(80));
  k.Launch({.block = {64, 1, 1}, .min_blocks_per_sm = 2});
  const absl::StatusOr<KernelSpec> spec = std::move(k).Finish();
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(spec->ptx, testing::HasSubstr("\n.reqntid 64, 1, 1\n.minnctapersm 2\n{\n"));
}

TEST(PrintTest, WholeKernel) {
  KernelBuilder k("scale:n=any@sm_80.ptx70", "scale", Sm(80));
  const auto y = k.Param<Out<F32>>("y", {.count = SizeExpr::Param(2)});
  const auto x = k.Param<In<F32>>("x", {.count = SizeExpr::Param(2), .constant = true});
  const Dim n = k.ParamDim("n", std::nullopt);
  k.Launch({.block = {128, 1, 1}, .grid = {CeilDiv(n.size(), 128), 1, 1}});
  const Val<U32> i = k.GlobalThread();
  k.If(i < n, [&] { y.Store(i, x.Load(i) * 2.0f); });
  const absl::StatusOr<KernelSpec> spec = std::move(k).Finish();
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->ptx, R"(.version 7.0
.target sm_80
.address_size 64

.visible .entry scale(
	.param .u64 y,
	.param .u64 x,
	.param .u32 n
)
.reqntid 128, 1, 1
{
	.reg .pred %p<1>;
	.reg .b32 %r<5>;
	.reg .f32 %f<2>;
	.reg .b64 %rd<6>;

	ld.param.u64 %rd0, [y];
	cvta.to.global.u64 %rd1, %rd0;
	ld.param.u64 %rd2, [x];
	cvta.to.global.u64 %rd3, %rd2;
	ld.param.u32 %r0, [n];
	mov.u32 %r1, %ctaid.x;
	shl.b32 %r2, %r1, 7;
	mov.u32 %r3, %tid.x;
	add.u32 %r4, %r2, %r3;
	setp.lt.u32 %p0, %r4, %r0;
	@!%p0 bra $else_0;
	mad.wide.u32 %rd4, %r4, 4, %rd3;
	ld.global.nc.f32 %f0, [%rd4];
	mul.rn.f32 %f1, %f0, 0f40000000;
	mad.wide.u32 %rd5, %r4, 4, %rd1;
	st.global.f32 [%rd5], %f1;
$else_0:
	ret;
}
)");
  EXPECT_EQ(spec->entry, "scale");
  EXPECT_EQ(spec->lines.size(), 35u);
  EXPECT_EQ(spec->params.size(), 3u);
  EXPECT_EQ(spec->params[0].kind, ParamKind::kOut);
  EXPECT_EQ(spec->params[1].kind, ParamKind::kIn);
  EXPECT_EQ(spec->params[2].kind, ParamKind::kScalar);
  EXPECT_EQ(spec->launch.grid[0].Evaluate({0, 0, 1000}).value(), 8u);
}

}  // namespace
}  // namespace ptxsmith

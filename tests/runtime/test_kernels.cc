#include "tests/runtime/test_kernels.h"

namespace ptxsmith {
namespace {

// What both kernels share: text for sm_75, which every supported GPU runs.
KernelSpec SpecOf(const char* entry, const char* ptx) {
  KernelSpec spec;
  spec.entry = entry;
  spec.key = spec.entry + ":test@sm_75.ptx63";
  spec.ptx = ptx;
  spec.target = {75, {6, 3}};
  spec.version = {6, 3};
  return spec;
}

constexpr char kSaxpy[] = R"(.version 6.3
.target sm_75
.address_size 64

.visible .entry saxpy(
    .param .u64 y,
    .param .u64 x,
    .param .f32 a,
    .param .u32 n
)
.reqntid 128, 1, 1
{
    .reg .pred  %p;
    .reg .b32   %r<5>;
    .reg .f32   %f<5>;
    .reg .b64   %d<6>;

    mov.u32         %r1, %ctaid.x;
    mov.u32         %r2, %tid.x;
    mad.lo.u32      %r3, %r1, 128, %r2;
    ld.param.u32    %r4, [n];
    setp.ge.u32     %p, %r3, %r4;
    @%p bra         done;

    ld.param.u64    %d1, [y];
    ld.param.u64    %d2, [x];
    ld.param.f32    %f1, [a];
    mul.wide.u32    %d3, %r3, 4;
    add.u64         %d4, %d1, %d3;
    add.u64         %d5, %d2, %d3;
    ld.global.f32   %f2, [%d5];
    ld.global.f32   %f3, [%d4];
    fma.rn.f32      %f4, %f1, %f2, %f3;
    st.global.f32   [%d4], %f4;
done:
    ret;
}
)";

constexpr char kWildStore[] = R"(.version 6.3
.target sm_75
.address_size 64

.visible .entry wild_store()
.reqntid 1, 1, 1
{
    .reg .b64   %d;
    .reg .b32   %r;

    mov.u64         %d, 16;
    mov.u32         %r, 1;
    st.global.u32   [%d], %r;
    ret;
}
)";

ParamDesc Pointer(const char* name, ParamKind kind, const SizeExpr& count) {
  ParamDesc param;
  param.name = name;
  param.kind = kind;
  param.type = ElemType::kF32;
  param.alignment = 16;
  param.count = count;
  return param;
}

ParamDesc Scalar(const char* name, ElemType type) {
  ParamDesc param;
  param.name = name;
  param.type = type;
  return param;
}

}  // namespace

KernelSpec SaxpySpec() {
  KernelSpec spec = SpecOf("saxpy", kSaxpy);
  const SizeExpr n = SizeExpr::Param(3);
  spec.params = {Pointer("y", ParamKind::kInOut, n), Pointer("x", ParamKind::kIn, n),
                 Scalar("a", ElemType::kF32), Scalar("n", ElemType::kU32)};
  spec.launch.block = {128, 1, 1};
  spec.launch.grid[0] = CeilDiv(n, 128);
  spec.cost = {n * 12, n * 2};
  return spec;
}

KernelSpec WildStoreSpec() { return SpecOf("wild_store", kWildStore); }

}  // namespace ptxsmith

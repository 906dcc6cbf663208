#include "ptx_templates/glu_half.h"

#include "codegen/kernel_builder.h"
#include "ptx_templates/elementwise.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kPerThread = 8;
constexpr float kLargestHalf = 65504.0f;

Val<F32> Bounded(const Val<F32>& x) { return Max(Min(x, kLargestHalf), -kLargestHalf); }

}  // namespace

absl::StatusOr<KernelSpec> BuildGluHalf(const GluHalfSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), GluHalfSpec::kFamily, target);
  const uint32_t first_dim = 2;
  const SizeExpr n_size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(first_dim);
  const SizeExpr rows = spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(first_dim + !spec.n);
  const auto y = k.Param<Out<F16>>("y", {.count = rows * n_size});
  const auto g = k.Param<In<F16>>("g", {.count = rows * n_size * 2});
  const Dim n = k.ParamDim("n", spec.n, kPerThread);
  k.ParamDim("rows", spec.rows);
  k.Launch({.block = {spec.threads, 1, 1},
            .grid = {CeilDiv(n_size, spec.threads * kPerThread), rows, 1}});
  k.Costs({.bytes = rows * n_size * 6, .flops = rows * n_size * 16});

  const Val<U32> first = k.GlobalThread() * kPerThread;
  k.If(first < n, [&] {
    const In<F16> row = g.At(k.CtaY() * n * 2);
    const Vec<U32, 4> gate = row.At(first).As<U32>().Load<4>(0);
    const Vec<U32, 4> up = row.At(n).At(first).As<U32>().Load<4>(0);
    y.At(k.CtaY() * n).At(first).As<U32>().Store<4>(0, MakeVec<4>([&](size_t i) {
                                                      const Vec<F32, 2> a = UnpackHalf2(gate[i]);
                                                      const Vec<F32, 2> b = UnpackHalf2(up[i]);
                                                      const auto element = [&](size_t e) {
                                                        return Bounded((spec.gelu ? GeluTanhOf(a[e])
                                                                                  : SiluOf(a[e])) *
                                                                       b[e]);
                                                      };
                                                      const Val<F32> low = element(0);
                                                      return PackHalf2(low, element(1));
                                                    }));
  });
  return std::move(k).Finish();
}

std::vector<GluHalfSpec> GluHalfVariants() {
  return {{1000, 3, false, 64},
          {1000, 2, true, 128},
          {8, 1, false, 256},
          {4096, 2, false, 512},
          {std::nullopt, std::nullopt, false, 256}};
}

}  // namespace ptxsmith

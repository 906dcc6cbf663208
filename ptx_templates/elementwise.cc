#include "ptx_templates/elementwise.h"

#include "codegen/kernel_builder.h"
#include "codegen/math.h"

namespace ptxsmith {
namespace {

// One thread per element: calls body(i) for i < n.
template <class F>
void ForEachElement(KernelBuilder& k, const Dim& n, uint32_t threads, F&& body) {
  k.Launch({.block = {threads, 1, 1}, .grid = {CeilDiv(n.size(), threads), 1, 1}});
  const Val<U32> i = k.GlobalThread();
  k.If(n.multiple_of() % threads == 0 ? k.True() : i < n, [&] { body(i); });
}

template <class Spec>
std::vector<Spec> ElementwiseVariants() {
  std::vector<Spec> variants;
  for (uint32_t threads : {64u, 128u, 256u, 512u, 1024u}) variants.push_back({1000, threads});
  variants.push_back({4096, 256});
  variants.push_back({1, 64});
  variants.push_back({std::nullopt, 256});
  return variants;
}

}  // namespace

absl::StatusOr<KernelSpec> BuildResidualAdd(const ResidualAddSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), ResidualAddSpec::kFamily, target);
  const SizeExpr count = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(2);
  const auto x = k.Param<InOut<F32>>("x", {.count = count});
  const auto y = k.Param<In<F32>>("y", {.count = count});
  const Dim n = k.ParamDim("n", spec.n);
  k.Costs({.bytes = count * 12, .flops = count});
  ForEachElement(k, n, spec.threads, [&](const Val<U32>& i) { x.Store(i, x.Load(i) + y.Load(i)); });
  return std::move(k).Finish();
}

std::vector<ResidualAddSpec> ResidualAddVariants() {
  return ElementwiseVariants<ResidualAddSpec>();
}

absl::StatusOr<KernelSpec> BuildSwiglu(const SwigluSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), SwigluSpec::kFamily, target);
  const SizeExpr count = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(3);
  const auto y = k.Param<Out<F32>>("y", {.count = count});
  const auto gate = k.Param<In<F32>>("gate", {.count = count});
  const auto up = k.Param<In<F32>>("up", {.count = count});
  const Dim n = k.ParamDim("n", spec.n);
  k.Costs({.bytes = count * 12, .flops = count * 16});
  ForEachElement(k, n, spec.threads, [&](const Val<U32>& i) {
    const Val<F32> g = gate.Load(i);
    y.Store(i, g / (Exp(Neg(g)) + 1.0f) * up.Load(i));
  });
  return std::move(k).Finish();
}

std::vector<SwigluSpec> SwigluVariants() { return ElementwiseVariants<SwigluSpec>(); }

}  // namespace ptxsmith

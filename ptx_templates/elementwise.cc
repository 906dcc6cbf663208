#include "ptx_templates/elementwise.h"

#include <initializer_list>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"

namespace ptxsmith {
namespace {

// One thread per element of a row: calls body(i) for i < n. The grid has `rows` rows of blocks.
template <class F>
void ForEachElement(KernelBuilder& k, const Dim& n, const SizeExpr& rows, uint32_t threads,
                    F&& body) {
  k.Launch({.block = {threads, 1, 1}, .grid = {CeilDiv(n.size(), threads), rows, 1}});
  const Val<U32> i = k.GlobalThread();
  k.If(n.multiple_of() % threads == 0 ? k.True() : i < n, [&] { body(i); });
}

// y[i] = f(inputs[i]...), with the inputs' names in their order.
template <class Spec, class F>
absl::StatusOr<KernelSpec> BuildMap(const Spec& spec, const Target& target,
                                    std::initializer_list<const char*> inputs, uint32_t flops,
                                    F&& f) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), Spec::kFamily, target);
  const auto buffers = static_cast<uint32_t>(inputs.size() + 1);
  const SizeExpr count = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(buffers);
  const auto y = k.Param<Out<F32>>("y", {.count = count});
  std::vector<In<F32>> x;
  for (const char* input : inputs) x.push_back(k.Param<In<F32>>(input, {.count = count}));
  const Dim n = k.ParamDim("n", spec.n);
  k.Costs({.bytes = count * (4 * buffers), .flops = count * flops});
  ForEachElement(k, n, 1, spec.threads, [&](const Val<U32>& i) {
    if constexpr (std::is_invocable_v<F, Val<F32>>) {
      y.Store(i, f(x[0].Load(i)));
    } else {
      const Val<F32> first = x[0].Load(i);
      y.Store(i, f(first, x[1].Load(i)));
    }
  });
  return std::move(k).Finish();
}

Val<F32> GeluErfOf(const Val<F32>& x) {
  constexpr float kHalfRoot = 0.70710678f;  // 1 / sqrt(2)
  const Val<F32> half = x * 0.5f;
  return Fma(half, Erf(x * kHalfRoot), half);
}

}  // namespace

Val<F32> SiluOf(const Val<F32>& x) { return x / (Exp(Neg(x)) + 1.0f); }

Val<F32> GeluTanhOf(const Val<F32>& x) {
  constexpr float kTwoRoots = -1.5957691f;  // -2 sqrt(2 / pi)
  const Val<F32> minus_2z = x * kTwoRoots * Fma(x * x, 0.044715f, Constant<F32>(x, 1.0f));
  return x / (Exp(minus_2z) + 1.0f);
}

absl::StatusOr<KernelSpec> BuildResidualAdd(const ResidualAddSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), ResidualAddSpec::kFamily, target);
  const SizeExpr count = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(2);
  const auto x = k.Param<InOut<F32>>("x", {.count = count});
  const auto y = k.Param<In<F32>>("y", {.count = count});
  const Dim n = k.ParamDim("n", spec.n);
  k.Costs({.bytes = count * 12, .flops = count});
  ForEachElement(k, n, 1, spec.threads,
                 [&](const Val<U32>& i) { x.Store(i, x.Load(i) + y.Load(i)); });
  return std::move(k).Finish();
}

absl::StatusOr<KernelSpec> BuildSilu(const SiluSpec& spec, const Target& target) {
  return BuildMap(spec, target, {"x"}, 15, SiluOf);
}

absl::StatusOr<KernelSpec> BuildGeluTanh(const GeluTanhSpec& spec, const Target& target) {
  return BuildMap(spec, target, {"x"}, 20, GeluTanhOf);
}

absl::StatusOr<KernelSpec> BuildGeluErf(const GeluErfSpec& spec, const Target& target) {
  return BuildMap(spec, target, {"x"}, 45, GeluErfOf);
}

absl::StatusOr<KernelSpec> BuildMultiply(const MultiplySpec& spec, const Target& target) {
  return BuildMap(spec, target, {"a", "b"}, 1,
                  [](const Val<F32>& a, const Val<F32>& b) { return a * b; });
}

absl::StatusOr<KernelSpec> BuildSwiglu(const SwigluSpec& spec, const Target& target) {
  return BuildMap(spec, target, {"gate", "up"}, 16,
                  [](const Val<F32>& gate, const Val<F32>& up) { return SiluOf(gate) * up; });
}

absl::StatusOr<KernelSpec> BuildGeglu(const GegluSpec& spec, const Target& target) {
  return BuildMap(spec, target, {"gate", "up"}, 21,
                  [](const Val<F32>& gate, const Val<F32>& up) { return GeluTanhOf(gate) * up; });
}

absl::StatusOr<KernelSpec> BuildSoftcap(const SoftcapSpec& spec, const Target& target) {
  // The reciprocal must be a normal number too.
  if (!(spec.cap >= 1e-30f && spec.cap <= 1e30f)) {
    return absl::InvalidArgumentError(
        absl::StrCat("softcap: cap=", spec.cap, " is not in 1e-30 to 1e30"));
  }
  return BuildMap(spec, target, {"x"}, 30,
                  [&](const Val<F32>& x) { return Tanh(x * (1.0f / spec.cap)) * spec.cap; });
}

std::vector<SoftcapSpec> SoftcapSpec::Variants() {
  return {{1000, 30, 64}, {4096, 50, 256}, {1, 0.1f, 64}, {std::nullopt, 30, 256}};
}

absl::StatusOr<KernelSpec> BuildBiasAdd(const BiasAddSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), BiasAddSpec::kFamily, target);
  const uint32_t first_dim = 2;
  const SizeExpr n_size = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(first_dim);
  const SizeExpr rows = spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(first_dim + !spec.n);
  const auto x = k.Param<InOut<F32>>("x", {.count = rows * n_size});
  const auto bias = k.Param<In<F32>>("bias", {.count = n_size, .constant = true});
  const Dim n = k.ParamDim("n", spec.n);
  k.ParamDim("rows", spec.rows);
  k.Costs({.bytes = rows * n_size * 8 + n_size * 4, .flops = rows * n_size});
  ForEachElement(k, n, rows, spec.threads, [&](const Val<U32>& i) {
    const InOut<F32> row = x.At(k.CtaY() * n);
    row.Store(i, row.Load(i) + bias.Load(i));
  });
  return std::move(k).Finish();
}

std::vector<BiasAddSpec> BiasAddVariants() {
  return {
      {1000, 3, 64}, {4096, 1, 256}, {1, 2, 64}, {512, 2, 512}, {std::nullopt, std::nullopt, 256}};
}

}  // namespace ptxsmith

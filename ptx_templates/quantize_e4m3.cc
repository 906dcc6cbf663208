#include "ptx_templates/quantize_e4m3.h"

#include "absl/strings/str_cat.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

constexpr E4M3Scaling kScalings[] = {E4M3Scaling::kNone, E4M3Scaling::kFactor,
                                     E4M3Scaling::kAbsmax};
constexpr float kLargest = 448.0f;

}  // namespace

absl::string_view FieldText(E4M3Scaling scaling) {
  switch (scaling) {
    case E4M3Scaling::kNone:
      return "none";
    case E4M3Scaling::kFactor:
      return "factor";
    case E4M3Scaling::kAbsmax:
      return "absmax";
  }
  return "";
}

absl::Status ParseFieldText(absl::string_view text, E4M3Scaling* scaling) {
  for (const E4M3Scaling value : kScalings) {
    if (text != FieldText(value)) continue;
    *scaling = value;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is no scaling; known: none, factor, absmax"));
}

absl::StatusOr<KernelSpec> BuildQuantizeE4M3(const QuantizeE4M3Spec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  KernelBuilder k(KeyOf(spec, target), QuantizeE4M3Spec::kFamily, target);
  const bool scaled = spec.scaling != E4M3Scaling::kNone;
  const SizeExpr count = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(scaled ? 3 : 2);
  const auto y = k.Param<Out<U8>>("y", {.count = count});
  const auto x = k.Param<In<F32>>("x", {.count = count});
  std::optional<In<F32>> scale;
  if (scaled) scale = k.Param<In<F32>>("scale", {.count = 1});
  const Dim n = k.ParamDim("n", spec.n);
  const uint32_t width = spec.n && *spec.n % 4 == 0 ? 4 : 1;
  k.Launch({.block = {spec.threads, 1, 1},
            .grid = {CeilDiv(count, uint64_t{spec.threads} * width), 1, 1}});
  k.Costs({.bytes = count * 5, .flops = count * (scaled ? 1 : 0)});

  const Val<U32> i = k.GlobalThread() * width;
  k.If(i < n, [&] {
    const auto quantise = [&](const Val<F32>& v) {
      if (!scaled) return ToE4M3(v);
      const Val<F32> s = scale->Load(0);
      if (spec.scaling == E4M3Scaling::kFactor) return ToE4M3(v * s);
      return ToE4M3(Select(s == 0.0f, v, v / s * kLargest));
    };
    if (width == 1) {
      y.Store(i, quantise(x.Load(i)));
    } else {
      const Vec<F32, 4> v = x.Load<4>(i);
      const Val<U32> low = Permute(quantise(v[0]), quantise(v[1]), 0x0040);
      const Val<U32> high = Permute(quantise(v[2]), quantise(v[3]), 0x0040);
      y.As<U32>().Store(i / 4, Permute(low, high, 0x5410));
    }
  });
  return std::move(k).Finish();
}

std::vector<QuantizeE4M3Spec> QuantizeE4M3Variants() {
  std::vector<QuantizeE4M3Spec> variants;
  for (const E4M3Scaling scaling : kScalings) {
    variants.push_back({4096, scaling, 256});
    variants.push_back({1002, scaling, 64});
    variants.push_back({std::nullopt, scaling, 128});
  }
  variants.push_back({1, E4M3Scaling::kNone, 512});
  return variants;
}

}  // namespace ptxsmith

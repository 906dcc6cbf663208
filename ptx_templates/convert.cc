#include "ptx_templates/convert.h"

#include "absl/strings/str_cat.h"
#include "codegen/kernel_builder.h"

namespace ptxsmith {
namespace {

// Two floats as a word of the narrow type, and back; the first in the low half.
Val<U32> Pack(QuantType type, const Val<F32>& first, const Val<F32>& second) {
  return type == QuantType::kF16 ? PackHalf2(first, second) : PackBF16x2(first, second);
}
Vec<F32, 2> Unpack(QuantType type, const Val<U32>& word) {
  if (type == QuantType::kF16) return UnpackHalf2(word);
  return Vec<F32, 2>({Bitcast<F32>(word << 16), Bitcast<F32>(word & 0xffff0000)});
}

// y = x for `width` (1 or 4) elements from `i` on; x is f32.
void Narrow(QuantType to, uint32_t width, const In<F32>& x, const Out<U16>& y, const Val<U32>& i) {
  if (width == 1) {
    const Val<F32> v = x.Load(i);
    y.Store(i, Pack(to, v, v));
  } else {
    const Vec<F32, 4> v = x.Load<4>(i);
    y.As<U32>().Store<2>(i / 2, Vec<U32, 2>({Pack(to, v[0], v[1]), Pack(to, v[2], v[3])}));
  }
}

// The same times *scale, if there is one; y is f32.
void Widen(QuantType from, uint32_t width, const In<U16>& x, const std::optional<In<F32>>& scale,
           const Out<F32>& y, const Val<U32>& i) {
  const auto scaled = [&](const Val<F32>& v) { return scale ? v * scale->Load(0) : v; };
  if (width == 1) {
    y.Store(i, scaled(Unpack(from, x.Load(i))[0]));
  } else {
    const auto [first, second] = x.As<U32>().Load<2>(i / 2);
    const Vec<F32, 2> low = Unpack(from, first), high = Unpack(from, second);
    const Vec<F32, 4> all({low[0], low[1], high[0], high[1]});
    y.Store<4>(i, MakeVec<4>([&](size_t j) { return scaled(all[j]); }));
  }
}

}  // namespace

absl::StatusOr<KernelSpec> BuildConvert(const ConvertSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  const bool narrow = spec.from == QuantType::kF32;
  if (narrow == (spec.to == QuantType::kF32)) {
    return absl::InvalidArgumentError(absl::StrCat("convert: from=", ToString(spec.from),
                                                   ",to=", ToString(spec.to),
                                                   ": exactly one of them must be f32"));
  }
  if (narrow && spec.scale) {
    return absl::InvalidArgumentError("convert: scale=1 is for widening: from must not be f32");
  }
  KernelBuilder k(KeyOf(spec, target), ConvertSpec::kFamily, target);
  const SizeExpr count = spec.n ? SizeExpr(*spec.n) : SizeExpr::Param(spec.scale ? 3 : 2);
  const uint32_t width = spec.n && *spec.n % 4 == 0 ? 4 : 1;
  k.Launch({.block = {spec.threads, 1, 1},
            .grid = {CeilDiv(count, uint64_t{spec.threads} * width), 1, 1}});
  k.Costs({.bytes = count * 6, .flops = 0});
  const auto for_elements = [&](const Dim& n, auto&& body) {
    const Val<U32> i = k.GlobalThread() * width;
    k.If(i < n, [&] { body(i); });
  };
  if (narrow) {
    const auto y = k.Param<Out<U16>>("y", {.count = count});
    const auto x = k.Param<In<F32>>("x", {.count = count});
    for_elements(k.ParamDim("n", spec.n),
                 [&](const Val<U32>& i) { Narrow(spec.to, width, x, y, i); });
  } else {
    const auto y = k.Param<Out<F32>>("y", {.count = count});
    const auto x = k.Param<In<U16>>("x", {.count = count});
    std::optional<In<F32>> scale;
    if (spec.scale) scale = k.Param<In<F32>>("scale", {.count = 1});
    for_elements(k.ParamDim("n", spec.n),
                 [&](const Val<U32>& i) { Widen(spec.from, width, x, scale, y, i); });
  }
  return std::move(k).Finish();
}

std::vector<ConvertSpec> ConvertVariants() {
  constexpr QuantType kF32 = QuantType::kF32;
  std::vector<ConvertSpec> variants;
  for (QuantType type : {QuantType::kF16, QuantType::kBF16}) {
    for (const auto& [from, to] : {std::pair(kF32, type), std::pair(type, kF32)}) {
      variants.push_back({from, to, 4096, 256});
      variants.push_back({from, to, 1002, 64});
      variants.push_back({from, to, 1, 128});
      variants.push_back({from, to, std::nullopt, 512});
    }
  }
  variants.push_back({QuantType::kF16, kF32, 4096, 256, true});
  variants.push_back({QuantType::kF16, kF32, 1002, 64, true});
  variants.push_back({QuantType::kBF16, kF32, std::nullopt, 128, true});
  return variants;
}

}  // namespace ptxsmith

#include "ptx_templates/rope.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"
#include "codegen/warp.h"

namespace ptxsmith {

absl::string_view FieldText(RopePairing pairing) {
  return pairing == RopePairing::kAdjacent ? "adjacent" : "half_split";
}

absl::Status ParseFieldText(absl::string_view text, RopePairing* pairing) {
  for (RopePairing value : {RopePairing::kAdjacent, RopePairing::kHalfSplit}) {
    if (text != FieldText(value)) continue;
    *pairing = value;
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown pairing '", text, "'; known: adjacent, half_split"));
}

absl::StatusOr<KernelSpec> BuildRope(const RopeSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  if (spec.rope_dim > spec.head_dim) {
    return absl::InvalidArgumentError(
        absl::StrCat("rope: rope_dim=", spec.rope_dim, " exceeds head_dim=", spec.head_dim));
  }
  KernelBuilder k(KeyOf(spec, target), RopeSpec::kFamily, target);

  const SizeExpr rows = spec.rows ? SizeExpr(*spec.rows) : SizeExpr::Param(3);
  const uint32_t row_elements = spec.heads * spec.head_dim;
  const uint32_t pairs = spec.rope_dim / 2;
  const auto x = k.Param<InOut<F32>>("x", {.count = rows * row_elements});
  const auto positions = k.Param<In<U32>>("positions", {.count = rows, .alignment = 4});
  const auto rates = k.Param<In<F32>>("rates", {.count = spec.rope_dim, .constant = true});
  k.ParamDim("rows", spec.rows);

  const uint32_t threads = (pairs + kWarpLanes - 1) / kWarpLanes * kWarpLanes;
  k.Launch({.block = {threads, 1, 1}, .grid = {spec.heads, rows, 1}});
  k.Costs({.bytes = rows * row_elements * 8, .flops = rows * spec.heads * pairs * 6});

  const Val<U32> i = k.ThreadX();
  k.If(threads == pairs ? k.True() : i < pairs, [&] {
    const Val<F32> position = ToF32(positions.Load(k.CtaY()));
    const auto [hi, lo] = rates.Load<2>(i * 2);
    const auto [cosine, sine] = CosSinTurns(FractionOfTurns(position, hi, lo));
    const InOut<F32> head = x.At(k.CtaY() * row_elements + k.CtaX() * spec.head_dim);
    const bool adjacent = spec.pairing == RopePairing::kAdjacent;
    const Val<U32> first = adjacent ? i * 2 : i;
    const Val<U32> second = adjacent ? first + 1 : i + pairs;
    const Val<F32> a = head.Load(first);
    const Val<F32> b = head.Load(second);
    head.Store(first, a * cosine - b * sine);
    head.Store(second, a * sine + b * cosine);
  });
  return std::move(k).Finish();
}

std::vector<RopeSpec> RopeVariants() {
  std::vector<RopeSpec> variants;
  for (RopePairing pairing : {RopePairing::kAdjacent, RopePairing::kHalfSplit}) {
    for (uint32_t dim : {64u, 80u, 96u, 128u, 256u}) {
      variants.push_back({pairing, 4, dim, dim, 1});
    }
    variants.push_back({pairing, 3, 80, 32, 2});
    variants.push_back({pairing, 2, 64, 64, std::nullopt});
    variants.push_back({pairing, 1, 2, 2, 1});
  }
  return variants;
}

std::vector<float> RopeRates(uint32_t rope_dim, double base, double scale,
                             absl::Span<const float> factors) {
  constexpr double kTwoPi = 6.283185307179586;
  std::vector<float> rates;
  for (uint32_t i = 0; i < rope_dim / 2; ++i) {
    const double factor = factors.empty() ? 1.0 : factors[i];
    const double rate = std::pow(base, -2.0 * i / rope_dim) / kTwoPi * scale / factor;
    const float hi = static_cast<float>(rate);
    rates.push_back(hi);
    rates.push_back(static_cast<float>(rate - hi));
  }
  return rates;
}

}  // namespace ptxsmith

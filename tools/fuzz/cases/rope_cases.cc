#include <algorithm>
#include <cmath>
#include <numbers>

#include "absl/strings/str_cat.h"
#include "ptx_templates/rope.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/rng.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {
namespace {

// How the frequencies of a model are stretched.
enum class Stretch {
  kNone,
  kRandomFactors,
  kLlama3,  // what llama 3.1 files hold in rope_freqs.weight
  kLinear,  // all positions divided by 4: the kernel's table takes a scale, the reference factors
};

// The divisors of the frequencies.
std::vector<float> Factors(Stretch stretch, uint32_t pairs, double base, Rng& rng) {
  std::vector<float> factors;
  for (uint32_t i = 0; i < pairs && stretch != Stretch::kNone; ++i) {
    if (stretch == Stretch::kLinear) factors.push_back(4);
    if (stretch == Stretch::kRandomFactors) {
      factors.push_back(1 + static_cast<float>(8 * rng.Uniform()));
    }
    if (stretch == Stretch::kLlama3) {
      // Wavelengths below 2048 stay, those above 8192 are stretched 8 times, between them smoothly.
      const double wavelength = 2 * std::numbers::pi * std::pow(base, 1.0 * i / pairs);
      const double smooth = std::clamp((8192 / wavelength - 1) / 3, 0.0, 1.0);
      factors.push_back(static_cast<float>(1 / (smooth + (1 - smooth) / 8)));
    }
  }
  return factors;
}

CaseMaker Case(const RopeSpec& spec, const std::vector<uint32_t>& positions, double base,
               Stretch stretch, Values values, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const size_t row_elements = size_t{spec.heads} * spec.head_dim;
    const std::vector<float> x = rng.Floats(values, row_elements * positions.size());
    const std::vector<float> factors = Factors(stretch, spec.rope_dim / 2, base, rng);
    const std::vector<float> rates = stretch == Stretch::kLinear
                                         ? RopeRates(spec.rope_dim, base, 0.25, {})
                                         : RopeRates(spec.rope_dim, base, 1.0, factors);
    KernelCase result = CaseOf(spec, BuildRope);
    result.args = {ToBytes(x), ToBytes(positions), ToBytes(rates)};
    if (!spec.rows) result.args.emplace_back(static_cast<uint32_t>(positions.size()));

    reference::RopeSpec rule;
    rule.pairs = spec.pairing == RopePairing::kAdjacent ? reference::RopePairs::kAdjacent
                                                        : reference::RopePairs::kHalfSplit;
    rule.base = base;
    rule.dims = spec.rope_dim;
    rule.factors = factors;
    rule.angle_roundings = 0x1p-23;  // rates are 48 bits wide: the angle is as good as exact
    reference::Expected want;
    for (size_t r = 0; r < positions.size(); ++r) {
      const reference::Expected row =
          reference::Rope(absl::MakeConstSpan(x).subspan(r * row_elements, row_elements),
                          spec.head_dim, positions[r], rule);
      want.value.insert(want.value.end(), row.value.begin(), row.value.end());
      want.bound.insert(want.bound.end(), row.bound.begin(), row.bound.end());
    }
    result.check = [want](absl::Span<const Bytes> after) {
      return CheckClose(FromBytes<float>(after[0]), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("rows=", positions.size(), " first_position=", positions[0], " base=", base,
                       " stretch=", static_cast<int>(stretch), " values=", ToString(values),
                       " seed=", seed),
          uint64_t{spec.heads} * spec.head_dim * positions.size(), body};
}

struct Fuzz {
  using Spec = RopeSpec;
  struct Sizes {
    uint32_t rows = 1, position = 0;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields =
        Fields(Field("rows", &Sizes::rows, Between(1, 33), "tokens"),
               Field("position", &Sizes::position, Between(0, (1u << 24) - 1), "of the first"));
  };
  static void Fit(Spec& spec, Sizes&) { spec.rope_dim = std::min(spec.rope_dim, spec.head_dim); }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    Rng rng(seed);
    std::vector<uint32_t> positions(sizes.rows);
    for (uint32_t& position : positions) position = rng.Below(1u << 24);
    positions[0] = sizes.position;
    const auto stretch = static_cast<Stretch>(rng.Below(4));
    const double base = rng.Below(2) == 0 ? 10000 : 500000;
    return Case(spec, positions, base, stretch, values, seed);
  }
};

}  // namespace

std::vector<CaseMaker> RopeCases(uint64_t seed) {
  constexpr uint32_t kLastPosition = (1u << 24) - 1;
  const uint32_t other = static_cast<uint32_t>(seed * 7919 % 100000);
  std::vector<CaseMaker> cases;
  for (const RopeSpec& spec : RopeVariants()) {
    for (uint32_t rows : {1, 2, 5}) {
      if (spec.rows && rows != *spec.rows) continue;
      for (uint32_t position : {0u, 1u, 127u, 4096u, other, kLastPosition}) {
        std::vector<uint32_t> positions{position, 3, 77, 0, 12345};
        positions.resize(rows);
        cases.push_back(Case(spec, positions, 10000, Stretch::kNone, Values::kNormal, seed));
        cases.push_back(
            Case(spec, positions, 500000, Stretch::kRandomFactors, Values::kHeavyTailed, seed));
        cases.push_back(Case(spec, positions, 500000, Stretch::kLlama3, Values::kNormal, seed));
        cases.push_back(Case(spec, positions, 10000, Stretch::kLinear, Values::kNormal, seed));
      }
      std::vector<uint32_t> positions{1001, 2, 5, 8, 13};
      positions.resize(rows);
      for (Values values : kAllValues) {
        cases.push_back(Case(spec, positions, 1e6, Stretch::kNone, values, seed));
      }
    }
  }
  return cases;
}

FuzzFamily RopeFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

// Cases of quantize_q8_1 and dequantize: both are exact, so every bit is compared.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ptx_templates/blocked_half.h"
#include "ptx_templates/dequantize.h"
#include "ptx_templates/quantize_q8_1.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/decode.h"
#include "tools/fuzz/reference/float_formats.h"
#include "tools/fuzz/reference/ops.h"
#include "tools/fuzz/reference/projection.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

Bytes Converted(const std::vector<reference::Weight>& weights, QuantType to) {
  std::vector<float> floats;
  std::vector<uint16_t> halves;
  for (const reference::Weight& w : weights) {
    floats.push_back(w.value);
    halves.push_back(to == QuantType::kF16 ? reference::FloatToHalf(w.value)
                                           : reference::FloatToBFloat16(w.value));
  }
  return to == QuantType::kF32 ? ToBytes(floats) : ToBytes(halves);
}

CaseMaker Case(const QuantizeQ8_1Spec& spec, uint32_t n, Values values, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    std::vector<float> x = rng.Floats(values, n);
    if (values == Values::kNormal) {
      // A block whose values fall half between two quants.
      for (uint32_t i = 0; i < 32; ++i) x[i] = static_cast<float>(i) - 15.5f;
      x[31] = 127.0f;
    }
    KernelCase test = CaseOf(spec, BuildQuantizeQ8_1);
    const Bytes want = reference::QuantizeQ8_1(x);
    test.args = {Bytes(want.size()), ToBytes(x)};
    if (!spec.n) test.args.emplace_back(n);
    test.check = [want](absl::Span<const Bytes> after) { return CheckBytes(after[0], want); };
    return test;
  };
  return {FieldsText(spec), absl::StrCat("n=", n, " x=", ToString(values), " seed=", seed), n,
          body};
}

CaseMaker Case(const DequantizeSpec& spec, uint32_t k, uint32_t n, Values values, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const Bytes w = rng.Blocks(spec.quant, size_t{k} / Info(spec.quant).block_weights * n, values);
    KernelCase test = CaseOf(spec, BuildDequantize);
    const Bytes want = Converted(reference::Decode(spec.quant, w), spec.to);
    test.args = {Bytes(spec.blocked ? 2 * BlockedCount(n, k) : want.size()), w};
    if (!spec.k) test.args.emplace_back(k);
    if (!spec.n) test.args.emplace_back(n);
    test.check = [=](absl::Span<const Bytes> after) {
      if (!spec.blocked) return CheckBytes(after[0], want);
      return CheckBytes(ToBytes(reference::RowsOfBlocks(FromBytes<uint16_t>(after[0]), n, k)),
                        want);
    };
    return test;
  };
  return {FieldsText(spec),
          absl::StrCat("k=", k, " n=", n, " w=", ToString(values), " seed=", seed), uint64_t{k} * n,
          body};
}

struct QuantizeTraits {
  using Spec = QuantizeQ8_1Spec;
  using Sizes = ElementSizes;
  static void Fit(Spec&, Sizes& sizes) { RoundUp(sizes.n, kQ8_1Block); }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    return Case(spec, sizes.n, values, seed);
  }
};

struct DequantizeTraits {
  using Spec = DequantizeSpec;
  using Sizes = ProductSizes;
  static void Fit(Spec& spec, Sizes& sizes) {
    if (spec.blocked) spec.to = QuantType::kF16;
    RoundUp(sizes.k,
            std::max(DecoderFor(spec.quant).chunk_weights, spec.blocked ? kBlockColumns : 1));
  }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    return Case(spec, sizes.k, sizes.n, values, seed);
  }
};

}  // namespace

std::vector<CaseMaker> QuantizeQ8_1Cases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const QuantizeQ8_1Spec& spec : QuantizeQ8_1Variants()) {
    for (const uint32_t blocks : {1, 15, 16, 17}) {
      if (spec.n && blocks > 1) continue;
      const uint32_t n = spec.n.value_or(32 * blocks);
      for (const Values values : kAllValues) cases.push_back(Case(spec, n, values, seed));
    }
  }
  return cases;
}

std::vector<CaseMaker> DequantizeCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const DequantizeSpec& spec : DequantizeVariants()) {
    const uint32_t chunk = DecoderFor(spec.quant).chunk_weights;
    const uint32_t k = spec.k.value_or((spec.blocked ? 10 : 9) * chunk);
    const uint32_t n = spec.n.value_or(3);
    const uint64_t work = uint64_t{k} * n;
    for (const Values values : kAllValues) {
      if (values != Values::kNormal && work > 200'000) continue;
      cases.push_back(Case(spec, k, n, values, seed));
    }
  }
  return cases;
}

FuzzFamily QuantizeQ8_1Fuzz() { return MakeFuzzFamily<QuantizeTraits>(); }
FuzzFamily DequantizeFuzz() { return MakeFuzzFamily<DequantizeTraits>(); }

}  // namespace ptxsmith

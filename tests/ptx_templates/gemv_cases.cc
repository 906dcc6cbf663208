#include <algorithm>
#include <memory>

#include "absl/strings/str_cat.h"
#include "ptx_templates/gemv.h"
#include "tests/ptx_templates/kernel_cases.h"
#include "tests/util/expect_close.h"
#include "tests/util/rng.h"

namespace ptxsmith {
namespace {

// The reference row by row: the decoded weights of a large matrix need not exist at once.
reference::Expected Reference(QuantType type, const Bytes& w, const std::vector<float>& x,
                              uint32_t n) {
  const size_t row_bytes = w.size() / n;
  reference::Expected y;
  for (uint32_t r = 0; r < n; ++r) {
    const absl::Span<const uint8_t> row(w.data() + r * row_bytes, row_bytes);
    const reference::Expected one = reference::Gemv(reference::Decode(type, row), x);
    y.value.push_back(one.value[0]);
    y.bound.push_back(one.bound[0]);
  }
  return y;
}

CaseMaker Case(const GemvSpec& spec, uint32_t k, uint32_t n, Values weights, Values inputs,
               uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const QuantTypeInfo& info = Info(spec.quant);
    const Bytes w = rng.Blocks(spec.quant, size_t{k} / info.block_weights * n, weights);
    const std::vector<float> x = rng.Floats(inputs, k);
    KernelCase result = CaseOf(spec, BuildGemv);
    result.args = {Bytes(n * sizeof(float)), w, ToBytes(x)};
    if (!spec.k) result.args.emplace_back(k);
    if (!spec.n) result.args.emplace_back(n);
    const reference::Expected want = Reference(spec.quant, w, x, n);
    result.check = [want](absl::Span<const Bytes> after) {
      return IsClose(FromBytes<float>(after[0]), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("k=", k, " n=", n, " weights=", ToString(weights), " x=", ToString(inputs),
                       " seed=", seed),
          uint64_t{k} * n, body};
}

}  // namespace

std::vector<CaseMaker> GemvCases(uint64_t seed) {
  constexpr uint64_t kSmall = 200'000;  // weights of a matrix cheap enough for every distribution
  std::vector<CaseMaker> cases;
  const auto add = [&](const GemvSpec& spec, uint32_t k, uint32_t n) {
    for (Values values : kAllValues) {
      if (values != Values::kNormal && uint64_t{k} * n > kSmall) continue;
      cases.push_back(Case(spec, k, n, values, values, seed));
    }
    if (uint64_t{k} * n > kSmall) return;
    cases.push_back(Case(spec, k, n, Values::kLargest, Values::kNormal, seed));
    cases.push_back(Case(spec, k, n, Values::kNormal, Values::kHeavyTailed, seed));
  };
  for (const GemvSpec& spec : GemvVariants()) {
    const uint32_t chunk = DecoderFor(spec.quant).chunk_weights;
    for (uint32_t chunks : {1, 9, 12}) {
      if (spec.k && chunks > 1) continue;
      for (uint32_t n : {1, 31}) {
        if (spec.n && n > 1) continue;
        add(spec, spec.k.value_or(chunks * chunk), spec.n.value_or(n));
      }
    }
  }
  return cases;
}

}  // namespace ptxsmith

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "ptx_templates/attention.h"
#include "tests/ptx_templates/kernel_cases.h"
#include "tests/reference/float_formats.h"
#include "tests/util/expect_close.h"
#include "tests/util/rng.h"

namespace ptxsmith {
namespace {

constexpr uint16_t kNanHalf = 0x7e00;

// Halves of one cache in the kernel's order, [kv_heads][context][head_dim]; NaN from `length` on,
// where the kernel must not look.
std::vector<uint16_t> Cache(const AttentionSpec& spec, uint32_t context, uint32_t length,
                            Values values, Rng& rng) {
  std::vector<uint16_t> cache(size_t{spec.kv_heads} * context * spec.head_dim, kNanHalf);
  for (uint32_t head = 0; head < spec.kv_heads; ++head) {
    const size_t count = size_t{length} * spec.head_dim;
    const std::vector<uint16_t> halves =
        values == Values::kDenormals
            ? FromBytes<uint16_t>(rng.Blocks(QuantType::kF16, count, values))
            : reference::AppendF16(rng.Floats(values, count));
    std::copy(halves.begin(), halves.end(), &cache[size_t{head} * context * spec.head_dim]);
  }
  return cache;
}

// The same as floats in the reference's order, [length][kv_heads][head_dim].
std::vector<float> ByPosition(const AttentionSpec& spec, uint32_t context, uint32_t length,
                              const std::vector<uint16_t>& cache) {
  std::vector<float> result;
  for (uint32_t p = 0; p < length; ++p) {
    for (uint32_t head = 0; head < spec.kv_heads; ++head) {
      for (uint32_t d = 0; d < spec.head_dim; ++d) {
        result.push_back(
            reference::HalfToFloat(cache[(size_t{head} * context + p) * spec.head_dim + d]));
      }
    }
  }
  return result;
}

CaseMaker Case(const AttentionSpec& spec, uint32_t context, uint32_t position, Values values,
               uint64_t seed) {
  const uint32_t length = std::min(position + 1, context);
  const auto body = [=] {
    Rng rng(seed);
    const std::vector<float> q = rng.Floats(values, size_t{spec.heads} * spec.head_dim);
    const std::vector<uint16_t> k = Cache(spec, context, length, values, rng);
    const std::vector<uint16_t> v = Cache(spec, context, length, values, rng);
    KernelCase result = CaseOf(spec, BuildAttention);
    result.args = {Bytes(q.size() * sizeof(float)), ToBytes(q), ToBytes(k), ToBytes(v),
                   ToBytes(std::vector<uint32_t>{position})};
    if (!spec.context) result.args.emplace_back(context);
    const reference::AttentionShape shape{spec.heads, spec.kv_heads, spec.head_dim,
                                          1 / std::sqrt(static_cast<double>(spec.head_dim))};
    const reference::Expected want = reference::Attention(
        q, ByPosition(spec, context, length, k), ByPosition(spec, context, length, v), shape);
    result.check = [want](absl::Span<const Bytes> after) {
      return IsClose(FromBytes<float>(after[0]), want);
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("context=", context, " position=", position, " values=", ToString(values),
                       " seed=", seed),
          2 * uint64_t{spec.heads} * spec.head_dim * length, body};
}

}  // namespace

std::vector<CaseMaker> AttentionCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const AttentionSpec& spec : AttentionVariants()) {
    for (uint32_t open : {1u, 33u, 129u}) {
      if (spec.context && open > 1) continue;
      const uint32_t context = spec.context.value_or(open);
      // Lengths are one more. The last position is beyond the cache: all of it is read.
      for (uint32_t position : {0u, 30u, 31u, 32u, 126u, 127u, 128u, context - 1, context + 5}) {
        if (position > context + 5) continue;
        for (Values values : kAllValues) {
          cases.push_back(Case(spec, context, position, values, seed));
        }
      }
    }
  }
  return cases;
}

}  // namespace ptxsmith

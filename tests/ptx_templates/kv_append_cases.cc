#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ptx_templates/kv_append.h"
#include "tests/ptx_templates/kernel_cases.h"
#include "tests/reference/ops.h"
#include "tests/util/rng.h"

namespace ptxsmith {
namespace {

// What one cache holds after the rows of `x` were put in.
Bytes Appended(const KvAppendSpec& spec, uint32_t context, const std::vector<uint32_t>& positions,
               const std::vector<float>& x, const Bytes& cache) {
  const std::vector<uint16_t> halves = reference::AppendF16(x);
  std::vector<uint16_t> result = FromBytes<uint16_t>(cache);
  for (size_t r = 0; r < positions.size(); ++r) {
    if (positions[r] >= context) continue;
    for (uint32_t head = 0; head < spec.kv_heads; ++head) {
      std::copy_n(&halves[(r * spec.kv_heads + head) * spec.head_dim], spec.head_dim,
                  &result[(size_t{head} * context + positions[r]) * spec.head_dim]);
    }
  }
  return ToBytes(result);
}

// What a cache holds before: anything, as long as no two places are alike.
Bytes RandomBytes(size_t count, Rng& rng) {
  std::vector<uint64_t> words(count / sizeof(uint64_t) + 1);
  for (uint64_t& word : words) word = rng.Bits();
  Bytes bytes = ToBytes(words);
  bytes.resize(count);
  return bytes;
}

CaseMaker Case(const KvAppendSpec& spec, uint32_t context, const std::vector<uint32_t>& positions,
               Values values, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const size_t elements = size_t{spec.kv_heads} * spec.head_dim;
    const Bytes k_cache = RandomBytes(2 * elements * context, rng);
    const Bytes v_cache = RandomBytes(2 * elements * context, rng);
    std::vector<float> k = rng.Floats(values, elements * positions.size());
    std::vector<float> v = rng.Floats(values, elements * positions.size());
    // Around the largest half: these round down to it, up to infinity, and a tie goes to infinity.
    const float edges[] = {65519.0f, 65520.0f, -1e30f, 0x1p-24f, 0x1p-25f, 0x1.8p-24f};
    if (values == Values::kLargest) {
      for (size_t i = 0; i < v.size(); ++i) v[i] = edges[i % std::size(edges)];
    }
    KernelCase result = CaseOf(spec, BuildKvAppend);
    result.args = {k_cache, v_cache, ToBytes(k), ToBytes(v), ToBytes(positions)};
    if (!spec.context) result.args.emplace_back(context);
    if (!spec.rows) result.args.emplace_back(static_cast<uint32_t>(positions.size()));
    const Bytes want_k = Appended(spec, context, positions, k, k_cache);
    const Bytes want_v = Appended(spec, context, positions, v, v_cache);
    result.check = [want_k, want_v](absl::Span<const Bytes> after) -> testing::AssertionResult {
      for (const auto& [name, got, want] :
           {std::tuple("k_cache", &after[0], &want_k), std::tuple("v_cache", &after[1], &want_v)}) {
        const auto [a, b] = std::mismatch(got->begin(), got->end(), want->begin(), want->end());
        if (a == got->end() && b == want->end()) continue;
        return testing::AssertionFailure()
               << name << " differs from byte " << a - got->begin() << " on";
      }
      return testing::AssertionSuccess();
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("context=", context, " rows=", positions.size(), " first_position=",
                       positions[0], " values=", ToString(values), " seed=", seed),
          uint64_t{spec.kv_heads} * spec.head_dim * (context + positions.size()), body};
}

}  // namespace

std::vector<CaseMaker> KvAppendCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const KvAppendSpec& spec : KvAppendVariants()) {
    const uint32_t context = spec.context.value_or(200);
    for (uint32_t rows : {1, 2, 3}) {
      if (spec.rows && rows != *spec.rows) continue;
      // The last one is beyond the cache: nothing may be written for it.
      for (uint32_t position : {0u, context / 2, context - 1, context}) {
        // Different rows have different positions.
        std::vector<uint32_t> positions{position, 1, 3};
        positions.resize(rows);
        for (Values values : kAllValues) {
          cases.push_back(Case(spec, context, positions, values, seed));
        }
      }
    }
  }
  return cases;
}

}  // namespace ptxsmith

#include "ptx_templates/top_k.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The k first elements of the row in the header's order, by sorting all of it.
void AppendTopK(const std::vector<float>& row, uint32_t k, std::vector<float>& values,
                std::vector<uint32_t>& indices) {
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < row.size(); ++i) {
    if (!std::isnan(row[i])) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return row[a] > row[b]; });
  for (uint32_t j = 0; j < k; ++j) {
    values.push_back(j < order.size() ? row[order[j]] : -kInfinity);
    indices.push_back(j < order.size() ? order[j] : UINT32_MAX);
  }
}

CaseMaker Case(const TopKSpec& spec, uint32_t n, uint32_t rows, const std::string& inputs,
               const std::function<std::vector<float>()>& x_of) {
  const auto body = [=] {
    const std::vector<float> first = x_of();
    std::vector<float> x, values;
    std::vector<uint32_t> indices;
    for (uint32_t r = 0; r < rows; ++r) {
      std::vector<float> row = first;
      std::rotate(row.begin(), row.begin() + r % n, row.end());  // each row has its own result
      AppendTopK(row, spec.k, values, indices);
      x.insert(x.end(), row.begin(), row.end());
    }
    KernelCase result = CaseOf(spec, BuildTopK);
    result.args = {Bytes(values.size() * sizeof(float)), Bytes(indices.size() * sizeof(uint32_t)),
                   ToBytes(x)};
    if (!spec.n) result.args.emplace_back(n);
    if (!spec.rows) result.args.emplace_back(rows);
    result.check = [values, indices](absl::Span<const Bytes> after) -> Verdict {
      const std::vector<uint32_t> got = FromBytes<uint32_t>(after[1]);
      const auto [a, b] = std::mismatch(got.begin(), got.end(), indices.begin());
      if (a != got.end()) {
        return Wrong("index [", a - got.begin(), "] is ", *a, " instead of ", *b);
      }
      // Equal elements may be zeros of either sign: any of them is right.
      const std::vector<float> got_values = FromBytes<float>(after[0]);
      const auto [v, w] = std::mismatch(got_values.begin(), got_values.end(), values.begin());
      if (v == got_values.end()) return Verdict();
      return Wrong("value [", v - got_values.begin(), "] is ", *v, " instead of ", *w);
    };
    return result;
  };
  return {FieldsText(spec), absl::StrCat("n=", n, " rows=", rows, " ", inputs),
          (uint64_t{n} + uint64_t{spec.k} * spec.threads) * rows, body};
}

struct Fuzz {
  using Spec = TopKSpec;
  using Sizes = RowSizes;
  static void Fit(Spec&, Sizes&) {}
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    return Case(spec, sizes.n, sizes.rows,
                absl::StrCat("values=", ToString(values), " seed=", seed), [=] {
                  Rng rng(seed);
                  std::vector<float> x = rng.Floats(values, sizes.n);
                  for (float& v : x) {
                    // Equal elements, and NaNs, for some seeds.
                    if (seed % 3 == 1) v = std::round(2 * v);
                    if (seed % 3 == 2 && rng.Below(4) == 0) v = kNan;
                  }
                  return x;
                });
  }
};

}  // namespace

std::vector<CaseMaker> TopKCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  const auto add = [&](const TopKSpec& spec, uint32_t n, uint32_t rows) {
    const auto random = [=](Values values) { return Rng(seed).Floats(values, n); };
    for (Values values : kAllValues) {
      cases.push_back(Case(spec, n, rows, absl::StrCat("values=", ToString(values), " seed=", seed),
                           [=] { return random(values); }));
    }
    for (float all : {0.0f, -kInfinity, kNan, kInfinity}) {
      cases.push_back(Case(spec, n, rows, absl::StrCat("all ", all),
                           [=] { return std::vector<float>(n, all); }));
    }
    cases.push_back(Case(spec, n, rows, absl::StrCat("few different, seed=", seed), [=] {
      std::vector<float> x = random(Values::kNormal);
      for (float& v : x) v = std::round(2 * v);
      return x;
    }));
    cases.push_back(Case(spec, n, rows, absl::StrCat("every third is NaN, seed=", seed), [=] {
      std::vector<float> x = random(Values::kNormal);
      for (uint32_t i = 0; i < n; i += 3) x[i] = kNan;
      return x;
    }));
    // All of the largest in the stripe of one thread.
    cases.push_back(Case(spec, n, rows, absl::StrCat("largest in one stripe, seed=", seed), [=] {
      std::vector<float> x = random(Values::kNormal);
      for (uint32_t i = n / 2 % spec.threads; i < n; i += spec.threads) x[i] += 100;
      return x;
    }));
    for (bool rising : {false, true}) {
      cases.push_back(Case(spec, n, rows, rising ? "rising" : "falling", [=] {
        std::vector<float> x(n);
        for (uint32_t i = 0; i < n; ++i) x[i] = static_cast<float>(rising ? i : n - i);
        return x;
      }));
    }
  };
  for (const TopKSpec& spec : TopKVariants()) {
    for (uint32_t n : {1, 39, 40, 41, 257, 5003, 70001}) {
      if (spec.n && n > 1) continue;
      add(spec, spec.n.value_or(n), spec.rows.value_or(n < 1000 ? 3 : 1));
    }
  }
  return cases;
}

FuzzFamily TopKFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

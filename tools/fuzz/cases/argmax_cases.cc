#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "absl/strings/str_cat.h"
#include "ptx_templates/argmax.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/reference/ops.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

CaseMaker Case(const ArgmaxSpec& spec, uint32_t n, uint32_t rows, const std::string& inputs,
               const std::function<std::vector<float>()>& x_of) {
  const auto body = [=] {
    const std::vector<float> first = x_of();
    std::vector<float> x;
    std::vector<uint32_t> want;
    for (uint32_t r = 0; r < rows; ++r) {
      std::vector<float> row = first;
      std::rotate(row.begin(), row.begin() + r % n, row.end());  // each row has its own result
      want.push_back(static_cast<uint32_t>(reference::ArgMax(row)));
      x.insert(x.end(), row.begin(), row.end());
    }
    KernelCase result = CaseOf(spec, BuildArgmax);
    result.args = {Bytes(rows * sizeof(uint32_t)), ToBytes(x)};
    if (!spec.n) result.args.emplace_back(n);
    if (!spec.rows) result.args.emplace_back(rows);
    result.check = [want](absl::Span<const Bytes> after) -> Verdict {
      const std::vector<uint32_t> got = FromBytes<uint32_t>(after[0]);
      for (size_t r = 0; r < want.size(); ++r) {
        if (got[r] == want[r]) continue;
        return Wrong("row ", r, ": ", got[r], " instead of ", want[r]);
      }
      return Verdict();
    };
    return result;
  };
  return {FieldsText(spec), absl::StrCat("n=", n, " rows=", rows, " ", inputs), uint64_t{n} * rows,
          body};
}

struct Fuzz {
  using Spec = ArgmaxSpec;
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

std::vector<CaseMaker> ArgmaxCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  const auto add = [&](const ArgmaxSpec& spec, uint32_t n) {
    const uint32_t rows = spec.rows.value_or(2);
    const auto random = [=](Values values) { return Rng(seed).Floats(values, n); };
    for (Values values : kAllValues) {
      cases.push_back(Case(spec, n, rows, absl::StrCat("values=", ToString(values), " seed=", seed),
                           [=] { return random(values); }));
    }
    for (float all : {0.0f, -kInfinity, kNan, kInfinity}) {
      cases.push_back(Case(spec, n, rows, absl::StrCat("all ", all),
                           [=] { return std::vector<float>(n, all); }));
    }
    // The largest element planted in each part of the work: lanes, warps, rounds and the tail.
    const uint32_t somewhere = static_cast<uint32_t>(seed * 7919 % n);
    for (uint32_t at : {0u, 1u, 31u, 32u, 33u, 127u, 128u, 255u, 999u, somewhere, n - 1}) {
      if (at >= n) continue;
      cases.push_back(Case(spec, n, rows, absl::StrCat("largest at ", at, " seed=", seed), [=] {
        std::vector<float> x = random(Values::kNormal);
        x[at] = 100;
        return x;
      }));
      cases.push_back(Case(spec, n, rows, absl::StrCat("least of NaNs at ", at), [=] {
        std::vector<float> x(n, kNan);
        x[at] = -kInfinity;
        return x;
      }));
      cases.push_back(Case(spec, n, rows, absl::StrCat("equal from ", at, " on, seed=", seed), [=] {
        std::vector<float> x = random(Values::kNormal);
        std::fill(x.begin() + at, x.end(), 100.0f);
        return x;
      }));
      cases.push_back(
          Case(spec, n, rows, absl::StrCat("twice, at ", at, " and the end, seed=", seed), [=] {
            std::vector<float> x = random(Values::kNormal);
            x[at] = x[n - 1] = 100;
            return x;
          }));
    }
  };
  for (const ArgmaxSpec& spec : ArgmaxVariants()) {
    for (uint32_t n : {1, 31, 33, 1024, 1025, 5003}) {
      if (spec.n && n > 1) continue;
      add(spec, spec.n.value_or(n));
    }
  }
  return cases;
}

FuzzFamily ArgmaxFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

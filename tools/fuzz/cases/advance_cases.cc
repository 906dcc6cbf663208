#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ptx_templates/advance.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kNoSequence = UINT32_MAX;

// `steps` steps have been taken; every third row has no sequence when `holes`.
CaseMaker Case(const AdvanceSpec& spec, uint32_t rows, uint32_t steps, bool holes, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    std::vector<uint32_t> tokens(rows), positions(rows), picked(rows), log(rows * spec.ring);
    for (auto* values : {&tokens, &positions, &picked, &log}) {
      for (uint32_t& value : *values) value = rng.Below(100000);
    }
    for (uint32_t r = 0; holes && r < rows; r += 3) positions[r] = kNoSequence;
    KernelCase result = CaseOf(spec, BuildAdvance);
    result.args = {ToBytes(tokens), ToBytes(positions), ToBytes<uint32_t>({steps}), ToBytes(log),
                   ToBytes(picked)};
    if (!spec.rows) result.args.emplace_back(rows);
    for (uint32_t r = 0; r < rows; ++r) {
      log[steps % spec.ring * rows + r] = picked[r];
      if (positions[r] == kNoSequence) continue;
      tokens[r] = picked[r];
      ++positions[r];
    }
    result.check =
        [want = std::vector<std::vector<uint32_t>>{tokens, positions, {steps + 1}, log, picked}](
            absl::Span<const Bytes> after) -> Verdict {
      for (size_t i = 0; i < want.size(); ++i) {
        const std::vector<uint32_t> got = FromBytes<uint32_t>(after[i]);
        for (size_t j = 0; j < want[i].size(); ++j) {
          if (got[j] == want[i][j]) continue;
          return Wrong("argument ", i, ", element ", j, ": ", got[j], " instead of ", want[i][j]);
        }
      }
      return Verdict();
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("rows=", rows, " steps=", steps, holes ? " holes" : "", " seed=", seed),
          uint64_t{rows} * spec.ring, body};
}

struct Sizes {
  uint32_t rows = 1, steps = 0;

  static constexpr absl::string_view kFamily = "sizes";
  static constexpr auto kFields =
      Fields(Field("rows", &Sizes::rows, Between(1, 65), "sequences"),
             Field("steps", &Sizes::steps, Between(0, UINT32_MAX), "steps taken so far"));
};

struct Fuzz {
  using Spec = AdvanceSpec;
  using Sizes = ptxsmith::Sizes;
  static void Fit(Spec&, Sizes&) {}
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values, uint64_t seed) {
    return Case(spec, sizes.rows, sizes.steps, seed % 2 == 1, seed);
  }
};

}  // namespace

std::vector<CaseMaker> AdvanceCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const AdvanceSpec& spec : AdvanceVariants()) {
    for (uint32_t rows : {1u, 31u, 32u, 65u}) {
      if (spec.rows && rows > 1) continue;
      for (uint32_t steps : {0u, 1u, 2u, 63u, 64u, 1000u, UINT32_MAX}) {
        for (bool holes : {false, true}) {
          cases.push_back(Case(spec, spec.rows.value_or(rows), steps, holes, seed));
        }
      }
    }
  }
  return cases;
}

FuzzFamily AdvanceFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

#include "ptx_templates/sample.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

struct Settings {
  float temperature = 1, top_p = 1, min_p = 0, penalty = 1;
  uint32_t candidates = kMaxCandidates;

  void AppendTo(std::vector<float>& all) const {
    all.insert(all.end(), {temperature, top_p, min_p, penalty});
    all.push_back(0);
    std::memcpy(&all.back(), &candidates, sizeof(candidates));
  }
};

// `count` different slots.
std::vector<uint32_t> SlotsOf(uint32_t count, uint32_t slots, Rng& rng) {
  std::vector<uint32_t> all(slots);
  std::iota(all.begin(), all.end(), 0);
  for (uint32_t i = 0; i < count; ++i) std::swap(all[i], all[i + rng.Below(slots - i)]);
  all.resize(count);
  return all;
}

// Which candidates double precision allows: those whose share of [0, 1) contains the uniform, give
// or take `slack`, under the limits of top_p and min_p, give or take as much.
std::vector<bool> Allowed(absl::Span<const float> values, const Settings& s, double uniform) {
  constexpr double kSlack = 1e-5;
  const size_t k = std::min<size_t>(values.size(), s.candidates);
  const auto weight = [&](size_t j, double temperature) {
    return std::exp((double{values[j]} - values[0]) / temperature);
  };
  double sum = 0;
  for (size_t j = 0; j < k; ++j) sum += weight(j, 1);
  // Both limits may fall on either side of a candidate: every count from the least to the most.
  size_t least = 0, most = 0;
  double kept = 0;
  for (size_t j = 0; j < k; ++j) {
    const double p = weight(j, 1);
    const auto stays = [&](double slack) {
      return (s.top_p == 1 || kept < s.top_p * sum * (1 + slack)) && p >= s.min_p * (1 - slack);
    };
    if (least == j && stays(-kSlack)) least = j + 1;
    if (most == j && stays(kSlack)) most = j + 1;
    kept += p;
  }
  std::vector<bool> allowed(values.size(), false);
  for (size_t count = least; count <= most; ++count) {
    double total = 0;
    for (size_t j = 0; j < count; ++j) total += weight(j, s.temperature);
    if (total == 0) allowed[0] = true;
    double running = 0;
    for (size_t j = 0; j < count; ++j) {
      const double next = running + weight(j, s.temperature);
      if (uniform >= running / total - kSlack && uniform < next / total + kSlack) allowed[j] = true;
      running = next;
    }
  }
  return allowed;
}

CaseMaker Sample(const SampleSpec& spec, const Settings& settings, Values values, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    std::vector<float> x, uniforms, all_settings;
    std::vector<uint32_t> indices(spec.rows * spec.k), history(spec.slots * kSampleHistory),
        draws(spec.slots);
    for (uint32_t row = 0; row < spec.rows; ++row) {
      std::vector<float> falling = rng.Floats(values, spec.k);
      std::sort(falling.begin(), falling.end(), std::greater<>());
      x.insert(x.end(), falling.begin(), falling.end());
    }
    for (size_t i = 0; i < indices.size(); ++i) indices[i] = 100 + 7 * static_cast<uint32_t>(i);
    for (uint32_t& token : history) token = rng.Below(50);
    for (uint32_t& draw : draws) draw = rng.Below(1000);
    for (uint32_t i = 0; i < spec.slots * kSampleUniforms; ++i) {
      uniforms.push_back(static_cast<float>(rng.Bits() >> 40) * 0x1p-24f);
    }
    // Slots differ: each is a little hotter than the one before, and takes fewer candidates.
    std::vector<Settings> of_slots;
    for (uint32_t slot = 0; slot < spec.slots; ++slot) {
      Settings own = settings;
      own.temperature += 0.5f * static_cast<float>(slot);
      own.candidates -= std::min(own.candidates - 1, 3 * slot);
      own.AppendTo(all_settings);
      of_slots.push_back(own);
    }
    const std::vector<uint32_t> slot_of = SlotsOf(spec.rows, spec.slots, rng);

    KernelCase result = CaseOf(spec, BuildSample);
    result.args = {Bytes(spec.rows * sizeof(uint32_t)),
                   ToBytes(history),
                   ToBytes(draws),
                   ToBytes(x),
                   ToBytes(indices),
                   ToBytes(uniforms),
                   ToBytes(all_settings),
                   ToBytes(slot_of)};
    result.check = [=](absl::Span<const Bytes> after) -> Verdict {
      std::vector<uint32_t> want = history, drawn = draws;
      for (uint32_t row = 0; row < spec.rows; ++row) {
        const uint32_t slot = slot_of[row];
        const uint32_t token = FromBytes<uint32_t>(after[0])[row];
        const uint32_t j = (token - 100) / 7 - row * spec.k;
        if (token < 100 || (token - 100) % 7 != 0 || j >= spec.k) {
          return Wrong("row ", row, ": token ", token, " is no candidate");
        }
        const std::vector<bool> allowed =
            Allowed(absl::MakeConstSpan(x).subspan(row * spec.k, spec.k), of_slots[slot],
                    uniforms[slot * kSampleUniforms + draws[slot] % kSampleUniforms]);
        if (!allowed[j]) {
          return Wrong("row ", row, ": candidate ", j, " is not the one that the uniform draws");
        }
        want[slot * kSampleHistory + draws[slot] % kSampleHistory] = token;
        ++drawn[slot];
      }
      if (FromBytes<uint32_t>(after[1]) != want) return Wrong("the history is not as it should be");
      if (FromBytes<uint32_t>(after[2]) != drawn) return Wrong("draws are not counted");
      return Verdict();
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("temperature=", settings.temperature, " top_p=", settings.top_p,
                       " min_p=", settings.min_p, " candidates=", settings.candidates,
                       " values=", ToString(values), " seed=", seed),
          uint64_t{spec.rows} * spec.k, body};
}

CaseMaker Penalize(const PenalizeSpec& spec, uint32_t n, float penalty, Values values,
                   uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const std::vector<float> x = rng.Floats(values, spec.rows * n);
    std::vector<uint32_t> history(spec.slots * kSampleHistory);
    // Some twice, some that are none.
    for (uint32_t& token : history) token = rng.Below(4) == 0 ? UINT32_MAX : rng.Below(n);
    history[5] = history[40];
    std::vector<float> settings, penalties;
    for (uint32_t slot = 0; slot < spec.slots; ++slot) {
      penalties.push_back(penalty + 0.25f * static_cast<float>(slot));
      Settings{.penalty = penalties.back()}.AppendTo(settings);
    }
    const std::vector<uint32_t> slot_of = SlotsOf(spec.rows, spec.slots, rng);
    KernelCase result = CaseOf(spec, BuildPenalize);
    result.args = {ToBytes(x), ToBytes(history), ToBytes(settings), ToBytes(slot_of)};
    if (!spec.n) result.args.emplace_back(n);
    std::vector<float> want = x;
    for (uint32_t row = 0; row < spec.rows; ++row) {
      const auto own = history.begin() + slot_of[row] * kSampleHistory;
      const float by = penalties[slot_of[row]];
      for (const uint32_t token : std::set<uint32_t>(own, own + kSampleHistory)) {
        if (token >= n) continue;
        const size_t i = size_t{row} * n + token;
        want[i] = x[i] > 0 ? x[i] / by : x[i] * by;
      }
    }
    result.check = [want](absl::Span<const Bytes> after) -> Verdict {
      const std::vector<float> got = FromBytes<float>(after[0]);
      for (size_t i = 0; i < want.size(); ++i) {
        if (got[i] != want[i]) return Wrong("element ", i, ": ", got[i], ", not ", want[i]);
      }
      return Verdict();
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("n=", n, " penalty=", penalty, " values=", ToString(values), " seed=", seed),
          n, body};
}

// Every row has a slot of its own.
template <class Spec>
void FitSlots(Spec& spec) {
  spec.rows = std::min(spec.rows, 32u);
  spec.slots = std::clamp(spec.slots, spec.rows, spec.rows + 32);
}

struct SampleFuzzer {
  using Spec = SampleSpec;
  using Sizes = NoSizes;
  static void Fit(Spec& spec, Sizes&) { FitSlots(spec); }
  static CaseMaker Make(const Spec& spec, const Sizes&, Values values, uint64_t seed) {
    Rng rng(seed);
    const Settings settings{.temperature = 0.1f + 2 * static_cast<float>(rng.Uniform()),
                            .top_p = rng.Below(3) == 0 ? 1.0f : static_cast<float>(rng.Uniform()),
                            .min_p = rng.Below(2) == 0 ? 0.0f : static_cast<float>(rng.Uniform()),
                            .candidates = 1 + rng.Below(kMaxCandidates)};
    return Sample(spec, settings, values, seed);
  }
};

struct PenalizeFuzzer {
  using Spec = PenalizeSpec;
  using Sizes = ElementSizes;
  static void Fit(Spec& spec, Sizes&) { FitSlots(spec); }
  static CaseMaker Make(const Spec& spec, const Sizes& sizes, Values values, uint64_t seed) {
    return Penalize(spec, sizes.n, 1.0f + static_cast<float>(Rng(seed).Uniform()), values, seed);
  }
};

}  // namespace

std::vector<CaseMaker> SampleCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const SampleSpec& spec : SampleVariants()) {
    for (const Settings& settings :
         {Settings{}, Settings{.temperature = 0.7f, .top_p = 0.9f}, Settings{.min_p = 0.3f},
          Settings{.temperature = 3, .top_p = 0.5f, .min_p = 0.05f}, Settings{.candidates = 5}}) {
      for (const Values values : {Values::kNormal, Values::kHeavyTailed, Values::kZeros}) {
        for (uint64_t i = 0; i < 4; ++i) cases.push_back(Sample(spec, settings, values, seed + i));
      }
    }
  }
  return cases;
}

std::vector<CaseMaker> PenalizeCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const PenalizeSpec& spec : PenalizeVariants()) {
    for (const Values values : {Values::kNormal, Values::kZeros}) {
      for (const float penalty : {1.1f, 2.0f, 1.0f}) {
        cases.push_back(Penalize(spec, spec.n.value_or(300), penalty, values, seed));
      }
    }
  }
  return cases;
}

FuzzFamily SampleFuzz() { return MakeFuzzFamily<SampleFuzzer>(); }
FuzzFamily PenalizeFuzz() { return MakeFuzzFamily<PenalizeFuzzer>(); }

}  // namespace ptxsmith

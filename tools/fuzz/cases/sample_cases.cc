#include "ptx_templates/sample.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "absl/strings/str_cat.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

struct Settings {
  float temperature = 1, top_p = 1, min_p = 0, penalty = 1;

  Bytes ToBytes() const { return ptxsmith::ToBytes<float>({temperature, top_p, min_p, penalty}); }
};

// Which candidates double precision allows: those whose share of [0, 1) contains the uniform, give
// or take `slack`, under the limits of top_p and min_p, give or take as much.
std::vector<bool> Allowed(const std::vector<float>& values, const Settings& s, double uniform) {
  constexpr double kSlack = 1e-5;
  const size_t k = values.size();
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
  std::vector<bool> allowed(k, false);
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
    std::vector<float> x = rng.Floats(values, spec.k);
    std::sort(x.begin(), x.end(), std::greater<>());
    std::vector<uint32_t> indices(spec.k), history(kSampleHistory);
    for (uint32_t j = 0; j < spec.k; ++j) indices[j] = 100 + 7 * j;
    for (uint32_t& token : history) token = rng.Below(50);
    std::vector<float> uniforms(kSampleUniforms);
    for (float& u : uniforms) u = static_cast<float>(rng.Bits() >> 40) * 0x1p-24f;
    const uint32_t step = rng.Below(1000);
    KernelCase result = CaseOf(spec, BuildSample);
    result.args = {Bytes(sizeof(uint32_t)),  ToBytes(history),  ToBytes(x),
                   ToBytes(indices),         ToBytes(uniforms), settings.ToBytes(),
                   ToBytes<uint32_t>({step})};
    const std::vector<bool> allowed = Allowed(x, settings, uniforms[step % kSampleUniforms]);
    result.check = [=](absl::Span<const Bytes> after) -> Verdict {
      const uint32_t token = FromBytes<uint32_t>(after[0])[0];
      const uint32_t j = (token - 100) / 7;
      if (token < 100 || (token - 100) % 7 != 0 || j >= spec.k) {
        return Wrong("token ", token, " is no candidate");
      }
      if (!allowed[j]) return Wrong("candidate ", j, " is not the one that the uniform draws");
      std::vector<uint32_t> want = history;
      want[step % kSampleHistory] = token;
      if (FromBytes<uint32_t>(after[1]) != want) return Wrong("the history is not as it should be");
      return Verdict();
    };
    return result;
  };
  return {FieldsText(spec),
          absl::StrCat("temperature=", settings.temperature, " top_p=", settings.top_p,
                       " min_p=", settings.min_p, " values=", ToString(values), " seed=", seed),
          spec.k, body};
}

CaseMaker Penalize(const PenalizeSpec& spec, uint32_t n, float penalty, Values values,
                   uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    const std::vector<float> x = rng.Floats(values, n);
    std::vector<uint32_t> history(kSampleHistory);
    // Some twice, some that are none.
    for (uint32_t& token : history) token = rng.Below(4) == 0 ? UINT32_MAX : rng.Below(n);
    history[5] = history[40];
    KernelCase result = CaseOf(spec, BuildPenalize);
    result.args = {ToBytes(x), ToBytes(history), Settings{.penalty = penalty}.ToBytes()};
    if (!spec.n) result.args.emplace_back(n);
    std::vector<float> want = x;
    for (const uint32_t token : std::set<uint32_t>(history.begin(), history.end())) {
      if (token < n) want[token] = x[token] > 0 ? x[token] / penalty : x[token] * penalty;
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

struct SampleFuzzer {
  using Spec = SampleSpec;
  struct Sizes {
    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields = Fields();
  };
  static void Fit(Spec&, Sizes&) {}
  static CaseMaker Make(const Spec& spec, const Sizes&, Values values, uint64_t seed) {
    Rng rng(seed);
    const Settings settings{.temperature = 0.1f + 2 * static_cast<float>(rng.Uniform()),
                            .top_p = rng.Below(3) == 0 ? 1.0f : static_cast<float>(rng.Uniform()),
                            .min_p = rng.Below(2) == 0 ? 0.0f : static_cast<float>(rng.Uniform())};
    return Sample(spec, settings, values, seed);
  }
};

struct PenalizeFuzzer {
  using Spec = PenalizeSpec;
  struct Sizes {
    uint32_t n = 1;

    static constexpr absl::string_view kFamily = "sizes";
    static constexpr auto kFields = Fields(Field("n", &Sizes::n, AtLeast(1), "tokens"));
  };
  static void Fit(Spec&, Sizes&) {}
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
          Settings{.temperature = 3, .top_p = 0.5f, .min_p = 0.05f}}) {
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

#include "model/sampler.h"

#include <algorithm>
#include <cmath>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/sample.h"

namespace ptxsmith {
namespace {

// The id of the largest logit, or why there is none.
absl::StatusOr<TokenId> Largest(absl::Span<const float> logits) {
  if (logits.empty()) return absl::InvalidArgumentError("sampler: no logits");
  size_t best = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]) || logits[i] == INFINITY) {
      return absl::InternalError(
          absl::StrCat("sampler: the logit of token ", i, " is ", logits[i]));
    }
    if (logits[i] > logits[best]) best = i;
  }
  if (logits[best] == -INFINITY) return absl::InternalError("sampler: every logit is -inf");
  return static_cast<TokenId>(best);
}

// e^x as kernels compute it, operation by operation (codegen/math.cc), for x <= 0.
float Exp(float x) {
  constexpr float kRound = 12582912.0f;
  constexpr float kLog2E = 1.44269502f;
  constexpr float kLog2ELow = 1.92596299e-8f;
  if (!(x >= -87.3f)) return 0;
  const float shifted = std::fma(x, kLog2E, kRound);
  const float f = std::fma(x, kLog2ELow, std::fma(x, kLog2E, -(shifted - kRound)));
  float power = 0.00015345811f;
  for (const float c : {0.0013399931f, 0.009618489f, 0.055503286f, 0.24022646f, 0.6931472f, 1.0f}) {
    power = std::fma(power, f, c);
  }
  return power * std::ldexp(1.0f, static_cast<int>(shifted - kRound));
}

absl::Status OutOfRange(absl::string_view option, float value, absl::string_view range) {
  return absl::InvalidArgumentError(
      absl::StrCat("sampler: ", option, " ", value, " is not ", range));
}

}  // namespace

absl::Status CheckSampling(const SamplerOptions& o) {
  if (!std::isfinite(o.temperature) || o.temperature < 0) {
    return OutOfRange("temperature", o.temperature, "0 or above");
  }
  if (!(o.top_p > 0 && o.top_p <= 1)) {
    return OutOfRange("top_p", o.top_p, "above 0 and at most 1");
  }
  if (!(o.min_p >= 0 && o.min_p <= 1)) return OutOfRange("min_p", o.min_p, "between 0 and 1");
  if (!(o.penalty > 0 && std::isfinite(o.penalty))) {
    return OutOfRange("penalty", o.penalty, "above 0");
  }
  return absl::OkStatus();
}

bool DeviceCanSample(const SamplerOptions& options) {
  return options.temperature == 0 || (options.top_k >= 1 && options.top_k <= kMaxCandidates);
}

absl::StatusOr<Sampler> Sampler::Create(const SamplerOptions& options) {
  PTXSMITH_RETURN_IF_ERROR(CheckSampling(options));
  return Sampler(options);
}

void Sampler::Remember(TokenId token) {
  if (recent_.size() < kSampleHistory) {
    recent_.push_back(token);
  } else {
    recent_[remembered_ % kSampleHistory] = token;
  }
  ++remembered_;
}

absl::StatusOr<TokenId> Sampler::Sample(absl::Span<const float> logits) {
  PTXSMITH_RETURN_IF_ERROR(Largest(logits).status());
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    candidates_.push_back({static_cast<TokenId>(i), logits[i]});
  }
  Penalize();
  const Candidate best =
      *std::max_element(candidates_.begin(), candidates_.end(),
                        [](const Candidate& a, const Candidate& b) { return a.logit < b.logit; });
  TokenId choice = best.id;
  if (options_.temperature > 0) {
    KeepTopK();
    const bool few = candidates_.size() <= kMaxCandidates;
    few ? KeepTopP<float>(best.logit) : KeepTopP<double>(best.logit);
    choice = few ? Draw<float>(best.logit) : Draw<double>(best.logit);
  }
  Remember(choice);
  return choice;
}

void Sampler::Penalize() {
  if (options_.penalty == 1) return;
  for (auto token = recent_.begin(); token != recent_.end(); ++token) {
    if (std::find(recent_.begin(), token, *token) != token) continue;  // once each
    float& logit = candidates_[*token].logit;
    logit = logit > 0 ? logit / options_.penalty : logit * options_.penalty;
  }
}

// Sorts the candidates, unless all of them are wanted: then their order does not matter.
void Sampler::KeepTopK() {
  const size_t all = candidates_.size();
  const size_t keep = options_.top_k == 0 ? all : std::min<size_t>(options_.top_k, all);
  if (keep == all && options_.top_p == 1 && options_.min_p == 0) return;
  std::partial_sort(candidates_.begin(), candidates_.begin() + keep, candidates_.end(),
                    [](const Candidate& a, const Candidate& b) {
                      return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
                    });
  candidates_.resize(keep);
}

template <class Sum>
void Sampler::KeepTopP(float largest) {
  if (options_.top_p == 1 && options_.min_p == 0) return;
  Sum sum = 0;
  for (const Candidate& c : candidates_) sum += Exp(c.logit - largest);
  const Sum enough = options_.top_p * sum;
  Sum kept = 0;
  size_t count = 0;
  for (const Candidate& c : candidates_) {
    const float p = Exp(c.logit - largest);
    if (!((kept < enough || options_.top_p == 1) && p >= options_.min_p)) break;
    kept += p;
    ++count;
  }
  candidates_.resize(count);
}

template <class Sum>
TokenId Sampler::Draw(float largest) {
  const auto weight = [&](const Candidate& c) {
    return Exp((c.logit - largest) / options_.temperature);
  };
  Sum total = 0;
  for (const Candidate& c : candidates_) total += weight(c);
  const Sum target = draws_.Next() * total;
  Sum running = 0;
  for (const Candidate& c : candidates_) {
    running += weight(c);
    if (running > target) return c.id;
  }
  return candidates_.front().id;  // the largest, should a rounding leave a rest
}

}  // namespace ptxsmith

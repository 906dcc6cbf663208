#include "model/generate.h"

#include <algorithm>
#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

// Enough to hide the way of a token to the host; what is run in vain at the end is little.
constexpr uint32_t kStepsAhead = 1;

class Stopwatch {
 public:
  double Seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

absl::string_view ToString(StopReason reason) {
  switch (reason) {
    case StopReason::kLimit:
      return "limit";
    case StopReason::kEndToken:
      return "end";
    case StopReason::kContextFull:
      return "context";
    case StopReason::kStopped:
      return "stopped";
  }
  return "unknown";
}

absl::StatusOr<GenerationStats> Generate(Transformer& model, const Tokenizer& tokenizer,
                                         absl::Span<const TokenId> prompt,
                                         const GenerationOptions& options, const TextSink& sink) {
  if (prompt.empty()) return absl::InvalidArgumentError("the prompt has no tokens");
  if (prompt.size() > model.context() - model.length()) {
    return absl::OutOfRangeError(
        absl::StrCat("the prompt has ", prompt.size(), " tokens; the context of ", model.context(),
                     " positions has room for ", model.context() - model.length()));
  }
  PTXSMITH_ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(options.sampling));
  const bool on_device = DeviceCanSample(options.sampling);
  PTXSMITH_RETURN_IF_ERROR(
      model.SetSampling(on_device ? options.sampling : SamplerOptions(), prompt));
  for (const TokenId token : prompt) sampler.Remember(token);
  const auto pick = [&]() -> absl::StatusOr<TokenId> {
    if (on_device) return model.Greedy();
    PTXSMITH_ASSIGN_OR_RETURN(const absl::Span<const float> logits, model.Logits());
    return sampler.Sample(logits);
  };
  const auto stopped = [&] { return options.stop && options.stop(); };

  GenerationStats stats;
  const Stopwatch prompt_watch;
  const uint32_t start = model.length();
  PTXSMITH_RETURN_IF_ERROR(model.Prompt(prompt, /*want_logits=*/true, [&] { return !stopped(); }));
  stats.prompt_tokens = model.length() - start;
  if (stats.prompt_tokens < prompt.size()) {
    stats.reason = StopReason::kStopped;
    return stats;
  }
  PTXSMITH_ASSIGN_OR_RETURN(TokenId token, pick());
  stats.prompt_seconds = prompt_watch.Seconds();
  if (options.max_tokens == 0) return stats;

  // Steps run beyond the token in hand, and those there will be in all unless something ends them.
  uint32_t steps = 0;
  uint32_t most_steps = std::min(options.max_tokens - 1, model.context() - model.length());
  StreamDecoder decoder(tokenizer);
  const Stopwatch watch;
  for (;;) {
    if (tokenizer.IsEnd(token) && !options.ignore_end) {
      stats.reason = StopReason::kEndToken;
      break;
    }
    sink(decoder.Next(token));
    stats.pending = token;
    if (++stats.generated_tokens == options.max_tokens) break;
    const bool full = stats.generated_tokens > most_steps;
    if (full && !options.keep) {
      stats.reason = StopReason::kContextFull;
      break;
    }
    if (stopped()) {
      stats.reason = StopReason::kStopped;
      break;
    }
    if (full) {
      const uint32_t keep = std::min(*options.keep, model.length() - 1);
      const uint32_t drop = (model.length() - keep + 1) / 2;
      PTXSMITH_RETURN_IF_ERROR(model.Shift(keep, drop));
      PTXSMITH_RETURN_IF_ERROR(model.Step(token, /*want_logits=*/true));
      PTXSMITH_ASSIGN_OR_RETURN(token, pick());
      ++steps;
      most_steps = std::min(options.max_tokens - 1, most_steps + drop);
    } else if (on_device) {
      // The device has its next step before this one's token is looked at.
      while (steps < std::min(stats.generated_tokens + kStepsAhead, most_steps)) {
        PTXSMITH_RETURN_IF_ERROR(model.StepGreedy());
        ++steps;
      }
      PTXSMITH_ASSIGN_OR_RETURN(token, model.NextGreedy());
    } else {
      PTXSMITH_RETURN_IF_ERROR(model.Step(token, /*want_logits=*/true));
      PTXSMITH_ASSIGN_OR_RETURN(token, pick());
    }
    stats.pending.reset();
  }
  model.DropAhead();
  sink(decoder.Finish());
  stats.generation_seconds = watch.Seconds();
  return stats;
}

}  // namespace ptxsmith

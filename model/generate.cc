#include "model/generate.h"

#include <chrono>
#include <string>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

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
  const auto pick = [&]() -> absl::StatusOr<TokenId> {
    if (options.sampling.temperature == 0) return model.Greedy();
    PTXSMITH_ASSIGN_OR_RETURN(const absl::Span<const float> logits, model.Logits());
    return sampler.Sample(logits);
  };

  const auto stopped = [&] { return options.stop && options.stop(); };

  GenerationStats stats;
  const Stopwatch prompt_watch;
  for (const TokenId token : prompt) {
    if (stopped()) {
      stats.reason = StopReason::kStopped;
      return stats;
    }
    const bool last = ++stats.prompt_tokens == prompt.size();
    PTXSMITH_RETURN_IF_ERROR(model.Step(token, /*want_logits=*/last));
  }
  PTXSMITH_ASSIGN_OR_RETURN(TokenId token, pick());
  stats.prompt_seconds = prompt_watch.Seconds();
  if (options.max_tokens == 0) return stats;

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
    if (model.length() == model.context()) {
      stats.reason = StopReason::kContextFull;
      break;
    }
    if (stopped()) {
      stats.reason = StopReason::kStopped;
      break;
    }
    PTXSMITH_RETURN_IF_ERROR(model.Step(token, /*want_logits=*/true));
    stats.pending.reset();
    PTXSMITH_ASSIGN_OR_RETURN(token, pick());
  }
  sink(decoder.Finish());
  stats.generation_seconds = watch.Seconds();
  return stats;
}

}  // namespace ptxsmith

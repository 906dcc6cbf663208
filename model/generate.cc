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

  GenerationStats stats;
  stats.prompt_tokens = static_cast<uint32_t>(prompt.size());
  const Stopwatch prompt_watch;
  for (size_t i = 0; i < prompt.size(); ++i) {
    const bool last = i + 1 == prompt.size();
    PTXSMITH_RETURN_IF_ERROR(model.Step(prompt[i], last && options.max_tokens > 0));
  }
  if (options.max_tokens == 0) return stats;
  PTXSMITH_ASSIGN_OR_RETURN(TokenId token, pick());
  stats.prompt_seconds = prompt_watch.Seconds();

  StreamDecoder decoder(tokenizer);
  const Stopwatch watch;
  for (;;) {
    if (tokenizer.IsEnd(token) && !options.ignore_end) break;
    ++stats.generated_tokens;
    if (!sink(decoder.Next(token))) break;
    if (stats.generated_tokens == options.max_tokens) break;
    if (model.length() == model.context()) {
      stats.context_full = true;
      break;
    }
    PTXSMITH_RETURN_IF_ERROR(model.Step(token, /*want_logits=*/true));
    PTXSMITH_ASSIGN_OR_RETURN(token, pick());
  }
  stats.generation_seconds = watch.Seconds();
  sink(decoder.Finish());
  return stats;
}

}  // namespace ptxsmith

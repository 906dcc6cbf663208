#include "model/perplexity.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {

double NegativeLogLikelihood(absl::Span<const float> logits, TokenId token) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum) - logits[token];
}

absl::StatusOr<absl::Span<const TokenId>> ScoredTokens(absl::Span<const TokenId> tokens,
                                                       const PerplexityOptions& options) {
  uint64_t windows = options.window == 0 ? 0 : tokens.size() / options.window;
  if (options.windows != 0) windows = std::min<uint64_t>(windows, options.windows);
  if (windows == 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the text has ", tokens.size(), " tokens, less than one window of ", options.window));
  }
  return tokens.first(windows * options.window);
}

absl::StatusOr<PerplexityResult> Perplexity(Transformer& model, absl::Span<const TokenId> tokens,
                                            const PerplexityOptions& options,
                                            const PerplexityProgress& progress) {
  if (options.window < 2 || options.window > model.context()) {
    return absl::InvalidArgumentError(absl::StrCat("a window of ", options.window,
                                                   " tokens: must be from 2 to the context of ",
                                                   model.context()));
  }
  if (options.skip > options.window - 2) {
    return absl::InvalidArgumentError(absl::StrCat("a window of ", options.window,
                                                   " tokens has nothing to score behind the first ",
                                                   options.skip, " predictions"));
  }
  PTXSMITH_ASSIGN_OR_RETURN(tokens, ScoredTokens(tokens, options));
  const uint64_t windows = tokens.size() / options.window;
  const uint32_t vocab = model.config().vocab_size;
  for (const TokenId token : tokens) {
    if (token >= vocab) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", token, " is beyond the vocabulary of ", vocab));
    }
  }
  const uint64_t total = windows * (options.window - 1 - options.skip);
  double sum = 0;
  double squares = 0;
  uint64_t done = 0;
  std::vector<TokenId> window(options.window);
  for (uint64_t w = 0; w < windows; ++w) {
    model.Reset();
    std::copy_n(tokens.begin() + w * options.window, options.window, window.begin());
    if (options.bos) window[0] = *options.bos;
    uint32_t i = 0;
    const auto score = [&](absl::Span<const float> logits) -> absl::Status {
      const uint32_t at = i++;
      if (at < options.skip) return absl::OkStatus();
      const double nll = NegativeLogLikelihood(logits, window[at + 1]);
      if (!std::isfinite(nll)) {
        return absl::InternalError(
            absl::StrCat("window ", w, ", token ", at, ": the logits are not finite"));
      }
      if (options.logits) PTXSMITH_RETURN_IF_ERROR(options.logits(logits));
      sum += nll;
      squares += nll * nll;
      ++done;
      if (progress) progress(done, total, sum / static_cast<double>(done));
      return absl::OkStatus();
    };
    const auto read = absl::MakeConstSpan(window).first(options.window - 1);
    if (options.prompts) {
      PTXSMITH_RETURN_IF_ERROR(model.PromptLogits(read, score));
      continue;
    }
    for (const TokenId token : read) {
      PTXSMITH_RETURN_IF_ERROR(model.Step(token, /*want_logits=*/true));
      PTXSMITH_ASSIGN_OR_RETURN(const absl::Span<const float> logits, model.Logits());
      PTXSMITH_RETURN_IF_ERROR(score(logits));
    }
  }
  const double n = static_cast<double>(done);
  const double mean = sum / n;
  const double variance = std::max(0.0, squares / n - mean * mean);
  return PerplexityResult{
      static_cast<uint32_t>(windows), options.window, done, mean, std::exp(mean),
      std::sqrt(variance / n)};
}

}  // namespace ptxsmith

// How well a model predicts a text. Used by `ptxsmith perplexity` and the tests against reference
// logits.
//
// The text's tokens are cut into consecutive windows of `window` tokens. Each window starts with an
// empty context and scores the predictions of its next tokens, all or those behind the first
// `skip`; the result is the mean of -log softmax(logits)[next] over all of them, and its
// exponential, the perplexity. As llama-perplexity counts: {256, 16, 128, bos}.
//
//   PTXSMITH_ASSIGN_OR_RETURN(PerplexityResult r, Perplexity(*model, ids, {256, 16}, progress));
#ifndef PTXSMITH_MODEL_PERPLEXITY_H_
#define PTXSMITH_MODEL_PERPLEXITY_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/transformer.h"

namespace ptxsmith {

struct PerplexityOptions {
  uint32_t window = 256;                      // tokens per window, at least 2
  uint32_t windows = 0;                       // at most so many; 0: as many as the text has
  uint32_t skip = 0;                          // predictions of each window that are not scored
  std::optional<TokenId> bos = std::nullopt;  // read in place of each window's first token
  bool prompts = false;  // run each window as a prompt instead of token by token
  // Sees the logits of every scored token, in order; an error ends the run. May be empty.
  std::function<absl::Status(absl::Span<const float> logits)> logits;
};

// The tokens that Perplexity looks at: whole windows. InvalidArgument when there is not one.
absl::StatusOr<absl::Span<const TokenId>> ScoredTokens(absl::Span<const TokenId> tokens,
                                                       const PerplexityOptions& options);

struct PerplexityResult {
  uint32_t windows = 0;
  uint32_t window = 0;
  uint64_t tokens = 0;        // scored
  double nll = 0;             // mean negative log-likelihood, natural logarithm
  double perplexity = 0;      // exp(nll)
  double standard_error = 0;  // of nll, over the scored tokens
};

// -log softmax(logits)[token] in double precision. REQUIRES: token < logits.size().
double NegativeLogLikelihood(absl::Span<const float> logits, TokenId token);

// Called after each scored token with the count so far, the total and the mean so far.
using PerplexityProgress = std::function<void(uint64_t done, uint64_t total, double nll)>;

// InvalidArgument when the text has less than one window, nothing of a window is scored, it is
// beyond the context, or a token beyond the vocabulary. Resets the model.
absl::StatusOr<PerplexityResult> Perplexity(Transformer& model, absl::Span<const TokenId> tokens,
                                            const PerplexityOptions& options,
                                            const PerplexityProgress& progress);

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_PERPLEXITY_H_

// Chooses the next token from a model's logits: greedily, or at random from the likely ones. Used
// by generation.
//
//   PTXSMITH_ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create({.temperature = 0.8f, .seed = 7}));
//   PTXSMITH_ASSIGN_OR_RETURN(TokenId next, sampler.Sample(logits));
//
// The steps are llama.cpp's, in its order: keep the top_k largest logits; of these the fewest whose
// probabilities sum to top_p; divide by the temperature; draw. Equal options, seed and logits give
// equal tokens on every machine whose exp() agrees.
//
// Thread-safety: belongs to one thread.
#ifndef PTXSMITH_MODEL_SAMPLER_H_
#define PTXSMITH_MODEL_SAMPLER_H_

#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/token.h"

namespace ptxsmith {

struct SamplerOptions {
  float temperature = 0;  // 0: the largest logit, at a tie the lowest id
  uint32_t top_k = 40;    // 0: all
  float top_p = 0.95f;    // (0, 1]; 1: all
  uint64_t seed = 0;
};

class Sampler {
 public:
  // InvalidArgument names an option out of range.
  static absl::StatusOr<Sampler> Create(const SamplerOptions& options);

  // InvalidArgument when `logits` is empty; Internal when one is NaN or +inf, or all are -inf
  // (which excludes a token): the model computed nonsense.
  absl::StatusOr<TokenId> Sample(absl::Span<const float> logits);

 private:
  struct Candidate {
    TokenId id;
    float logit;
  };

  explicit Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {}
  void KeepTopK();
  void KeepTopP(float largest);

  SamplerOptions options_;
  std::mt19937_64 random_;  // its sequence is fixed by the standard
  std::vector<Candidate> candidates_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_SAMPLER_H_

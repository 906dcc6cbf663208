// Chooses the next token from a model's logits: greedily, or at random from the likely ones. On the
// host; Transformer::SetSampling makes the same choices on the device. Used by generation.
//
//   PTXSMITH_ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create({.temperature = 0.8f, .seed = 7}));
//   PTXSMITH_ASSIGN_OR_RETURN(TokenId next, sampler.Sample(logits));
//
// The steps are llama.cpp's, in its order: lower the logits of the last tokens; keep the top_k
// largest; of these the fewest whose probabilities sum to top_p; of these those with at least min_p
// of the largest probability; divide by the temperature; draw. Equal options, seed and logits give
// equal tokens: with up to 64 candidates the arithmetic is, operation by operation, that of
// ptx_templates/sample.h.
//
// Thread-safety: belongs to one thread.
#ifndef PTXSMITH_MODEL_SAMPLER_H_
#define PTXSMITH_MODEL_SAMPLER_H_

#include <cstdint>
#include <random>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/token.h"

namespace ptxsmith {

struct SamplerOptions {
  float temperature = 0;  // 0: the largest logit, at a tie the lowest id
  uint32_t top_k = 40;    // 0: all
  float top_p = 0.95f;    // (0, 1]; 1: all
  float min_p = 0;        // [0, 1]; 0: all
  float penalty = 1;      // above 0; what logits of the last 64 tokens are divided by; 1: none
  uint64_t seed = 0;
};

// InvalidArgument names an option out of range.
absl::Status CheckSampling(const SamplerOptions& options);
// Whether the device can choose so: greedily, or among up to 64 candidates.
bool DeviceCanSample(const SamplerOptions& options);

// The numbers in [0, 1) that the draws of a seed take, one after the other.
class Draws {
 public:
  explicit Draws(uint64_t seed) : random_(seed) {}
  float Next() { return static_cast<float>(random_() >> 40) * 0x1p-24f; }

 private:
  std::mt19937_64 random_;  // its sequence is fixed by the standard
};

class Sampler {
 public:
  // InvalidArgument names an option out of range.
  static absl::StatusOr<Sampler> Create(const SamplerOptions& options);

  // InvalidArgument when `logits` is empty; Internal when one is NaN or +inf, or all are -inf
  // (which excludes a token): the model computed nonsense.
  // The choice is one of the last tokens then.
  absl::StatusOr<TokenId> Sample(absl::Span<const float> logits);

  // Makes `token` the last one, as if it had been chosen: for those of a prompt.
  void Remember(TokenId token);

 private:
  struct Candidate {
    TokenId id;
    float logit;
  };

  explicit Sampler(const SamplerOptions& options) : options_(options), draws_(options.seed) {}
  void Penalize();
  void KeepTopK();
  // Sums are made in type Sum.
  template <class Sum>
  void KeepTopP(float largest);
  template <class Sum>
  TokenId Draw(float largest);

  SamplerOptions options_;
  Draws draws_;
  std::vector<Candidate> candidates_;
  std::vector<TokenId> recent_;  // a ring
  size_t remembered_ = 0;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_SAMPLER_H_

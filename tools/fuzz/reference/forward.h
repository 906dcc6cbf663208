// A whole transformer, token by token, from the operations of ops.h: what the logits of a model on
// a device are compared with. Slow (one multiplication at a time) and independent of the kernels:
// it shares the decoded weights with nobody.
//
//   Forward forward(model);
//   for (uint32_t token : prompt) logits = forward.Step(token);
//
// Every operation is computed in double precision and its result rounded to f32, as any f32 device
// stores it; keys and values are rounded to f16, as the cache holds them.
//
// One Forward per thread.
#ifndef PTXSMITH_TOOLS_FUZZ_REFERENCE_FORWARD_H_
#define PTXSMITH_TOOLS_FUZZ_REFERENCE_FORWARD_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "tools/fuzz/reference/ops.h"

namespace ptxsmith::reference {

using Weights = std::vector<Weight>;

// The weights of a layer normalisation, or of a root-mean-square one, which has no bias.
struct Norm {
  std::vector<float> weight, bias;
};

// Rows of as many weights as the input has elements; no bias: none is added.
struct Linear {
  Weights weight;
  std::vector<float> bias;
};

// What a model does not have is empty.
struct Model {
  struct Layer {
    Norm attn_norm;
    Linear q, k, v;
    Norm q_norm, k_norm;  // of each head
    Linear attn_output;
    Norm attn_post_norm;
    Norm ffn_norm;  // none: the feed-forward reads attn_norm's result, beside attention
    Linear gate, up, down;
    Norm ffn_post_norm;
    size_t window = 0;  // positions a query sees; 0: all
  };
  enum class FeedForward { kSwiGlu, kGeGlu, kGelu };

  bool layer_norm = false;  // else root-mean-square
  FeedForward feed_forward = FeedForward::kSwiGlu;
  double embedding_scale = 1.0;
  // Every matrix reads Exchanged() activations, and the norm's root divides its result: what
  // decode_token rounds, for models of root-mean-square norms.
  bool tiled = false;
  double logit_softcap = 0.0;  // 0: none
  AttentionShape attention;
  RopePairs rope_pairs = RopePairs::kAdjacent;
  double rope_base = 10000.0;
  size_t rope_dims = 0;
  std::vector<float> rope_factors;  // rope_dims / 2, or empty
  double eps = 0.0;
  Weights token_embedding;
  std::vector<Layer> layers;
  Norm output_norm;
  Linear output;
};

class Forward {
 public:
  // `model` must outlive this.
  explicit Forward(const Model& model) : model_(model), caches_(model.layers.size()) {}

  // The logits after `token` at the next position. REQUIRES: the token is in the vocabulary.
  std::vector<double> Step(uint32_t token);

  // [position][kv_heads][head_dim], as the f16 cache holds them.
  struct Cache {
    std::vector<float> k, v;
  };

  const Cache& cache(size_t layer) const { return caches_[layer]; }

 private:
  std::vector<float> Normalised(const std::vector<float>& x, const Norm& norm) const;
  std::vector<float> Input(const std::vector<float>& x, const Norm& norm) const;
  std::vector<float> PassedOn(const std::vector<float>& x) const;
  std::vector<float> Projected(const std::vector<float>& x, const Linear& linear) const;
  std::vector<float> Heads(const std::vector<float>& h, const Linear& linear,
                           const Norm& norm) const;
  std::vector<float> Attend(const Model::Layer& layer, const std::vector<float>& h, Cache& cache);
  std::vector<float> FeedForward(const Model::Layer& layer, const std::vector<float>& h) const;

  const Model& model_;
  std::vector<Cache> caches_;
  uint32_t position_ = 0;
};

}  // namespace ptxsmith::reference

#endif  // PTXSMITH_TOOLS_FUZZ_REFERENCE_FORWARD_H_

// A whole llama-shaped transformer, token by token, from the operations of ops.h: what the logits
// of a model on a device are compared with. Slow (one multiplication at a time) and independent of
// the kernels: it shares the decoded weights with nobody.
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

// Matrices are rows of as many weights as their input has elements.
struct Model {
  struct Layer {
    std::vector<float> attn_norm;
    Weights q, k, v, attn_output;
    std::vector<float> q_bias, k_bias, v_bias;  // or empty
    std::vector<float> ffn_norm;
    Weights gate, up, down;
  };

  AttentionShape attention;
  RopePairs rope_pairs = RopePairs::kAdjacent;
  double rope_base = 10000.0;
  size_t rope_dims = 0;
  std::vector<float> rope_factors;  // rope_dims / 2, or empty
  double eps = 0.0;
  Weights token_embedding;  // rows of output_norm.size() weights
  std::vector<Layer> layers;
  std::vector<float> output_norm;
  Weights output;
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
  std::vector<float> Attend(const Model::Layer& layer, const std::vector<float>& h, Cache& cache);

  const Model& model_;
  std::vector<Cache> caches_;
  uint32_t position_ = 0;
};

}  // namespace ptxsmith::reference

#endif  // PTXSMITH_TOOLS_FUZZ_REFERENCE_FORWARD_H_

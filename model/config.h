// The shape of a transformer, from a GGUF file's metadata, checked once: code that holds a
// ModelConfig divides, allocates and indexes by its fields without a further check. Used by the
// weight loader, the KV cache and the forward pass.
//
//   PTXSMITH_ASSIGN_OR_RETURN(ModelConfig config, ModelConfig::FromGguf(file));
//   const uint32_t q_rows = config.head_count * config.head_dim;
//
// Plain data.
#ifndef PTXSMITH_MODEL_CONFIG_H_
#define PTXSMITH_MODEL_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/gguf.h"
#include "ptx_templates/rope.h"

namespace ptxsmith {

enum class NormKind : uint8_t {
  kRms,
  kLayer,  // subtracts the mean; with a bias
};

enum class FeedForward : uint8_t {
  kSwiGlu,  // down(silu(gate x) * up x)
  kGeGlu,   // down(gelu(gate x) * up x)
  kGelu,    // down(gelu(up x))
};

struct ModelConfig {
  std::string architecture;  // "llama", "qwen2", "qwen3", "phi2" or "gemma2"
  uint32_t block_count = 0;
  uint32_t context_length = 0;  // the model was trained for
  uint32_t embedding_length = 0;
  uint32_t feed_forward_length = 0;
  uint32_t vocab_size = 0;

  uint32_t head_count = 0;
  uint32_t head_count_kv = 0;   // divides head_count
  uint32_t head_dim = 0;        // of queries and keys
  uint32_t value_length = 0;    // of values, per head
  float attention_scale = 0;    // of the scores: 1 / sqrt(head_dim) in most models
  float attention_softcap = 0;  // scores become cap tanh(score / cap); 0: they stay
  uint32_t sliding_window = 0;  // positions a query sees; 0: all
  uint32_t sliding_period = 1;  // the window holds in blocks 0, period, 2 period, ...

  uint32_t rope_dim = 0;  // leading elements of a head that rotate; even
  RopePairing rope_pairing = RopePairing::kAdjacent;
  float rope_freq_base = 0;
  std::vector<float> rope_divisors;  // of the frequency of each pair, from scaling and factors

  NormKind norm = NormKind::kRms;
  float rms_eps = 0;  // of either kind
  FeedForward feed_forward = FeedForward::kSwiGlu;
  bool qkv_bias = false;        // queries, keys and values get a bias
  bool output_bias = false;     // so do all other matrices
  bool qk_norm = false;         // each head of queries and keys is normalised before it rotates
  bool parallel_block = false;  // attention and feed-forward read the same norm, both are added
  bool post_norms = false;      // their results are normalised before they are added
  float embedding_scale = 1;    // of the embedding
  float logit_softcap = 0;      // logits become cap tanh(logit / cap); 0: they stay

  // Unimplemented names the first part of a block that llama's blocks do not have: what a lowering
  // asks which knows only those. A bias of queries, keys and values is not among them.
  absl::Status CheckPlainBlocks() const;

  // The sliding window of a block; 0: it sees all positions.
  uint32_t WindowOf(uint32_t block) const {
    return block % sliding_period == 0 ? sliding_window : 0;
  }

  // Unimplemented names an architecture or feature that is not supported. NotFound names a missing
  // key, InvalidArgument one of the wrong kind, DataLoss one whose value is impossible.
  // `context`: positions of the cache, which decide about rope_divisors in some models; 0: as many
  // as the model was trained for.
  static absl::StatusOr<ModelConfig> FromGguf(const GgufFile& file, uint32_t context = 0);
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_CONFIG_H_

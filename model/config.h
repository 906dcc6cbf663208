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

#include "absl/status/statusor.h"
#include "model/gguf.h"
#include "ptx_templates/rope.h"

namespace ptxsmith {

struct ModelConfig {
  std::string architecture;  // "llama"
  uint32_t block_count = 0;
  uint32_t context_length = 0;  // the model was trained for
  uint32_t embedding_length = 0;
  uint32_t feed_forward_length = 0;
  uint32_t vocab_size = 0;
  uint32_t head_count = 0;
  uint32_t head_count_kv = 0;  // divides head_count
  uint32_t head_dim = 0;       // of queries and keys
  uint32_t value_length = 0;   // of values, per head
  uint32_t rope_dim = 0;       // leading elements of a head that rotate; even
  RopePairing rope_pairing = RopePairing::kAdjacent;
  float rope_freq_base = 0;
  float rope_scale = 1;  // linear scaling: positions are divided by it
  float rms_eps = 0;

  // Unimplemented names an architecture or feature that is not supported. NotFound names a missing
  // key, InvalidArgument one of the wrong kind, DataLoss one whose value is impossible.
  static absl::StatusOr<ModelConfig> FromGguf(const GgufFile& file);
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_CONFIG_H_

// How a model's rotary embedding is stretched beyond the context it was first trained for, from the
// `rope.scaling.*` metadata and the tensors of factors that some files bring. Used by ModelConfig.
//
//   PTXSMITH_ASSIGN_OR_RETURN(const RopeScaling s, ReadRopeScaling(file, "qwen2.", shape));
//   rates = RopeRates(shape.dim, shape.freq_base, 1.0, s.divisors);
//
// Kinds: none; linear (Chen et al., "Extending Context Window of Large Language Models via
// Positional Interpolation", 2023); yarn (Peng et al., "YaRN", 2023): high frequencies stay, low
// ones are divided by the factor, between them is a ramp, and queries and keys grow a little;
// longrope (Ding et al., "LongRoPE", 2024): a factor for each frequency, one set for the original
// context and one for any longer.
#ifndef PTXSMITH_MODEL_ROPE_SCALING_H_
#define PTXSMITH_MODEL_ROPE_SCALING_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/gguf.h"

namespace ptxsmith {

struct RopeScaling {
  std::vector<float> divisors;  // of the frequency of each pair
  float magnitude = 1;          // of the rotated elements of queries and keys
};

struct RopeShape {
  uint32_t dim = 0;  // elements that rotate; even
  float freq_base = 0;
  uint32_t context = 0;    // the model was trained for
  uint32_t positions = 0;  // of the cache: beyond the original context the long factors hold
};

// `prefix` is that of the architecture's keys. Unimplemented names a kind that is not supported;
// DataLoss and InvalidArgument name the broken key or tensor.
absl::StatusOr<RopeScaling> ReadRopeScaling(const GgufFile& file, absl::string_view prefix,
                                            const RopeShape& shape);

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_ROPE_SCALING_H_

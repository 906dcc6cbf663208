// Models for the tests of the model room: the bundled sample, the same in other types where they
// are at hand, and random ones of any shape; each also for the reference forward pass.
//
//   ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
//   ASSERT_OK_AND_ASSIGN(const reference::Model model, ReferenceModel(file));
#ifndef PTXSMITH_TESTS_MODEL_MODELS_H_
#define PTXSMITH_TESTS_MODEL_MODELS_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/gguf.h"
#include "ptx_templates/quant_type.h"
#include "tests/model/gguf_writer.h"
#include "tools/fuzz/reference/forward.h"

namespace ptxsmith {

// The folder with further models, by the name of the environment variable that holds it.
inline constexpr char kModelsVariable[] = "PTXSMITH_TEST_MODELS";

// When set, the emulator also runs what takes it minutes.
inline constexpr char kFullVariable[] = "PTXSMITH_TEST_FULL";

// The sample model in `type` ("q4_k_m"): bundled, or sample-TYPE.gguf in the folder above, in upper
// or lower case.
std::optional<std::string> SamplePath(absl::string_view type);

// A model with weights drawn at random, on top of TinyModel(), with the tensors that files of its
// architecture have.
struct RandomModel {
  std::string architecture = "llama";
  QuantType type = QuantType::kQ8_0;       // of the matrices
  QuantType embedding = QuantType::kQ8_0;  // of the embedding
  uint32_t blocks = 2;
  uint32_t context = 24;
  uint32_t width = 64;
  uint32_t hidden = 96;
  uint32_t heads = 4;
  uint32_t kv_heads = 2;
  uint32_t head_dim = 32;
  uint32_t rope_dim = 32;
  bool tied = false;          // no output matrix: the embedding is it
  bool rope_factors = false;  // a tensor of rope_freqs
  bool fused_qkv = false;     // queries, keys and values in one tensor
  bool yarn = false;          // positions of four times the context
  bool longrope = false;      // factors for up to 8 positions and for more
  uint32_t window = 0;        // what is 0 is left to the default of the architecture
  float attention_softcap = 0;
  float logit_softcap = 0;
  uint64_t seed = 1;
};
GgufWriter Write(const RandomModel& model);

// A model that every lowering takes, with biases and two types of weights.
inline RandomModel Qwen2Model(uint32_t hidden = 256) {
  return {.architecture = "qwen2",
          .type = QuantType::kQ4K,
          .embedding = QuantType::kQ6K,
          .width = 256,
          .hidden = hidden,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 64,
          .rope_dim = 64,
          .seed = 3};
}

// The model of `file` with decoded weights. `file` may go away. Reads the metadata by itself: what
// an architecture means is written down here a second time, to be compared with config.cc.
absl::StatusOr<reference::Model> ReferenceModel(const GgufFile& file);

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_MODEL_MODELS_H_

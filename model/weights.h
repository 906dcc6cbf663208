// The weights of a llama-shaped model on a device: every tensor checked against the configuration,
// then uploaded into one allocation. Used by Transformer.
//
//   PTXSMITH_ASSIGN_OR_RETURN(Weights weights, Weights::Load(file, config, device, stream));
//   const Matrix& q = weights.layers()[0].q;    // q.n rows of q.k weights at q.data
//
// Thread-safety: immutable after Load.
#ifndef PTXSMITH_MODEL_WEIGHTS_H_
#define PTXSMITH_MODEL_WEIGHTS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config.h"
#include "model/gguf.h"
#include "ptx_templates/quant_type.h"
#include "runtime/device.h"

namespace ptxsmith {

// n rows of k weights in the blocks of `type`; a vector is a matrix of one row.
struct Matrix {
  QuantType type = QuantType::kF32;
  uint32_t k = 0;
  uint32_t n = 0;
  BufferView data;
};

struct LayerWeights {
  Matrix attn_norm, q, k, v, attn_output;
  Matrix ffn_norm, gate, up, down;
};

class Weights {
 public:
  // Called with the bytes uploaded so far and in all.
  using Progress = std::function<void(uint64_t done, uint64_t total)>;

  // NotFound names a missing tensor, InvalidArgument one of the wrong shape, Unimplemented one of a
  // type no kernel reads; ResourceExhausted when the device is too small. Nothing is allocated
  // before all tensors have been checked. `progress` may be empty.
  static absl::StatusOr<Weights> Load(const GgufFile& file, const ModelConfig& config,
                                      Device& device, Stream& stream, const Progress& progress);

  const Matrix& token_embedding() const { return token_embedding_; }
  const Matrix& output_norm() const { return output_norm_; }
  const Matrix& output() const { return output_; }  // the embedding when the model ties them
  const std::vector<LayerWeights>& layers() const { return layers_; }
  uint64_t bytes() const { return arena_.bytes(); }
  // What a token reads of them: all but the embedding, of which it takes one row.
  uint64_t bytes_per_token() const {
    const bool tied = output_.data.ptr == token_embedding_.data.ptr;
    return arena_.bytes() - (tied ? 0 : token_embedding_.data.bytes);
  }

 private:
  Weights() = default;

  Buffer arena_;
  Matrix token_embedding_;
  Matrix output_norm_;
  Matrix output_;
  std::vector<LayerWeights> layers_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_WEIGHTS_H_

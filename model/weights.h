// The weights of a model on a device: every tensor checked against the configuration, then uploaded
// into one allocation. Used by Transformer.
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

// n rows of k weights in the blocks of `type`; a vector is a matrix of one row, a part that the
// model does not have a matrix of none.
struct Matrix {
  QuantType type = QuantType::kF32;
  uint32_t k = 0;
  uint32_t n = 0;
  BufferView data;

  bool exists() const { return n > 0; }
};

struct LayerWeights {
  Matrix attn_norm, attn_norm_bias;
  Matrix q, k, v;  // may be parts of one tensor
  Matrix q_bias, k_bias, v_bias;
  Matrix q_norm, k_norm;  // of each head
  Matrix attn_output, attn_output_bias;
  Matrix attn_post_norm;
  Matrix ffn_norm;
  Matrix gate;
  Matrix up, up_bias;
  Matrix down, down_bias;
  Matrix ffn_post_norm;
};

class WeightPlan;

class Weights {
 public:
  // Called with the bytes uploaded so far and in all.
  using Progress = std::function<void(uint64_t done, uint64_t total)>;

  // NotFound names a missing tensor, InvalidArgument one of the wrong shape, Unimplemented one of a
  // type no kernel reads, or one that the architecture does not have: what it means for the result
  // is unknown. ResourceExhausted when the device is too small. Nothing is allocated before all
  // tensors have been checked. `progress` may be empty.
  static absl::StatusOr<Weights> Load(const GgufFile& file, const ModelConfig& config,
                                      Device& device, Stream& stream, const Progress& progress);

  // What Load would find wrong with the tensors; needs no device.
  static absl::Status Check(const GgufFile& file, const ModelConfig& config);

  const Matrix& token_embedding() const { return token_embedding_; }
  const Matrix& output_norm() const { return output_norm_; }
  const Matrix& output_norm_bias() const { return output_norm_bias_; }
  const Matrix& output() const { return output_; }  // the embedding when the model ties them
  const Matrix& output_bias() const { return output_bias_; }
  const std::vector<LayerWeights>& layers() const { return layers_; }
  uint64_t bytes() const { return arena_.bytes(); }
  // What a token reads of them: all but the embedding, of which it takes one row.
  uint64_t bytes_per_token() const {
    const bool tied = output_.data.ptr == token_embedding_.data.ptr;
    return arena_.bytes() - (tied ? 0 : token_embedding_.data.bytes);
  }

 private:
  Weights() = default;
  // Checks every tensor and notes what goes where.
  absl::Status MakePlan(const ModelConfig& config, WeightPlan& plan);

  Buffer arena_;
  Matrix token_embedding_;
  Matrix output_norm_, output_norm_bias_;
  Matrix output_, output_bias_;
  std::vector<LayerWeights> layers_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_WEIGHTS_H_

// A llama-shaped transformer on a device: one token in, logits out. Kernels are generated, compiled
// and bound when it is loaded; a step only enqueues them.
//
//   PTXSMITH_ASSIGN_OR_RETURN(auto model, Transformer::Load(file, cache, {.context = 512}));
//   PTXSMITH_RETURN_IF_ERROR(model->Step(token, /*want_logits=*/true));
//   PTXSMITH_ASSIGN_OR_RETURN(TokenId next, model->Greedy());
//
// What changes from token to token (the token and its position) lies in device memory that the
// kernels read, so launches stay as they were bound. A step allocates nothing.
//
// Thread-safety: belongs to one thread.
#ifndef PTXSMITH_MODEL_TRANSFORMER_H_
#define PTXSMITH_MODEL_TRANSFORMER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/token.h"
#include "model/weights.h"
#include "runtime/launch.h"
#include "runtime/module_cache.h"

namespace ptxsmith {

struct TransformerOptions {
  uint32_t context = 0;  // positions of the cache; 0: what the model was trained for
  Weights::Progress progress;
};

class Transformer {
 public:
  // Errors as of ModelConfig and Weights; InvalidArgument when `context` exceeds the model's
  // or what kernels support.
  static absl::StatusOr<std::unique_ptr<Transformer>> Load(const GgufFile& file, ModuleCache& cache,
                                                           const TransformerOptions& options);

  // Runs `token` at position length(), which then grows by one. OutOfRange when the context is
  // full, InvalidArgument for a token beyond the vocabulary; both leave everything as it was.
  // Logits cost the largest matrix of small models: ask for them only when needed.
  absl::Status Step(TokenId token, bool want_logits);

  // Of the last step, which must have wanted logits. Waits for the device. The span is valid until
  // the next call.
  absl::StatusOr<absl::Span<const float>> Logits();
  // The index of the largest of them, found on the device: four bytes travel.
  absl::StatusOr<TokenId> Greedy();

  // Forgets all positions.
  void Reset() { length_ = 0; }

  uint32_t length() const { return length_; }    // positions filled
  uint32_t context() const { return context_; }  // positions there are
  const ModelConfig& config() const { return config_; }
  uint64_t weight_bytes() const { return weights_.bytes(); }

 private:
  // The launches of one layer in the order of the computation; x is the residual stream.
  struct Layer {
    BoundLaunch attn_norm;         // h = norm(x)
    BoundLaunch q, k, v;           // projections of h
    BoundLaunch rope_q, rope_k;    // rotated by the position
    BoundLaunch kv_append;         // into the cache
    BoundLaunch attention;         // o = softmax(q K) V
    BoundLaunch attn_output;       // h = W o
    BoundLaunch attn_residual;     // x += h
    BoundLaunch ffn_norm;          // h = norm(x)
    BoundLaunch gate, up, swiglu;  // g = silu(W h) * (V h)
    BoundLaunch down;              // h = U g
    BoundLaunch ffn_residual;      // x += h
    absl::Status Forward(const Stream& stream) const;
  };

  // Device memory of one step. One allocation each, so that the emulator sees every overrun.
  struct Workspace {
    Buffer inputs;  // token and position, u32 each
    Buffer x, h, q, k, v, o, gate, up, g, logits, greedy;

    BufferView token() const { return BufferView(inputs).Slice(0, 4); }
    BufferView position() const { return BufferView(inputs).Slice(4, 4); }
  };

  Transformer(Weights weights, const ModelConfig& config)
      : config_(config), weights_(std::move(weights)) {}
  absl::Status Allocate(Device& device);
  absl::Status UploadRopeRates(const GgufFile& file, Device& device);
  absl::Status BindAll(ModuleCache& cache);
  absl::StatusOr<Layer> BindLayer(ModuleCache& cache, uint32_t index);

  ModelConfig config_;
  Weights weights_;
  uint32_t context_ = 0;
  uint32_t length_ = 0;
  bool has_logits_ = false;

  Workspace work_;
  Buffer rope_rates_;
  Buffer kv_cache_;        // per layer keys, then values: [kv_heads][context][head_dim] f16 each
  uint64_t kv_bytes_ = 0;  // of the keys of one layer
  Stream stream_;

  BoundLaunch embed_;
  std::vector<Layer> layers_;
  BoundLaunch output_norm_, output_, argmax_;

  // Tokens and positions on their way to the device, one place per position: a step need not wait
  // for the copies of the steps before it.
  struct StepInputs {
    uint32_t token;
    uint32_t position;
  };
  std::vector<StepInputs> step_inputs_;
  std::vector<float> logits_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_TRANSFORMER_H_

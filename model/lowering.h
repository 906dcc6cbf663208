// From the model to kernels: a lowering turns the shape of a step into its launches. The model is
// the same for all of them; which kernels compute it, and in what layout the weights and everything
// between lie, is a lowering's own business. Used by Transformer.
//
//   PTXSMITH_ASSIGN_OR_RETURN(std::unique_ptr<Lowering> lowering, NewPlainLowering(parts));
//   PTXSMITH_ASSIGN_OR_RETURN(Step step, lowering->Lower({.rows = 1}));
//
// To add one: implement Lowering (plain_lowering.cc is the model to follow), and choose it in
// Transformer::Load. What every step must do: read io.tokens, io.positions and, when the cache has
// several slots, io.slots; put keys and values into the cache in its layout; leave f32 logits and,
// with `pick`, the tokens chosen where StepIo says, and advance to them.
//
// Thread-safety: belongs to one thread. Lifetime: the parts must outlive the lowering, and the
// lowering its steps.
#ifndef PTXSMITH_MODEL_LOWERING_H_
#define PTXSMITH_MODEL_LOWERING_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/config.h"
#include "model/gpu_profile.h"
#include "model/step.h"
#include "model/step_memory.h"
#include "model/weights.h"
#include "runtime/module_cache.h"

namespace ptxsmith {

// How the activations of exact steps enter the products of quantised weights.
enum class Activations : uint8_t {
  kF32,   // as they are; by tiled kernels as 15-bit integers, which is nearly the same
  kInt8,  // by tiled kernels as 8-bit integers, by others as they are
  kQ8_1,  // rounded to 8 bits by blocks of 32, once for all that read them: integer dot products,
          // as llama.cpp's
};

// What a lowering works with.
struct ModelParts {
  const ModelConfig& config;
  const Weights& weights;
  const KvCache& cache;
  const StepIo& io;
  BufferView rope_rates;  // RopeRates()
  ModuleCache& modules;
  const GpuProfile& profile;
  Activations activations = Activations::kF32;
};

class Lowering {
 public:
  virtual ~Lowering() = default;

  virtual absl::string_view name() const = 0;  // "plain", for reports

  // Prompts of up to so many tokens are faster here than with weights expanded for them.
  virtual uint32_t prompt_rows() const { return 0; }

  // InvalidArgument names a shape beyond what was allocated. Slow: steps are made once and kept.
  virtual absl::StatusOr<Step> Lower(const StepShape& shape) = 0;

  // InvalidArgument unless the step has 1 to `most` rows, and room for the logits it leaves.
  static absl::Status CheckShape(const StepIo& io, const StepShape& shape, uint32_t most);

  // Appends what follows the logits of `rows` rows: the choice of the likeliest tokens and the
  // advance to them. For those whose kernels do not do it by themselves.
  static absl::Status AddPick(const ModelParts& parts, uint32_t rows, StepBuilder& builder);
};

// Kernels over the weights as they are in the file, one for each operation or small group of them.
// Runs every model, on every device.
absl::StatusOr<std::unique_ptr<Lowering>> NewPlainLowering(const ModelParts& parts);

// A token in one launch, at the speed at which memory gives the weights: from sm_90 on, for models
// whose types and shapes `decode_token` takes; else Unimplemented says why not. Repacks the weights
// on the device and waits for it.
absl::StatusOr<std::unique_ptr<Lowering>> NewTiledLowering(const ModelParts& parts);

// Up to 32 rows of several sequences in one step that reads the weights once, and a row's bits
// depend on no other; short prompts, 32 tokens after 32: for caches of several slots, from sm_90
// on, for models whose types and shapes `gemm_tiles` takes; else Unimplemented says why not.
// Repacks the weights on the device and waits for it.
absl::StatusOr<std::unique_ptr<Lowering>> NewBatchLowering(const ModelParts& parts);

enum class LoweringChoice : uint8_t {
  kAuto,  // kTiled on GPUs that can, else plain; plain on the emulator, which is faster there
  kPlain,
  kTiled,  // over tiles: the tiled lowering for one sequence, the batched one for several
};
absl::StatusOr<std::unique_ptr<Lowering>> NewLowering(LoweringChoice choice,
                                                      const ModelParts& parts);

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_LOWERING_H_

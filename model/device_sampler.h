// Sampling on the device: the kernels that follow the logits of a step, what they know of each
// slot, and the random numbers they draw with. Used by Transformer; the options and the choices are
// those of sampler.h.
//
//   PTXSMITH_ASSIGN_OR_RETURN(DeviceSampler sampler, DeviceSampler::Create(parts, stream));
//   PTXSMITH_RETURN_IF_ERROR(sampler.Set(slot, options, prompt, stream));
//   PTXSMITH_RETURN_IF_ERROR(sampler.AddTo(parts, rows, builder));   // after the logits
//   PTXSMITH_RETURN_IF_ERROR(sampler.Feed(slots, stream));           // before each run
//
// Thread-safety: belongs to one thread. Lifetime: must outlive the steps it was added to.
#ifndef PTXSMITH_MODEL_DEVICE_SAMPLER_H_
#define PTXSMITH_MODEL_DEVICE_SAMPLER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/lowering.h"
#include "model/sampler.h"
#include "model/step.h"
#include "model/token.h"

namespace ptxsmith {

class DeviceSampler {
 public:
  // For every slot of the cache; all of them are greedy.
  static absl::StatusOr<DeviceSampler> Create(const ModelParts& parts, Stream& stream);

  // From its next choice on the slot samples so. `recent`: its tokens so far, for the penalty.
  // Waits for the device. InvalidArgument as of CheckSampling, Unimplemented unless
  // DeviceCanSample.
  absl::Status Set(uint32_t slot, const SamplerOptions& options, absl::Span<const TokenId> recent,
                   Stream& stream);

  // Whether the slot's choice needs these kernels: it is not the likeliest token anyway.
  bool Samples(uint32_t slot) const;

  // What the kernels of AddTo depend on; when a Set has changed it, they must be made again.
  struct Kernels {
    uint32_t candidates = 1;
    bool penalize = false;
    bool operator==(const Kernels&) const = default;
  };
  Kernels kernels() const;

  // Appends the choices from the logits of `rows` rows, of the slots in io.slots, and the advance
  // to them.
  absl::Status AddTo(const ModelParts& parts, uint32_t rows, StepBuilder& builder) const;

  // Counts a choice of each slot, and enqueues the random numbers it takes unless they are there.
  absl::Status Feed(absl::Span<const uint32_t> slots, Stream& stream);

 private:
  struct Slot {
    SamplerOptions options;
    Draws draws = Draws(0);
    uint32_t made = 0;  // choices
  };

  DeviceSampler() = default;

  std::vector<Slot> slots_;
  // Of rows, and of slots.
  BufferView values_, indices_;
  BufferView history_, made_, uniforms_, settings_;
  Workspace workspace_;
  HostBuffer host_uniforms_;  // two rounds for each slot, so that one can be on its way
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_DEVICE_SAMPLER_H_

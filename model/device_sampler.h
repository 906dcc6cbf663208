// Sampling on the device: the kernels that follow the logits of a step, and the random numbers they
// draw with. Used by Transformer; the options and the choices are those of sampler.h.
//
//   PTXSMITH_ASSIGN_OR_RETURN(DeviceSampler sampler,
//                             DeviceSampler::Create(parts, options, prompt, first_step, stream));
//   PTXSMITH_RETURN_IF_ERROR(sampler.AddTo(builder));            // after the logits
//   PTXSMITH_RETURN_IF_ERROR(sampler.Feed(step, stream));        // before each run
//
// Thread-safety: belongs to one thread. Lifetime: must outlive the steps it was added to.
#ifndef PTXSMITH_MODEL_DEVICE_SAMPLER_H_
#define PTXSMITH_MODEL_DEVICE_SAMPLER_H_

#include <cstdint>

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
  // `recent`: the tokens so far, for the penalty; `step`: choices made so far. Waits for the
  // device. InvalidArgument as of CheckSampling, Unimplemented unless DeviceCanSample.
  static absl::StatusOr<DeviceSampler> Create(const ModelParts& parts,
                                              const SamplerOptions& options,
                                              absl::Span<const TokenId> recent, uint32_t step,
                                              Stream& stream);

  // Appends the choice from the logits of one row and the advance to it.
  absl::Status AddTo(const ModelParts& parts, StepBuilder& builder) const;

  // Enqueues the random numbers for choice `step` unless they are there. Steps come in order.
  absl::Status Feed(uint32_t step, Stream& stream);

 private:
  explicit DeviceSampler(const SamplerOptions& options) : options_(options), draws_(options.seed) {}

  SamplerOptions options_;
  Draws draws_;
  uint32_t fed_ = 0;  // the first step without a number
  Buffer values_, indices_, history_, uniforms_, settings_;
  HostBuffer host_uniforms_;  // two rounds, so that one can be on its way
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_DEVICE_SAMPLER_H_

#include "model/device_sampler.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/advance.h"
#include "ptx_templates/sample.h"
#include "ptx_templates/top_k.h"

namespace ptxsmith {
namespace {

// Greedy is the likeliest of one candidate.
uint32_t CandidatesOf(const SamplerOptions& options) {
  return options.temperature == 0 ? 1 : options.top_k;
}

// The part of a slot of a buffer with `count` elements of four bytes for each.
BufferView PartOf(BufferView buffer, uint32_t slot, uint32_t count) {
  return buffer.Slice(uint64_t{slot} * count * 4, uint64_t{count} * 4);
}

}  // namespace

absl::StatusOr<DeviceSampler> DeviceSampler::Create(const ModelParts& parts, Stream& stream) {
  DeviceSampler sampler;
  const uint64_t slots = parts.cache.options().slots;
  const uint64_t rows = parts.io.logit_rows();
  sampler.slots_.resize(slots);
  Device& device = *parts.modules.device();
  PTXSMITH_ASSIGN_OR_RETURN(
      sampler.workspace_,
      Workspace::Allocate(device, "sampling",
                          {{"candidates", sampler.values_, rows * kMaxCandidates * 4},
                           {"candidate_indices", sampler.indices_, rows * kMaxCandidates * 4},
                           {"history", sampler.history_, slots * kSampleHistory * 4},
                           {"draws", sampler.made_, slots * 4},
                           {"uniforms", sampler.uniforms_, slots * kSampleUniforms * 4},
                           {"settings", sampler.settings_, slots * kSampleSettings * 4}}));
  PTXSMITH_RETURN_IF_ERROR(stream.Fill(sampler.uniforms_, 0));
  PTXSMITH_ASSIGN_OR_RETURN(sampler.host_uniforms_,
                            device.AllocateHost(slots * 2 * kSampleUniforms * sizeof(float)));
  for (uint32_t slot = 0; slot < slots; ++slot) {
    PTXSMITH_RETURN_IF_ERROR(sampler.Set(slot, {}, {}, stream));
  }
  return sampler;
}

absl::Status DeviceSampler::Set(uint32_t slot, const SamplerOptions& options,
                                absl::Span<const TokenId> recent, Stream& stream) {
  PTXSMITH_RETURN_IF_ERROR(CheckSampling(options));
  if (!DeviceCanSample(options)) {
    return absl::UnimplementedError(absl::StrCat("devices sample among 1 to ", kMaxCandidates,
                                                 " candidates; top_k is ", options.top_k));
  }
  // The next choice takes the place of the oldest token.
  std::array<uint32_t, kSampleHistory> history;
  history.fill(UINT32_MAX);
  const size_t known = std::min<size_t>(recent.size(), kSampleHistory);
  std::copy(recent.end() - known, recent.end(), history.end() - known);
  const bool greedy = options.temperature == 0;
  const uint32_t candidates = CandidatesOf(options);
  std::array<float, kSampleSettings> settings = {greedy ? 1 : options.temperature, options.top_p,
                                                 options.min_p, options.penalty};
  std::memcpy(&settings.back(), &candidates, sizeof(candidates));
  PTXSMITH_RETURN_IF_ERROR(
      stream.CopyToDevice(PartOf(history_, slot, kSampleHistory), history.data(), sizeof(history)));
  PTXSMITH_RETURN_IF_ERROR(stream.CopyToDevice(PartOf(settings_, slot, kSampleSettings),
                                               settings.data(), sizeof(settings)));
  PTXSMITH_RETURN_IF_ERROR(stream.Fill(PartOf(made_, slot, 1), 0));
  PTXSMITH_RETURN_IF_ERROR(stream.Synchronize());
  slots_[slot] = {options, Draws(options.seed), 0};
  return absl::OkStatus();
}

bool DeviceSampler::Samples(uint32_t slot) const {
  const SamplerOptions& options = slots_[slot].options;
  return options.temperature > 0 || options.penalty != 1;
}

DeviceSampler::Kernels DeviceSampler::kernels() const {
  Kernels kernels;
  for (const Slot& slot : slots_) {
    kernels.candidates = std::max(kernels.candidates, CandidatesOf(slot.options));
    kernels.penalize |= slot.options.penalty != 1;
  }
  return kernels;
}

absl::Status DeviceSampler::AddTo(const ModelParts& parts, uint32_t rows,
                                  StepBuilder& builder) const {
  const StepIo& io = parts.io;
  const uint32_t vocab = parts.config.vocab_size;
  const uint32_t slots = static_cast<uint32_t>(slots_.size());
  const auto [candidates, penalize] = kernels();
  const uint64_t bytes = uint64_t{rows} * candidates * 4;
  const BufferView values = values_.Slice(0, bytes);
  const BufferView indices = indices_.Slice(0, bytes);
  if (penalize) {
    PTXSMITH_RETURN_IF_ERROR(
        builder.Add("penalize", BuildPenalize, PenalizeSpec{vocab, rows, slots},
                    {io.logits(rows), history_, settings_, io.slots(rows)}, BufferView()));
  }
  PTXSMITH_RETURN_IF_ERROR(builder.Add("top_k", BuildTopK, TopKSpec{vocab, candidates, rows},
                                       {values, indices, io.logits(rows)}, BufferView()));
  PTXSMITH_RETURN_IF_ERROR(builder.Add(
      "sample", BuildSample, SampleSpec{candidates, rows, slots},
      {io.picked(rows), history_, made_, values, indices, uniforms_, settings_, io.slots(rows)},
      BufferView()));
  return builder.Add(
      "advance", BuildAdvance, AdvanceSpec{rows, kPickRing},
      {io.tokens(rows), io.positions(rows), io.pick_count(), io.pick_log(), io.picked(rows)},
      BufferView());
}

absl::Status DeviceSampler::Feed(absl::Span<const uint32_t> slots, Stream& stream) {
  for (const uint32_t index : slots) {
    Slot& slot = slots_[index];
    const uint32_t made = slot.made++;
    if (!Samples(index) || made % kSampleUniforms != 0) continue;
    float* const place = static_cast<float*>(host_uniforms_.data()) +
                         (uint64_t{index} * 2 + made / kSampleUniforms % 2) * kSampleUniforms;
    std::generate_n(place, kSampleUniforms, [&] { return slot.draws.Next(); });
    PTXSMITH_RETURN_IF_ERROR(stream.CopyToDevice(PartOf(uniforms_, index, kSampleUniforms), place,
                                                 kSampleUniforms * sizeof(float)));
  }
  return absl::OkStatus();
}

}  // namespace ptxsmith

#include "model/device_sampler.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/advance.h"
#include "ptx_templates/sample.h"
#include "ptx_templates/top_k.h"

namespace ptxsmith {

absl::StatusOr<DeviceSampler> DeviceSampler::Create(const ModelParts& parts,
                                                    const SamplerOptions& options,
                                                    absl::Span<const TokenId> recent, uint32_t step,
                                                    Stream& stream) {
  PTXSMITH_RETURN_IF_ERROR(CheckSampling(options));
  if (!DeviceCanSample(options)) {
    return absl::UnimplementedError(absl::StrCat(
        "devices sample among 1 to ", kMaxCandidates, " candidates at a temperature ",
        "above 0; top_k is ", options.top_k, ", the temperature ", options.temperature));
  }
  DeviceSampler sampler(options);
  sampler.fed_ = step;
  Device& device = *parts.modules.device();
  struct Part {
    const char* name;
    Buffer& buffer;
    uint64_t elements;  // of four bytes
  };
  for (const Part& part : {Part{"candidates", sampler.values_, options.top_k},
                           Part{"candidate_indices", sampler.indices_, options.top_k},
                           Part{"history", sampler.history_, kSampleHistory},
                           Part{"uniforms", sampler.uniforms_, kSampleUniforms},
                           Part{"sampling", sampler.settings_, kSampleSettings}}) {
    PTXSMITH_ASSIGN_OR_RETURN(part.buffer, device.Allocate(part.elements * 4, part.name));
  }
  PTXSMITH_ASSIGN_OR_RETURN(sampler.host_uniforms_,
                            device.AllocateHost(2 * kSampleUniforms * sizeof(float)));
  // The next choice takes the place of the oldest token.
  std::array<uint32_t, kSampleHistory> history;
  history.fill(UINT32_MAX);
  const size_t known = std::min<size_t>(recent.size(), kSampleHistory);
  for (size_t i = 0; i < known; ++i) {
    history[(step + kSampleHistory - known + i) % kSampleHistory] =
        recent[recent.size() - known + i];
  }
  const std::array<float, kSampleSettings> settings = {options.temperature, options.top_p,
                                                       options.min_p, options.penalty};
  const std::array<float, kSampleUniforms> zeros = {};
  PTXSMITH_RETURN_IF_ERROR(stream.CopyToDevice(sampler.history_, history.data(), sizeof(history)));
  PTXSMITH_RETURN_IF_ERROR(
      stream.CopyToDevice(sampler.settings_, settings.data(), sizeof(settings)));
  PTXSMITH_RETURN_IF_ERROR(stream.CopyToDevice(sampler.uniforms_, zeros.data(), sizeof(zeros)));
  PTXSMITH_RETURN_IF_ERROR(stream.Synchronize());
  return sampler;
}

absl::Status DeviceSampler::AddTo(const ModelParts& parts, StepBuilder& builder) const {
  const StepIo& io = parts.io;
  const uint32_t vocab = parts.config.vocab_size;
  if (options_.penalty != 1) {
    PTXSMITH_RETURN_IF_ERROR(builder.Add("penalize", BuildPenalize, PenalizeSpec{vocab},
                                         {io.logits(1), history_, settings_}, BufferView()));
  }
  PTXSMITH_RETURN_IF_ERROR(builder.Add("top_k", BuildTopK, TopKSpec{vocab, options_.top_k},
                                       {values_, indices_, io.logits(1)}, BufferView()));
  PTXSMITH_RETURN_IF_ERROR(builder.Add(
      "sample", BuildSample, SampleSpec{options_.top_k},
      {io.picked(1), history_, values_, indices_, uniforms_, settings_, io.pick_count()},
      BufferView()));
  return builder.Add("advance", BuildAdvance, AdvanceSpec{1, kPickRing},
                     {io.tokens(1), io.positions(1), io.pick_count(), io.pick_log(), io.picked(1)},
                     BufferView());
}

absl::Status DeviceSampler::Feed(uint32_t step, Stream& stream) {
  if (step != fed_) return absl::OkStatus();
  const uint32_t first = step % kSampleUniforms;
  const uint32_t count = kSampleUniforms - first;
  float* const place = static_cast<float*>(host_uniforms_.data()) +
                       step / kSampleUniforms % 2 * kSampleUniforms + first;
  std::generate_n(place, count, [&] { return draws_.Next(); });
  fed_ = step + count;
  return stream.CopyToDevice(
      BufferView(uniforms_).Slice(first * sizeof(float), count * sizeof(float)), place,
      count * sizeof(float));
}

}  // namespace ptxsmith

// The choice of a token at random from its candidates, and the penalty for tokens chosen before:
// what sampling needs beside top_k, so that only the choice travels to the host.
//
// Mathematics  penalize: for each different token t of the history, x[t] = x[t] > 0 ? x[t] /
// penalty
//              : x[t] * penalty.
//              sample: of candidates with falling values v: p_j = e^(v_j - v_0); the fewest whose p
//              reach top_p of the sum of all (top_p 1: all), of these those with p_j >= min_p. Then
//              with w_j = e^((v_j - v_0) / temperature) the first whose running sum of w exceeds
//              uniform times the sum. picked and history[step % 64] become its index.
// Layout       x: [n] f32; values: [k] f32, indices: [k] u32 as top_k gives them; history: 64 u32,
// of
//              which those from n on are none; uniforms: [64] f32 in [0, 1), by step % 64;
//              settings: temperature, top_p, min_p, penalty, f32; steps: one u32, those taken so
//              far.
// Geometry     one block of 64 threads.
// Traffic      little.
// Numerics     f32, sums in the order of the candidates, e^x as codegen/math.h has it: the sampler
//              of the model room makes the same choices on the host.
// Limits       k up to 64, as top_k.
#ifndef PTXSMITH_PTX_TEMPLATES_SAMPLE_H_
#define PTXSMITH_PTX_TEMPLATES_SAMPLE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

inline constexpr uint32_t kMaxCandidates = 64;
inline constexpr uint32_t kSampleHistory = 64;   // tokens
inline constexpr uint32_t kSampleUniforms = 64;  // steps
inline constexpr uint32_t kSampleSettings = 4;   // temperature, top_p, min_p, penalty

struct SampleSpec {
  uint32_t k = 40;

  static constexpr absl::string_view kFamily = "sample";
  static constexpr absl::string_view kSummary = "draws a token from candidates";
  static constexpr auto kFields =
      Fields(Field("k", &SampleSpec::k, Between(1, kMaxCandidates), "candidates"));
};

struct PenalizeSpec {
  std::optional<uint32_t> n;

  static constexpr absl::string_view kFamily = "penalize";
  static constexpr absl::string_view kSummary = "lowers the logits of tokens chosen before";
  static constexpr auto kFields = Fields(Field("n", &PenalizeSpec::n, AtLeast(1), "tokens"));
};

// Arguments: picked (out), history (in out), values, indices, uniforms, settings, steps (in).
absl::StatusOr<KernelSpec> BuildSample(const SampleSpec& spec, const Target& target);
// Arguments: x (in out), history, settings (in), then n when open.
absl::StatusOr<KernelSpec> BuildPenalize(const PenalizeSpec& spec, const Target& target);

std::vector<SampleSpec> SampleVariants();
std::vector<PenalizeSpec> PenalizeVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_SAMPLE_H_

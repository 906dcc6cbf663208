// The choice of a token at random from its candidates, and the penalty for tokens chosen before:
// what sampling needs beside top_k, so that only the choice travels to the host. Row by row, each
// for a slot that has its own settings, history and random numbers.
//
// Mathematics  penalize: for each different token t of the history, x[t] = x[t] > 0 ? x[t] /
//              penalty : x[t] * penalty.
//              sample: of the first candidates (a setting) with falling values v: p_j = e^(v_j -
//              v_0); the fewest whose p reach top_p of the sum of all (top_p 1: all), of these
//              those with p_j >= min_p. Then with w_j = e^((v_j - v_0) / temperature) the first
//              whose running sum of w exceeds uniform times the sum. picked and history[draws % 64]
//              become its index, and draws += 1.
// Layout       x: [rows][n] f32; values: [rows][k] f32, indices: [rows][k] u32 as top_k gives them;
//              slot_of: [rows] u32, no two alike; of each slot: history: 64 u32, which those from n
//              on are none; uniforms: 64 f32 in [0, 1), by draws % 64; settings: temperature,
//              top_p, min_p, penalty, f32, and candidates, u32; draws: one u32, those made so far.
// Geometry     one block of 64 threads per row.
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
inline constexpr uint32_t kSampleUniforms = 64;  // draws
inline constexpr uint32_t kSampleSettings = 5;   // temperature, top_p, min_p, penalty, candidates

struct SampleSpec {
  uint32_t k = 40;
  uint32_t rows = 1;
  uint32_t slots = 1;

  static constexpr absl::string_view kFamily = "sample";
  static constexpr absl::string_view kSummary = "draws a token from candidates";
  static constexpr auto kFields =
      Fields(Field("k", &SampleSpec::k, Between(1, kMaxCandidates), "candidates"),
             Field("rows", &SampleSpec::rows, AtLeast(1), "rows"),
             Field("slots", &SampleSpec::slots, AtLeast(1), "slots that rows may be of"));
};

struct PenalizeSpec {
  std::optional<uint32_t> n;
  uint32_t rows = 1;
  uint32_t slots = 1;

  static constexpr absl::string_view kFamily = "penalize";
  static constexpr absl::string_view kSummary = "lowers the logits of tokens chosen before";
  static constexpr auto kFields =
      Fields(Field("n", &PenalizeSpec::n, AtLeast(1), "tokens"),
             Field("rows", &PenalizeSpec::rows, AtLeast(1), "rows"),
             Field("slots", &PenalizeSpec::slots, AtLeast(1), "slots that rows may be of"));
};

// Arguments: picked (out), history, draws (in out), values, indices, uniforms, settings, slot_of
// (in).
absl::StatusOr<KernelSpec> BuildSample(const SampleSpec& spec, const Target& target);
// Arguments: x (in out), history, settings, slot_of (in), then n when open.
absl::StatusOr<KernelSpec> BuildPenalize(const PenalizeSpec& spec, const Target& target);

std::vector<SampleSpec> SampleVariants();
std::vector<PenalizeSpec> PenalizeVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_SAMPLE_H_

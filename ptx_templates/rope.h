// Rotary position embedding, in place, of `heads` heads in each of `rows` tokens.
//
// Mathematics  For pair i of a head at position p, with angle 2 pi p rate[i]:
//              (a, b) -> (a cos - b sin, a sin + b cos). (Su et al., "RoFormer", 2021.)
//              Pairs are (2 i, 2 i + 1) for `adjacent` and (i, i + rope_dim / 2) for `half_split`.
//              Elements from rope_dim on stay as they are.
// Layout       x: [rows][heads][head_dim] f32; positions: [rows] u32; rates: [rope_dim / 2][2] f32,
// the
//              turns per position of each pair, theta_i / (2 pi), split into high and low f32
//              parts. RopeRates() makes the table: frequency base, scaling and factors are all in
//              it.
// Geometry     one block per head and row, one thread per pair.
// Numerics     the angle is reduced to a fraction of a turn in two-part arithmetic, so that long
// contexts
//              lose nothing; sine and cosine are polynomials of exact operations: the same bits
//              everywhere, absolute error below 4e-7 |(a, b)|.
// Limits       positions below 2^24.
#ifndef PTXSMITH_PTX_TEMPLATES_ROPE_H_
#define PTXSMITH_PTX_TEMPLATES_ROPE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

enum class RopePairing : uint8_t {
  kAdjacent,   // (0, 1), (2, 3), ...: "NORM" of ggml; llama
  kHalfSplit,  // (0, d/2), (1, d/2 + 1), ...: "NEOX" of ggml; qwen, phi, gemma
};
absl::string_view FieldText(RopePairing pairing);
absl::Status ParseFieldText(absl::string_view text, RopePairing* pairing);

struct RopeSpec {
  RopePairing pairing = RopePairing::kAdjacent;
  uint32_t heads = 1;
  uint32_t head_dim = 128;
  uint32_t rope_dim = 128;
  std::optional<uint32_t> rows = 1;

  static constexpr absl::string_view kFamily = "rope";
  static constexpr absl::string_view kSummary = "rotary position embedding in place";
  static constexpr auto kFields = Fields(
      Field("pairing", &RopeSpec::pairing, OneOf(RopePairing::kAdjacent, RopePairing::kHalfSplit),
            "which elements are rotated together"),
      Field("heads", &RopeSpec::heads, AtLeast(1), "heads per token"),
      Field("head_dim", &RopeSpec::head_dim, Between(2, 2048, 2), "elements per head"),
      Field("rope_dim", &RopeSpec::rope_dim, Between(2, 2048, 2),
            "elements rotated, at most head_dim"),
      Field("rows", &RopeSpec::rows, AtLeast(1), "tokens"));
};

// Arguments: x (in out), positions (in), rates (in), then rows when open.
absl::StatusOr<KernelSpec> BuildRope(const RopeSpec& spec, const Target& target);
std::vector<RopeSpec> RopeVariants();

// The `rates` table: turns per position of pair i are base^(-2 i / rope_dim) / (2 pi) * scale /
// factor[i]. `factors` is empty or has rope_dim / 2 positive numbers.
std::vector<float> RopeRates(uint32_t rope_dim, double base, double scale,
                             absl::Span<const float> factors);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_ROPE_H_

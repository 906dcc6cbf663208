// The gated activation of a prompt's feed-forward part, from f16 to f16: one product makes gate and
// up of a token side by side, and the next one takes what this makes.
//
// Mathematics  y[r][i] = silu(g[r][i]) * g[r][n + i], or gelu_tanh with `gelu`: see elementwise.h.
// Layout       y: [rows][n] f16; g: [rows][2 n] f16, gate then up.
// Geometry     one thread per 8 elements, so that every access has 16 bytes; grid.y is the row.
// Traffic      every element once.
// Numerics     f32 inside; the result is rounded to nearest and at most the largest f16, since a
//              product of two large activations is no reason for an infinity in all that follows.
//              The same bits everywhere.
// Limits       n a multiple of 8; at most 65535 rows.
#ifndef PTXSMITH_PTX_TEMPLATES_GLU_HALF_H_
#define PTXSMITH_PTX_TEMPLATES_GLU_HALF_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct GluHalfSpec {
  std::optional<uint32_t> n;
  std::optional<uint32_t> rows;
  bool gelu = false;
  uint32_t threads = 256;

  static constexpr absl::string_view kFamily = "glu_half";
  static constexpr absl::string_view kSummary = "y = silu(gate) * up, f16";
  static constexpr auto kFields = Fields(
      Field("n", &GluHalfSpec::n, AtLeast(8, 8), "elements per row"),
      Field("rows", &GluHalfSpec::rows, AtLeast(1), "rows"),
      Field("gelu", &GluHalfSpec::gelu, {}, "gelu_tanh instead of silu"),
      Field("threads", &GluHalfSpec::threads, OneOf(64, 128, 256, 512), "threads per block"));
};

// Arguments: y (out), g (in), then n and rows when open.
absl::StatusOr<KernelSpec> BuildGluHalf(const GluHalfSpec& spec, const Target& target);
std::vector<GluHalfSpec> GluHalfVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_GLU_HALF_H_

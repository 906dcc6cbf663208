// y = (x - mean) / deviation * weight + bias for each of `rows` vectors: layer normalisation.
//
// Mathematics  y[i] = ((x[i] - m) * s) * weight[i] + bias[i], m = mean of x,
//              s = 1 / sqrt(mean of (x - m)^2 + eps).
//              (Ba, Kiros and Hinton, "Layer Normalization", 2016.)
// Layout       x, y: [rows][n] f32; weight, bias: [n] f32. y may be x.
// Geometry     one block of `threads` threads per row.
// Traffic      x three times, from the caches after the first; y once.
// Numerics     f32, the mean first and then the squares around it, so that a large mean does not
//              cancel them; sums in a fixed order as in rms_norm.h; the same bits everywhere.
// Limits       none on n.
#ifndef PTXSMITH_PTX_TEMPLATES_LAYER_NORM_H_
#define PTXSMITH_PTX_TEMPLATES_LAYER_NORM_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct LayerNormSpec {
  std::optional<uint32_t> n;
  std::optional<uint32_t> rows = 1;
  float eps = 1e-5f;
  uint32_t threads = 256;
  bool bias = true;

  static constexpr absl::string_view kFamily = "layer_norm";
  static constexpr absl::string_view kSummary = "y = (x - mean) / deviation * weight + bias";
  static constexpr auto kFields =
      Fields(Field("n", &LayerNormSpec::n, AtLeast(1), "elements per row"),
             Field("rows", &LayerNormSpec::rows, AtLeast(1), "rows"),
             Field("eps", &LayerNormSpec::eps, {}, "added to the mean square"),
             Field("threads", &LayerNormSpec::threads, OneOf(32, 64, 128, 256, 512, 1024),
                   "threads per block"),
             Field("bias", &LayerNormSpec::bias, {}, "whether a bias is added"));
};

// Arguments: y (out), x (in), weight (in), bias (in, with `bias`), then n and rows when open.
absl::StatusOr<KernelSpec> BuildLayerNorm(const LayerNormSpec& spec, const Target& target);
std::vector<LayerNormSpec> LayerNormVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_LAYER_NORM_H_

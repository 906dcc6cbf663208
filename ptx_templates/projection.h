// Builds y = W x for one to three matrices over the same activations: the kernel behind the
// families gemv, gemv_norm, gemv_q8_1 and gemv_multi, whose headers describe it. A pure function.
//
//   return BuildProjection({.family = GemvSpec::kFamily, .key = KeyOf(spec, target),
//                           .shape = {.quant = spec.quant}, .k = spec.k, .n = {spec.n}}, target);
#ifndef PTXSMITH_PTX_TEMPLATES_PROJECTION_H_
#define PTXSMITH_PTX_TEMPLATES_PROJECTION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "codegen/kernel_spec.h"
#include "ptx_templates/gemv_core.h"

namespace ptxsmith {

struct Projection {
  absl::string_view family;
  std::string key;
  GemvShape shape = {};
  std::optional<uint32_t> k = {};
  std::vector<std::optional<uint32_t>> n = {};  // rows of each matrix
  bool bias = false;
  bool residual = false;  // add to y; one matrix only
};

// Arguments, for one matrix: y, w, x, [weight of the norm], [bias], [k], [n]; for several:
// y0, y1, ..., w0, w1, ..., x, [weight], [bias0, bias1, ...], [k], [n0], [n1], ...
absl::StatusOr<KernelSpec> BuildProjection(const Projection& projection, const Target& target);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_PROJECTION_H_

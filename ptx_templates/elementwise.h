// Kernels that treat each element alone.
//
//   residual_add   x[i] += y[i]
//   swiglu         y[i] = silu(gate[i]) * up[i], silu(g) = g / (1 + e^-g)
//                  (Shazeer, "GLU Variants Improve Transformer", 2020.)
//
// Layout       [n] f32 each; rows of a batch are just more elements.
// Geometry     one thread per element, `threads` per block.
// Numerics     f32; Exp is made of exact operations: the same bits everywhere. swiglu's relative
// error is
//              below 6e-7.
// Limits       none on n.
#ifndef PTXSMITH_PTX_TEMPLATES_ELEMENTWISE_H_
#define PTXSMITH_PTX_TEMPLATES_ELEMENTWISE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct ResidualAddSpec {
  std::optional<uint32_t> n;
  uint32_t threads = 256;

  static constexpr absl::string_view kFamily = "residual_add";
  static constexpr absl::string_view kSummary = "x += y";
  static constexpr auto kFields =
      Fields(Field("n", &ResidualAddSpec::n, AtLeast(1), "elements"),
             Field("threads", &ResidualAddSpec::threads, OneOf(64, 128, 256, 512, 1024),
                   "threads per block"));
};

// Arguments: x (in out), y (in), then n when open.
absl::StatusOr<KernelSpec> BuildResidualAdd(const ResidualAddSpec& spec, const Target& target);
std::vector<ResidualAddSpec> ResidualAddVariants();

struct SwigluSpec {
  std::optional<uint32_t> n;
  uint32_t threads = 256;

  static constexpr absl::string_view kFamily = "swiglu";
  static constexpr absl::string_view kSummary = "y = silu(gate) * up";
  static constexpr auto kFields = Fields(
      Field("n", &SwigluSpec::n, AtLeast(1), "elements"),
      Field("threads", &SwigluSpec::threads, OneOf(64, 128, 256, 512, 1024), "threads per block"));
};

// Arguments: y (out), gate (in), up (in), then n when open.
absl::StatusOr<KernelSpec> BuildSwiglu(const SwigluSpec& spec, const Target& target);
std::vector<SwigluSpec> SwigluVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_ELEMENTWISE_H_

// Kernels that treat each element alone.
//
//   residual_add   x[i] += y[i]
//   multiply       y[i] = a[i] * b[i]
//   silu           y[i] = x[i] / (1 + e^-x[i])
//   gelu_tanh      y[i] = x[i] / (1 + e^-2z), z = sqrt(2 / pi) (x + 0.044715 x^3), which is
//                  x (1 + tanh z) / 2 without the cancellation for negative x
//   gelu_erf       y[i] = x[i] (1 + erf(x[i] / sqrt 2)) / 2
//                  (Hendrycks and Gimpel, "Gaussian Error Linear Units", 2016.)
//   swiglu         y[i] = silu(gate[i]) * up[i]
//   geglu          y[i] = gelu_tanh(gate[i]) * up[i]
//                  (Shazeer, "GLU Variants Improve Transformer", 2020.)
//   softcap        y[i] = cap tanh(x[i] / cap), for logits
//   bias_add       x[r][i] += bias[i]
//
// Layout       [n] f32 each; rows of a batch are just more elements, but for bias_add. An output
//              may be an input.
// Geometry     one thread per element, `threads` per block; bias_add has a row of blocks per row.
// Traffic      every element once.
// Numerics     f32; Exp and Erf are made of exact operations: the same bits everywhere. With
//              u = 2^-24 the relative error is below (2 |t| + 10) u for silu, t = x, and swiglu,
//              and below (6 |t| + 12) u for gelu_tanh, t = 2z, and geglu, and 8 u for softcap;
//              gelu_erf's absolute error is below 6 u |x|.
// Limits       none on n.
#ifndef PTXSMITH_PTX_TEMPLATES_ELEMENTWISE_H_
#define PTXSMITH_PTX_TEMPLATES_ELEMENTWISE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "codegen/val.h"

namespace ptxsmith {

// The functions of one element, for other families.
Val<F32> SiluOf(const Val<F32>& x);
Val<F32> GeluTanhOf(const Val<F32>& x);

inline constexpr FieldRule kElementwiseThreads = OneOf(64, 128, 256, 512, 1024);

// The spec of every family here but bias_add; Op is its name and summary.
template <class Op>
struct ElementwiseSpec {
  std::optional<uint32_t> n;
  uint32_t threads = 256;

  static constexpr absl::string_view kFamily = Op::kFamily;
  static constexpr absl::string_view kSummary = Op::kSummary;
  static constexpr auto kFields =
      Fields(Field("n", &ElementwiseSpec::n, AtLeast(1), "elements"),
             Field("threads", &ElementwiseSpec::threads, kElementwiseThreads, "threads per block"));

  static std::vector<ElementwiseSpec> Variants() {
    std::vector<ElementwiseSpec> variants;
    for (uint32_t threads : {64u, 128u, 256u, 512u, 1024u}) variants.push_back({1000, threads});
    variants.push_back({4096, 256});
    variants.push_back({1, 64});
    variants.push_back({std::nullopt, 256});
    return variants;
  }
};

// Arguments: x (in out), y (in), then n when open.
struct ResidualAdd {
  static constexpr absl::string_view kFamily = "residual_add";
  static constexpr absl::string_view kSummary = "x += y";
};
using ResidualAddSpec = ElementwiseSpec<ResidualAdd>;
absl::StatusOr<KernelSpec> BuildResidualAdd(const ResidualAddSpec& spec, const Target& target);

// Arguments of the functions of one input: y (out), x (in), then n when open.
struct Silu {
  static constexpr absl::string_view kFamily = "silu";
  static constexpr absl::string_view kSummary = "y = x / (1 + e^-x)";
};
using SiluSpec = ElementwiseSpec<Silu>;
absl::StatusOr<KernelSpec> BuildSilu(const SiluSpec& spec, const Target& target);

struct GeluTanh {
  static constexpr absl::string_view kFamily = "gelu_tanh";
  static constexpr absl::string_view kSummary = "y = x (1 + tanh(...)) / 2, the usual GELU";
};
using GeluTanhSpec = ElementwiseSpec<GeluTanh>;
absl::StatusOr<KernelSpec> BuildGeluTanh(const GeluTanhSpec& spec, const Target& target);

struct GeluErf {
  static constexpr absl::string_view kFamily = "gelu_erf";
  static constexpr absl::string_view kSummary = "y = x (1 + erf(x / sqrt 2)) / 2, the exact GELU";
};
using GeluErfSpec = ElementwiseSpec<GeluErf>;
absl::StatusOr<KernelSpec> BuildGeluErf(const GeluErfSpec& spec, const Target& target);

// Arguments of the functions of two inputs: y (out), both (in), then n when open.
struct Multiply {
  static constexpr absl::string_view kFamily = "multiply";
  static constexpr absl::string_view kSummary = "y = a * b";
};
using MultiplySpec = ElementwiseSpec<Multiply>;
absl::StatusOr<KernelSpec> BuildMultiply(const MultiplySpec& spec, const Target& target);

struct Swiglu {
  static constexpr absl::string_view kFamily = "swiglu";
  static constexpr absl::string_view kSummary = "y = silu(gate) * up";
};
using SwigluSpec = ElementwiseSpec<Swiglu>;
absl::StatusOr<KernelSpec> BuildSwiglu(const SwigluSpec& spec, const Target& target);

struct Geglu {
  static constexpr absl::string_view kFamily = "geglu";
  static constexpr absl::string_view kSummary = "y = gelu_tanh(gate) * up";
};
using GegluSpec = ElementwiseSpec<Geglu>;
absl::StatusOr<KernelSpec> BuildGeglu(const GegluSpec& spec, const Target& target);

struct SoftcapSpec {
  std::optional<uint32_t> n;
  float cap = 30;
  uint32_t threads = 256;

  static constexpr absl::string_view kFamily = "softcap";
  static constexpr absl::string_view kSummary = "y = cap tanh(x / cap)";
  static constexpr auto kFields =
      Fields(Field("n", &SoftcapSpec::n, AtLeast(1), "elements"),
             Field("cap", &SoftcapSpec::cap, {}, "bound of the result, positive"),
             Field("threads", &SoftcapSpec::threads, kElementwiseThreads, "threads per block"));

  static std::vector<SoftcapSpec> Variants();
};

// Arguments: y (out), x (in), then n when open.
absl::StatusOr<KernelSpec> BuildSoftcap(const SoftcapSpec& spec, const Target& target);

struct BiasAddSpec {
  std::optional<uint32_t> n;
  std::optional<uint32_t> rows = 1;
  uint32_t threads = 256;

  static constexpr absl::string_view kFamily = "bias_add";
  static constexpr absl::string_view kSummary = "x += bias, row by row";
  static constexpr auto kFields =
      Fields(Field("n", &BiasAddSpec::n, AtLeast(1), "elements per row"),
             Field("rows", &BiasAddSpec::rows, AtLeast(1), "rows"),
             Field("threads", &BiasAddSpec::threads, kElementwiseThreads, "threads per block"));
};

// Arguments: x (in out), bias (in), then n and rows when open.
absl::StatusOr<KernelSpec> BuildBiasAdd(const BiasAddSpec& spec, const Target& target);
std::vector<BiasAddSpec> BiasAddVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_ELEMENTWISE_H_

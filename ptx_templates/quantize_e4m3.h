// Activations as 8-bit floats e4m3 (1 sign, 4 exponent, 3 mantissa bits, no infinities), for matrix
// products in FP8.
//
// Mathematics  y[i] = e4m3(v), rounded to nearest even, |v| beyond 448 becomes 448, where v is
//                scaling=none    x[i]
//                scaling=factor  x[i] * scale[0]
//                scaling=absmax  x[i] / scale[0] * 448, or x[i] if scale[0] is 0: with the result
//                of
//                                `absmax`, the largest value becomes the largest number of e4m3
// Layout       x: n f32; y: n bytes; scale: one f32 in device memory, so that nobody waits for it.
// Geometry     four elements per thread where n is known to be a multiple of four, else one.
// Traffic      4 bytes read and 1 written per element.
// Numerics     one or two roundings of f32 and then one to e4m3, down to its least subnormal 2^-9;
//              NaN becomes 0x7f. Made of integer operations, so that every GPU gives the same bits.
// Limits       none on n.
#ifndef PTXSMITH_PTX_TEMPLATES_QUANTIZE_E4M3_H_
#define PTXSMITH_PTX_TEMPLATES_QUANTIZE_E4M3_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

enum class E4M3Scaling : uint8_t { kNone, kFactor, kAbsmax };
absl::string_view FieldText(E4M3Scaling scaling);
absl::Status ParseFieldText(absl::string_view text, E4M3Scaling* scaling);

struct QuantizeE4M3Spec {
  std::optional<uint32_t> n;
  E4M3Scaling scaling = E4M3Scaling::kNone;
  uint32_t threads = 256;

  static constexpr absl::string_view kFamily = "quantize_e4m3";
  static constexpr absl::string_view kSummary = "f32 to 8-bit floats e4m3, scaled or not";
  static constexpr auto kFields = Fields(
      Field("n", &QuantizeE4M3Spec::n, AtLeast(1), "elements"),
      Field("scaling", &QuantizeE4M3Spec::scaling,
            OneOf(E4M3Scaling::kNone, E4M3Scaling::kFactor, E4M3Scaling::kAbsmax),
            "what the number at `scale` is: a factor of x, or the largest |x|"),
      Field("threads", &QuantizeE4M3Spec::threads, OneOf(64, 128, 256, 512), "threads per block"));
};

// Arguments: y (out), x (in), scale (in; not with scaling=none), then n when open.
absl::StatusOr<KernelSpec> BuildQuantizeE4M3(const QuantizeE4M3Spec& spec, const Target& target);
std::vector<QuantizeE4M3Spec> QuantizeE4M3Variants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_QUANTIZE_E4M3_H_

// Floats from one width to another: between f32 and f16 or bf16, for the callers of dense matrix
// products.
//
// Mathematics  y[i] = x[i], rounded to nearest even when `to` is the narrow one; with scale=1,
// which
//              is for widening only, x[i] * scale[0].
// Layout       x, y: [n] of their types; scale: one f32 in device memory.
// Geometry     four elements per thread where n is known to be a multiple of four, else one.
// Traffic      every element once.
// Numerics     one rounding, with scale=1 one of f32; f16 becomes infinite beyond 65504; every NaN
// becomes 0x7fff. Limits       one of the types is f32.
#ifndef PTXSMITH_PTX_TEMPLATES_CONVERT_H_
#define PTXSMITH_PTX_TEMPLATES_CONVERT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/quant_type.h"

namespace ptxsmith {

struct ConvertSpec {
  QuantType from = QuantType::kF32;
  QuantType to = QuantType::kF16;
  std::optional<uint32_t> n;
  uint32_t threads = 256;
  bool scale = false;

  static constexpr absl::string_view kFamily = "convert";
  static constexpr absl::string_view kSummary = "f32 to f16 or bf16, and back";
  static constexpr FieldRule kTypes = OneOf(QuantType::kF32, QuantType::kF16, QuantType::kBF16);
  static constexpr auto kFields = Fields(
      Field("from", &ConvertSpec::from, kTypes, "type of x"),
      Field("to", &ConvertSpec::to, kTypes, "type of y"),
      Field("n", &ConvertSpec::n, AtLeast(1), "elements"),
      Field("threads", &ConvertSpec::threads, OneOf(64, 128, 256, 512, 1024), "threads per block"),
      Field("scale", &ConvertSpec::scale, {}, "multiply by a number in device memory"));
};

// Arguments: y (out), x (in), scale (in) if asked for, then n when open.
absl::StatusOr<KernelSpec> BuildConvert(const ConvertSpec& spec, const Target& target);
std::vector<ConvertSpec> ConvertVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_CONVERT_H_

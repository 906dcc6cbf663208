// Rows of f16 as FP8 with one scale each: both operands of an FP8 product.
//
// Mathematics  scale[r] = max |x[r]| / 448; y[r][i] = e4m3(x[r][i] * (448 / max |x[r]|)); a row of
//              zeros has scale 0.
// Layout       x: [rows][k] f16; y: [rows][k] bytes of e4m3 (4 bits of exponent, 3 of fraction,
//              largest 448); scale: [rows] f32.
// Geometry     one block of `threads` threads per row, 8 elements at a time.
// Traffic      x twice, the second time from L1 or L2; y and scale once.
// Numerics     three bits of fraction: relative error 2^-4 of elements above 2^-15 of the row's
//              largest, absolute 2^-18.8 of it below. The same bits everywhere.
// Limits       k a multiple of 8.
#ifndef PTXSMITH_PTX_TEMPLATES_QUANTIZE_E4M3_ROWS_H_
#define PTXSMITH_PTX_TEMPLATES_QUANTIZE_E4M3_ROWS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct QuantizeE4M3RowsSpec {
  std::optional<uint32_t> k;
  std::optional<uint32_t> rows;
  uint32_t threads = 256;

  static constexpr absl::string_view kFamily = "quantize_e4m3_rows";
  static constexpr absl::string_view kSummary = "rows of f16 to FP8 with a scale each";
  static constexpr auto kFields =
      Fields(Field("k", &QuantizeE4M3RowsSpec::k, AtLeast(8, 8), "elements per row"),
             Field("rows", &QuantizeE4M3RowsSpec::rows, AtLeast(1), "rows"),
             Field("threads", &QuantizeE4M3RowsSpec::threads, OneOf(32, 64, 128, 256, 512),
                   "threads per block"));
};

// Arguments: y (out), scale (out), x (in), then k and rows when open.
absl::StatusOr<KernelSpec> BuildQuantizeE4M3Rows(const QuantizeE4M3RowsSpec& spec,
                                                 const Target& target);
std::vector<QuantizeE4M3RowsSpec> QuantizeE4M3RowsVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_QUANTIZE_E4M3_ROWS_H_

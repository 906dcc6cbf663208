// The rows of an embedding table for `rows` tokens, dequantised.
//
// Mathematics  y[r][c] = scale * W[tokens[r]][c].
// Layout       w: n rows of k weights in the blocks of the GGUF file; tokens: [rows] u32;
//              y: [rows][k] f32.
// Geometry     one warp per 256 weights and row.
// Numerics     bit for bit ggml's dequantisation, then one product where the scale is not 1.
// Limits       k a multiple of the type's block (32 for f16 and f32). A token of n or more writes
//              nothing: the caller checks it, the kernel only stays inside the table.
#ifndef PTXSMITH_PTX_TEMPLATES_EMBED_ROW_H_
#define PTXSMITH_PTX_TEMPLATES_EMBED_ROW_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/decoder.h"

namespace ptxsmith {

struct EmbedRowSpec {
  QuantType quant = QuantType::kQ4K;
  uint32_t k = 256;
  std::optional<uint32_t> n;
  std::optional<uint32_t> rows = 1;
  float scale = 1;

  static constexpr absl::string_view kFamily = "embed_row";
  static constexpr absl::string_view kSummary = "rows of an embedding table, dequantised";
  static constexpr auto kFields =
      Fields(Field("quant", &EmbedRowSpec::quant, kQuantRule, "type of W"),
             Field("k", &EmbedRowSpec::k, AtLeast(32, 32), "weights per row"),
             Field("n", &EmbedRowSpec::n, AtLeast(1), "rows of the table"),
             Field("rows", &EmbedRowSpec::rows, AtLeast(1), "tokens"),
             Field("scale", &EmbedRowSpec::scale, {}, "of the rows"));
};

// Arguments: y (out), w (in), tokens (in), then n and rows when open.
absl::StatusOr<KernelSpec> BuildEmbedRow(const EmbedRowSpec& spec, const Target& target);
std::vector<EmbedRowSpec> EmbedRowVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_EMBED_ROW_H_

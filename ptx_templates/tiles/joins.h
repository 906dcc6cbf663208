// What stands between the products of a step of many sequences: each joins the slices that
// `gemm_tiles` left and makes what the next product or the attention reads. From sm_75 on.
//
//   join_norm       x += the sum of parts; image of x * weight, and the sums of squares of x
//   join_glu        image of silu(gate) * up
//   join_heads      biases, RoPE, queries; keys and values into the cache
//   join_attention  image of what the splits of `attention` found
//   join_sum        y = the sum of parts
//
// The norm of a row is a factor of everything that is linear in it. So join_norm leaves its sums of
// squares, each of 256 elements, and the joins after the next product apply 1 / rms(x): no row has
// to be in one place. With a block for a row, which reads all its slices, the kernel took 3.5 us
// for 8 rows of 4096 in 8 slices (H200, 2026-11-20).
//
// Layout       parts: [slices][columns][n] f32; image: column_image.h; everything else has `rows`
//              rows, of `columns` at most.
// Geometry     a thread has eight neighbouring elements of a row, in join_heads two that rotate
//              together. Blocks are small, so that few rows reach all SMs.
// Traffic      all of it once.
// Numerics     f32 of exactly rounded operations, slices in their order: the same bits everywhere.
//              A row's bits do not depend on the others.
// Launch       `programmatic`: may start early and waits for its predecessors.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_JOINS_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_JOINS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/rope.h"

namespace ptxsmith {

inline constexpr FieldRule kColumnsRule = OneOf(8, 16, 32);
// Of what the product was applied to; 0: to an input that needs no factor, and no squares.
inline constexpr FieldRule kNormedRule = AtLeast(0, 256);

struct JoinNormSpec {
  uint32_t n = 256;
  uint32_t rows = 1;
  uint32_t slices = 1;
  uint32_t columns = 8;
  bool programmatic = false;

  static constexpr absl::string_view kFamily = "join_norm";
  static constexpr absl::string_view kSummary = "x += parts; x * weight as an image";
  static constexpr auto kFields = Fields(
      Field("n", &JoinNormSpec::n, AtLeast(256, 256), "elements per row"),
      Field("rows", &JoinNormSpec::rows, Between(1, 32), "tokens"),
      Field("slices", &JoinNormSpec::slices, Between(0, 1024), "of the parts; 0: none are added"),
      Field("columns", &JoinNormSpec::columns, kColumnsRule, "tokens of parts and image"),
      Field("programmatic", &JoinNormSpec::programmatic, {}, "programmatic dependent launch"));
};
// Arguments: image, squares (out), x (in-out), parts (in, unless slices is 0), weight (in).
// squares: [rows][n / 256] f32.
absl::StatusOr<KernelSpec> BuildJoinNorm(const JoinNormSpec& spec, const Target& target);
std::vector<JoinNormSpec> JoinNormVariants();

struct JoinGluSpec {
  uint32_t n = 256;
  uint32_t rows = 1;
  uint32_t slices = 1;
  uint32_t columns = 8;
  uint32_t normed = 0;
  float eps = 1e-5f;
  bool programmatic = false;

  static constexpr absl::string_view kFamily = "join_glu";
  static constexpr absl::string_view kSummary = "silu(gate) * up of parts as an image";
  static constexpr auto kFields = Fields(
      Field("n", &JoinGluSpec::n, AtLeast(256, 256), "rows of gate, as many of up follow"),
      Field("rows", &JoinGluSpec::rows, Between(1, 32), "tokens"),
      Field("slices", &JoinGluSpec::slices, Between(1, 1024), "of the parts"),
      Field("columns", &JoinGluSpec::columns, kColumnsRule, "tokens of parts and image"),
      Field("normed", &JoinGluSpec::normed, kNormedRule, "width of the norm; 0: none"),
      Field("eps", &JoinGluSpec::eps, {}, "added to the mean square"),
      Field("programmatic", &JoinGluSpec::programmatic, {}, "programmatic dependent launch"));
};
// Arguments: image (out), parts, squares (in, the latter unless normed is 0).
absl::StatusOr<KernelSpec> BuildJoinGlu(const JoinGluSpec& spec, const Target& target);
std::vector<JoinGluSpec> JoinGluVariants();

// The rows of the parts are queries, keys, values, each head after the other, as in the file. Rows
// whose position or slot is beyond the cache (kv_cache.h, f16) put nothing there.
struct JoinHeadsSpec {
  uint32_t heads = 1;
  uint32_t kv_heads = 1;
  uint32_t head_dim = 128;
  uint32_t context = 512;
  uint32_t slots = 2;
  uint32_t rows = 1;
  uint32_t slices = 1;
  uint32_t columns = 8;
  RopePairing pairing = RopePairing::kAdjacent;
  bool bias = false;
  uint32_t normed = 0;
  float eps = 1e-5f;
  bool programmatic = false;

  static constexpr absl::string_view kFamily = "join_heads";
  static constexpr absl::string_view kSummary = "parts to rotated queries and cached keys, values";
  static constexpr auto kFields = Fields(
      Field("heads", &JoinHeadsSpec::heads, AtLeast(1), "query heads"),
      Field("kv_heads", &JoinHeadsSpec::kv_heads, AtLeast(1), "key and value heads"),
      Field("head_dim", &JoinHeadsSpec::head_dim, Between(16, 256, 16), "elements per head"),
      Field("context", &JoinHeadsSpec::context, AtLeast(1), "positions of a sequence"),
      Field("slots", &JoinHeadsSpec::slots, AtLeast(1), "sequences in the cache"),
      Field("rows", &JoinHeadsSpec::rows, Between(1, 32), "tokens"),
      Field("slices", &JoinHeadsSpec::slices, Between(1, 1024), "of the parts"),
      Field("columns", &JoinHeadsSpec::columns, kColumnsRule, "tokens of the parts"),
      Field("pairing", &JoinHeadsSpec::pairing,
            OneOf(RopePairing::kAdjacent, RopePairing::kHalfSplit), "which elements rotate"),
      Field("bias", &JoinHeadsSpec::bias, {}, "biases of queries, keys and values"),
      Field("normed", &JoinHeadsSpec::normed, kNormedRule, "width of the norm; 0: none"),
      Field("eps", &JoinHeadsSpec::eps, {}, "added to the mean square"),
      Field("programmatic", &JoinHeadsSpec::programmatic, {}, "programmatic dependent launch"));
};
// Arguments: q (out), k_cache, v_cache (in-out), parts, squares (unless normed is 0), positions,
// row_slots, rates (in), then q_bias, k_bias, v_bias (in) with `bias`.
absl::StatusOr<KernelSpec> BuildJoinHeads(const JoinHeadsSpec& spec, const Target& target);
std::vector<JoinHeadsSpec> JoinHeadsVariants();

struct JoinAttentionSpec {
  uint32_t heads = 2;
  uint32_t head_dim = 128;
  uint32_t splits = 2;
  uint32_t rows = 1;
  uint32_t columns = 8;
  bool programmatic = false;

  static constexpr absl::string_view kFamily = "join_attention";
  static constexpr absl::string_view kSummary = "the splits of attention, joined, as an image";
  static constexpr auto kFields = Fields(
      Field("heads", &JoinAttentionSpec::heads, AtLeast(1), "query heads"),
      Field("head_dim", &JoinAttentionSpec::head_dim, Between(32, 256, 32), "elements per head"),
      Field("splits", &JoinAttentionSpec::splits, Between(2, 64), "partial results per query"),
      Field("rows", &JoinAttentionSpec::rows, Between(1, 32), "tokens"),
      Field("columns", &JoinAttentionSpec::columns, kColumnsRule, "tokens of the image"),
      Field("programmatic", &JoinAttentionSpec::programmatic, {}, "programmatic dependent launch"));
};
// Arguments: image (out), partial (in), as of attention.h. heads * head_dim is a multiple of 256.
absl::StatusOr<KernelSpec> BuildJoinAttention(const JoinAttentionSpec& spec, const Target& target);
std::vector<JoinAttentionSpec> JoinAttentionVariants();

struct JoinSumSpec {
  uint32_t n = 256;
  uint32_t rows = 1;
  uint32_t slices = 1;
  uint32_t columns = 8;
  uint32_t normed = 0;
  float eps = 1e-5f;
  bool programmatic = false;
  uint32_t skip = 0;

  static constexpr absl::string_view kFamily = "join_sum";
  static constexpr absl::string_view kSummary = "y = the sum of parts";
  static constexpr auto kFields = Fields(
      Field("n", &JoinSumSpec::n, AtLeast(1), "elements per row"),
      Field("rows", &JoinSumSpec::rows, Between(1, 32), "tokens"),
      Field("slices", &JoinSumSpec::slices, Between(1, 1024), "of the parts"),
      Field("columns", &JoinSumSpec::columns, kColumnsRule, "tokens of the parts"),
      Field("normed", &JoinSumSpec::normed, kNormedRule, "width of the norm; 0: none"),
      Field("eps", &JoinSumSpec::eps, {}, "added to the mean square"),
      Field("programmatic", &JoinSumSpec::programmatic, {}, "programmatic dependent launch"),
      Field("skip", &JoinSumSpec::skip, Between(0, 31), "rows of parts and squares before these"));
};
// Arguments: y (out), parts, squares (in, the latter unless normed is 0).
absl::StatusOr<KernelSpec> BuildJoinSum(const JoinSumSpec& spec, const Target& target);
std::vector<JoinSumSpec> JoinSumVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_JOINS_H_

// Attention of query tokens over the cached keys and values, with grouped heads: decoding one
// sequence, decoding several at once, and prefill.
//
// Mathematics  o[r][h] = sum over p of softmax(s(r, h, p)) V[g][p], s = cap(scale q[r][h] .
// K[g][p]),
//              g = h / (heads / kv_heads), p from max(0, position[r] + 1 - window) to position[r].
//              cap(s) = softcap tanh(s / softcap), or s without softcap. As every row sees the
//              positions up to its own, the rows of a prompt are masked causally.
// Layout       q, o: [rows][heads][head_dim] f32; positions: [rows] u32, each query's own position
//              (its sequence holds position + 1 entries); k_cache, v_cache: see kv_cache.h. With
//              `row_slots`, [rows] u32, each row has a sequence of its own in the cache; without,
//              all rows are tokens of one sequence.
//              A row of position 2^32 - 1 has no sequence, as has one of a slot of `slots` or more:
//              its result is 0. From a position of `context` on, all of the cache is read.
// Geometry     a block for each head, `queries` rows, and split; each of its warps takes the
//              positions p with p % warps == warp for all of these rows, then the warps' partial
//              results are joined through shared memory.
//              With `splits` more blocks share one query: each writes what it has as `partial`,
//              [rows][heads][splits][head_dim + 2] f32 - the weighted sum of values, the largest
//              score, the sum of weights - and attention_combine joins them. A split takes a
//              splits-th of the query's positions, rounded up.
// Traffic      keys and values of one head once per query head and `queries` rows.
// Numerics     f32 with a running maximum (Milakov and Gimelshein, "Online normalizer calculation
//              for softmax", 2018); Exp and Tanh are made of exact operations and all orders are
//              fixed: the same bits everywhere. A row's bits depend on its query, its cache,
//              `warps` and `splits`, not on the other rows or on how they are grouped.
// Limits       head_dim a multiple of 16, at most 256; of 32 for q8_0. `queries` above 1 without
//              row_slots only.
#ifndef PTXSMITH_PTX_TEMPLATES_ATTENTION_H_
#define PTXSMITH_PTX_TEMPLATES_ATTENTION_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/kv_cache.h"

namespace ptxsmith {

struct AttentionSpec {
  uint32_t heads = 1;
  uint32_t kv_heads = 1;
  uint32_t head_dim = 128;
  std::optional<uint32_t> context;
  uint32_t warps = 4;
  std::optional<uint32_t> rows = 1;
  QuantType type = QuantType::kF16;
  std::optional<uint32_t> slots = 1;
  uint32_t window = 0;
  float softcap = 0;
  float scale = 0;
  uint32_t queries = 1;
  uint32_t splits = 1;
  bool programmatic = false;

  static constexpr absl::string_view kFamily = "attention";
  static constexpr absl::string_view kSummary = "queries over the cache, grouped heads";
  static constexpr auto kFields = Fields(
      Field("heads", &AttentionSpec::heads, AtLeast(1), "query heads"),
      Field("kv_heads", &AttentionSpec::kv_heads, AtLeast(1), "key and value heads; divides heads"),
      Field("head_dim", &AttentionSpec::head_dim, Between(16, 256, 16), "elements per head"),
      Field("context", &AttentionSpec::context, AtLeast(1), "positions of a sequence"),
      Field("warps", &AttentionSpec::warps, OneOf(1, 2, 4, 8, 16),
            "warps per block, which share the positions"),
      Field("rows", &AttentionSpec::rows, AtLeast(1), "query tokens"),
      Field("type", &AttentionSpec::type, kKvTypeRule, "type of the cache"),
      Field("slots", &AttentionSpec::slots, AtLeast(1), "sequences in the cache; 1: no row_slots"),
      Field("window", &AttentionSpec::window, {}, "positions a query sees; 0: all"),
      Field("softcap", &AttentionSpec::softcap, {}, "bound of the scores; 0: none"),
      Field("scale", &AttentionSpec::scale, {}, "of the scores; 0: 1 / sqrt(head_dim)"),
      Field("queries", &AttentionSpec::queries, OneOf(1, 2, 4, 8),
            "rows per block, which share the reading"),
      Field("splits", &AttentionSpec::splits, Between(1, 64),
            "blocks per query, which share the positions; above 1 the output is `partial`"),
      Field("programmatic", &AttentionSpec::programmatic, {}, "programmatic dependent launch"));
};

// Arguments: o or partial (out), q (in), k_cache (in), v_cache (in), positions (in), row_slots (in,
// unless slots is 1), then context, rows and slots when open.
absl::StatusOr<KernelSpec> BuildAttention(const AttentionSpec& spec, const Target& target);
std::vector<AttentionSpec> AttentionVariants();

// Joins the partial results of attention with `splits`, in their order: one block per head and row,
// one thread per element. All of it is read and written once. Rows without a sequence give 0.
struct AttentionCombineSpec {
  uint32_t heads = 1;
  uint32_t head_dim = 128;
  uint32_t splits = 8;
  std::optional<uint32_t> rows = 1;

  static constexpr absl::string_view kFamily = "attention_combine";
  static constexpr absl::string_view kSummary = "joins the partial results of attention's splits";
  static constexpr auto kFields = Fields(
      Field("heads", &AttentionCombineSpec::heads, AtLeast(1), "query heads"),
      Field("head_dim", &AttentionCombineSpec::head_dim, Between(16, 256, 16), "elements per head"),
      Field("splits", &AttentionCombineSpec::splits, Between(2, 64), "partial results per query"),
      Field("rows", &AttentionCombineSpec::rows, AtLeast(1), "query tokens"));
};

// Arguments: o (out), partial (in), then rows when open.
absl::StatusOr<KernelSpec> BuildAttentionCombine(const AttentionCombineSpec& spec,
                                                 const Target& target);
std::vector<AttentionCombineSpec> AttentionCombineVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_ATTENTION_H_

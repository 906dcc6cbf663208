// Attention of a step of many sequences: one query token of each over its cached keys and values,
// read once for all query heads that share them. From sm_90 on.
//
// Mathematics  as attention.h: o[r][h] = sum over p of softmax(q[r][h] . K[g][p] / sqrt(head_dim))
//              V[g][p], p up to position[r].
// Layout       q: [rows][heads][head_dim] f32; the caches: kv_cache.h, f16; positions, row_slots:
//              [rows], a row whose slot is `slots` or more has no sequence and gives 0. The result
//              is an image (column_image.h); with `splits` above 1 the parts that join_attention
//              joins.
// Geometry     a thread block for each row, split and group of query heads, or as many groups as
//              make whole blocks of 256 columns. Chunks of 32 positions come into shared memory by
//              bulk copies, several ahead. A warp has one query head: scores with a lane for each
//              position, then values with a lane for each few elements.
// Traffic      keys and values once per group.
// Numerics     f32 of exactly rounded operations with a running maximum: the same bits everywhere.
//              A row's bits depend on its query, its cache and `splits`, not on the other rows.
// Launch       `programmatic`: may start early and waits for its predecessors.
// Limits       heads * head_dim a multiple of 256 unless it splits.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_GROUP_ATTENTION_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_GROUP_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct GroupAttentionSpec {
  uint32_t heads = 4;
  uint32_t kv_heads = 1;
  uint32_t head_dim = 128;
  uint32_t context = 512;
  uint32_t slots = 2;
  uint32_t rows = 1;
  uint32_t splits = 1;
  uint32_t columns = 8;
  bool programmatic = false;

  static constexpr absl::string_view kFamily = "group_attention";
  static constexpr absl::string_view kSummary = "a query of each sequence, groups of heads, image";
  static constexpr auto kFields = Fields(
      Field("heads", &GroupAttentionSpec::heads, AtLeast(1), "query heads"),
      Field("kv_heads", &GroupAttentionSpec::kv_heads, AtLeast(1), "of keys; divides heads"),
      Field("head_dim", &GroupAttentionSpec::head_dim, Between(32, 256, 32), "elements per head"),
      Field("context", &GroupAttentionSpec::context, AtLeast(1), "positions of a sequence"),
      Field("slots", &GroupAttentionSpec::slots, AtLeast(1), "sequences in the cache"),
      Field("rows", &GroupAttentionSpec::rows, Between(1, 32), "query tokens"),
      Field("splits", &GroupAttentionSpec::splits, Between(1, 64), "blocks that share positions"),
      Field("columns", &GroupAttentionSpec::columns, OneOf(8, 16, 32), "tokens of the image"),
      Field("programmatic", &GroupAttentionSpec::programmatic, {},
            "programmatic dependent launch"));
};

// Arguments: image or partial (out), q, k_cache, v_cache, positions, row_slots (in).
// InvalidArgument when a field breaks its rule, FailedPrecondition when the target lacks bulk
// copies.
absl::StatusOr<KernelSpec> BuildGroupAttention(const GroupAttentionSpec& spec,
                                               const Target& target);
std::vector<GroupAttentionSpec> GroupAttentionVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_GROUP_ATTENTION_H_

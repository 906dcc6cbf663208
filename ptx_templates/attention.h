// Attention of one query token over the cached keys and values, with grouped heads.
//
// Mathematics  o[h] = sum over p of softmax(scale q[h] . K[g][p]) V[g][p], p = 0 .. position,
//              g = h / (heads / kv_heads), scale = 1 / sqrt(head_dim).
// Layout       q, o: [heads][head_dim] f32; k_cache, v_cache: [kv_heads][context][head_dim] f16;
//              positions: [1] u32, the query's own position (the cache holds position + 1 entries).
// Geometry     one block per head; each of its warps takes every warps-th position, then the warps'
//              partial results are joined through shared memory.
// Traffic      keys and values of one head once per query head.
// Numerics     f32 with a running maximum (Milakov and Gimelshein, "Online normalizer calculation
// for
//              softmax", 2018); Exp is made of exact operations and all orders are fixed: the same
//              bits everywhere.
// Limits       head_dim a multiple of 32, at most 256.
#ifndef PTXSMITH_PTX_TEMPLATES_ATTENTION_H_
#define PTXSMITH_PTX_TEMPLATES_ATTENTION_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct AttentionSpec {
  uint32_t heads = 1;
  uint32_t kv_heads = 1;
  uint32_t head_dim = 128;
  std::optional<uint32_t> context;
  uint32_t warps = 4;

  static constexpr absl::string_view kFamily = "attention";
  static constexpr absl::string_view kSummary = "one query over the f16 cache, grouped heads";
  static constexpr auto kFields = Fields(
      Field("heads", &AttentionSpec::heads, AtLeast(1), "query heads"),
      Field("kv_heads", &AttentionSpec::kv_heads, AtLeast(1), "key and value heads; divides heads"),
      Field("head_dim", &AttentionSpec::head_dim, Between(32, 256, 32), "elements per head"),
      Field("context", &AttentionSpec::context, AtLeast(1), "positions in the cache"),
      Field("warps", &AttentionSpec::warps, OneOf(1, 2, 4, 8, 16),
            "warps per head, which share the positions"));
};

// Arguments: o (out), q (in), k_cache (in), v_cache (in), positions (in), then context when open.
absl::StatusOr<KernelSpec> BuildAttention(const AttentionSpec& spec, const Target& target);
std::vector<AttentionSpec> AttentionVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_ATTENTION_H_

// Attention of many consecutive tokens of one sequence on the tensor cores: the prompt's part of
// what attention.h describes, without materialised scores.
//
// Mathematics  as attention.h: o[r][h] = sum over p of softmax(s(r, h, p)) V[g][p], causal, with
//              window, softcap and scale. q is rounded to f16, and so are the weights
//              e^(s - largest s so far) before they multiply V, and o.
// Layout       q: [rows][heads][head_dim] f32; o: the same f16, with `blocked` as blocked_half.h
//              says; positions: [rows] u32, ascending and below `context`; k_cache, v_cache: the
//              f16 cells of one sequence, [kv_heads][context] (kv_cache.h), which hold all
//              positions up to the last row's already.
// Geometry     a block for each kv head and 16 * warps / group consecutive rows, group = heads /
//              kv_heads: its 16 * warps rows of the score matrix are those tokens times the heads
//              of the group, so that keys and values are read once for all of them. It walks the
//              positions in tiles of `tile`; the next tile's copy runs under the present one's
//              products (two stages). The blocks with most positions come first.
// Traffic      keys and values of a head once per 16 * warps / group tokens.
// Numerics     products of f16, sums f32 by the tensor cores (see gemm.h), a running maximum,
//              Exp2Approx. Devices agree within the bound of the reference, not bit for bit.
// Limits       head_dim a multiple of 16, at most 256; a group of at most 16 * warps heads. Two
//              stages of keys and values, 8 * tile * (head_dim + 8) bytes, must fit shared memory,
//              and beside them the queries of heads above 128, 32 * warps * (head_dim + 8).
#ifndef PTXSMITH_PTX_TEMPLATES_PREFILL_ATTENTION_H_
#define PTXSMITH_PTX_TEMPLATES_PREFILL_ATTENTION_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct PrefillAttentionSpec {
  uint32_t heads = 1;
  uint32_t kv_heads = 1;
  uint32_t head_dim = 128;
  std::optional<uint32_t> context;
  std::optional<uint32_t> rows;
  uint32_t warps = 4;
  uint32_t tile = 32;
  uint32_t window = 0;
  float softcap = 0;
  float scale = 0;
  bool blocked = false;

  static constexpr absl::string_view kFamily = "prefill_attention";
  static constexpr absl::string_view kSummary = "attention of a prompt on the tensor cores";
  static constexpr auto kFields = Fields(
      Field("heads", &PrefillAttentionSpec::heads, AtLeast(1), "query heads"),
      Field("kv_heads", &PrefillAttentionSpec::kv_heads, AtLeast(1),
            "key and value heads; divides heads"),
      Field("head_dim", &PrefillAttentionSpec::head_dim, Between(16, 256, 16), "elements per head"),
      Field("context", &PrefillAttentionSpec::context, AtLeast(1), "positions of the cache"),
      Field("rows", &PrefillAttentionSpec::rows, AtLeast(1), "query tokens"),
      Field("warps", &PrefillAttentionSpec::warps, OneOf(1, 2, 4, 8), "warps per block"),
      Field("tile", &PrefillAttentionSpec::tile, OneOf(16, 32, 64, 128), "positions per step"),
      Field("window", &PrefillAttentionSpec::window, {}, "positions a query sees; 0: all"),
      Field("softcap", &PrefillAttentionSpec::softcap, {}, "bound of the scores; 0: none"),
      Field("scale", &PrefillAttentionSpec::scale, {}, "of the scores; 0: 1 / sqrt(head_dim)"),
      Field("blocked", &PrefillAttentionSpec::blocked, {}, "o lies in blocks"));
};

// Arguments: o (out), q (in), k_cache (in), v_cache (in), positions (in), then context and rows
// when open.
absl::StatusOr<KernelSpec> BuildPrefillAttention(const PrefillAttentionSpec& spec,
                                                 const Target& target);
std::vector<PrefillAttentionSpec> PrefillAttentionVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_PREFILL_ATTENTION_H_

// Puts the keys and values of `rows` tokens into the cache, as f16 or q8_0. The tokens belong to
// one sequence, or each to one of several.
//
// Mathematics  cell[slot[r]][h][position[r]] = x[r][h], rounded to the cache's type.
//              f16: to nearest even. q8_0, for each 32 elements: d = max |x| / 127,
//              q = x * (1 / d) rounded to nearest even, d stored as f16; where that is zero, so are
//              all q.
// Layout       k, v: [rows][kv_heads][head_dim] f32; positions, row_slots: [rows] u32;
//              k_cache, v_cache: see kv_cache.h. Without `row_slots` there is one sequence.
// Geometry     one block per head and row; for q8_0 one warp per 32 elements.
// Traffic      every element once.
// Numerics     exactly rounded operations only. f16: values beyond 65504 become infinite. q8_0: the
//              error is at most 0.57 d for normal halves d; values beyond 127 * 65504 are lost.
// Limits       a position of `context` or more, or a slot of `slots` or more, writes nothing: the
//              caller checks for overflow, the kernel only keeps the damage out of memory, and rows
//              without a sequence are marked by the position 2^32 - 1. q8_0 needs a head_dim that
//              is a multiple of 32.
#ifndef PTXSMITH_PTX_TEMPLATES_KV_APPEND_H_
#define PTXSMITH_PTX_TEMPLATES_KV_APPEND_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/kv_cache.h"

namespace ptxsmith {

struct KvAppendSpec {
  uint32_t kv_heads = 1;
  uint32_t head_dim = 128;
  std::optional<uint32_t> context;
  std::optional<uint32_t> rows = 1;
  QuantType type = QuantType::kF16;
  std::optional<uint32_t> slots = 1;

  static constexpr absl::string_view kFamily = "kv_append";
  static constexpr absl::string_view kSummary = "keys and values of new tokens into the cache";
  static constexpr auto kFields = Fields(
      Field("kv_heads", &KvAppendSpec::kv_heads, AtLeast(1), "key and value heads"),
      Field("head_dim", &KvAppendSpec::head_dim, Between(1, 2048), "elements per head"),
      Field("context", &KvAppendSpec::context, AtLeast(1), "positions of a sequence"),
      Field("rows", &KvAppendSpec::rows, AtLeast(1), "tokens"),
      Field("type", &KvAppendSpec::type, kKvTypeRule, "type of the cache"),
      Field("slots", &KvAppendSpec::slots, AtLeast(1), "sequences in the cache; 1: no row_slots"));
};

// Arguments: k_cache (in out), v_cache (in out), k (in), v (in), positions (in), row_slots (in,
// unless slots is 1), then context, rows and slots when open.
absl::StatusOr<KernelSpec> BuildKvAppend(const KvAppendSpec& spec, const Target& target);
std::vector<KvAppendSpec> KvAppendVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_KV_APPEND_H_

// Puts the keys and values of `rows` tokens into the cache, as f16.
//
// Mathematics  cache[h][position[r]][d] = f16(x[r][h][d]), rounded to nearest even.
// Layout       k, v: [rows][kv_heads][head_dim] f32; positions: [rows] u32;
//              k_cache, v_cache: [kv_heads][context][head_dim] f16, so that one head's keys are
//              contiguous.
// Geometry     one block per head and row.
// Numerics     one rounding; values beyond 65504 become infinite.
// Limits       a position of `context` or more writes nothing: the caller checks for overflow, the
// kernel
//              only keeps the damage out of memory.
#ifndef PTXSMITH_PTX_TEMPLATES_KV_APPEND_H_
#define PTXSMITH_PTX_TEMPLATES_KV_APPEND_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct KvAppendSpec {
  uint32_t kv_heads = 1;
  uint32_t head_dim = 128;
  std::optional<uint32_t> context;
  std::optional<uint32_t> rows = 1;

  static constexpr absl::string_view kFamily = "kv_append";
  static constexpr absl::string_view kSummary = "keys and values of new tokens into the f16 cache";
  static constexpr auto kFields =
      Fields(Field("kv_heads", &KvAppendSpec::kv_heads, AtLeast(1), "key and value heads"),
             Field("head_dim", &KvAppendSpec::head_dim, Between(1, 2048), "elements per head"),
             Field("context", &KvAppendSpec::context, AtLeast(1), "positions in the cache"),
             Field("rows", &KvAppendSpec::rows, AtLeast(1), "tokens"));
};

// Arguments: k_cache (out), v_cache (out), k (in), v (in), positions (in), then context and rows
// when open.
absl::StatusOr<KernelSpec> BuildKvAppend(const KvAppendSpec& spec, const Target& target);
std::vector<KvAppendSpec> KvAppendVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_KV_APPEND_H_

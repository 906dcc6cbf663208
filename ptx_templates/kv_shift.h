// Moves positions of a sequence in the cache down, for those before them are forgotten: what lets a
// text go on when its context is full.
//
// Mathematics  for `positions` cells from position `to` on, in every head of a sequence:
//              cell[to + i] = cell[to + drop + i]; keys are rotated back by `drop` positions, so
//              that they are what rope would have made of them there.
// Layout       k_cache, v_cache: see kv_cache.h; rates: RopeRates(); move: three u32, the slot,
// `to`
//              and `drop`.
// Geometry     one block per head and position.
// Traffic      every cell moved, read and written once.
// Numerics     values are copied. Keys are rotated in f32 (rope.h) and rounded to the cache's type
//              again: 2^-11 of themselves, or 0.57 d (kv_append.h), each time they move.
// Limits       positions at most `drop`, so that no block writes what another reads; a longer rest
//              takes several launches, in order. What is beyond the context or the slots stays.
#ifndef PTXSMITH_PTX_TEMPLATES_KV_SHIFT_H_
#define PTXSMITH_PTX_TEMPLATES_KV_SHIFT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/kv_cache.h"
#include "ptx_templates/rope.h"

namespace ptxsmith {

struct KvShiftSpec {
  RopePairing pairing = RopePairing::kAdjacent;
  uint32_t kv_heads = 1;
  uint32_t head_dim = 128;
  uint32_t rope_dim = 128;
  std::optional<uint32_t> context;
  std::optional<uint32_t> positions;
  QuantType type = QuantType::kF16;
  std::optional<uint32_t> slots = 1;

  static constexpr absl::string_view kFamily = "kv_shift";
  static constexpr absl::string_view kSummary = "moves cached positions down, rotating their keys";
  static constexpr auto kFields =
      Fields(Field("pairing", &KvShiftSpec::pairing,
                   OneOf(RopePairing::kAdjacent, RopePairing::kHalfSplit),
                   "which elements are rotated together"),
             Field("kv_heads", &KvShiftSpec::kv_heads, AtLeast(1), "key and value heads"),
             Field("head_dim", &KvShiftSpec::head_dim, Between(2, 2048, 2), "elements per head"),
             Field("rope_dim", &KvShiftSpec::rope_dim, Between(2, 2048, 2),
                   "elements rotated, at most head_dim"),
             Field("context", &KvShiftSpec::context, AtLeast(1), "positions of a sequence"),
             Field("positions", &KvShiftSpec::positions, AtLeast(1), "positions moved"),
             Field("type", &KvShiftSpec::type, kKvTypeRule, "type of the cache"),
             Field("slots", &KvShiftSpec::slots, AtLeast(1), "sequences in the cache"));
};

// Arguments: k_cache (in out), v_cache (in out), rates (in), move (in), then context, positions and
// slots when open.
absl::StatusOr<KernelSpec> BuildKvShift(const KvShiftSpec& spec, const Target& target);
std::vector<KvShiftSpec> KvShiftVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_KV_SHIFT_H_

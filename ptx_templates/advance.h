// Hands the tokens just chosen to the next step: what lets decoding go on without the host.
//
// Mathematics  for each row r: log[steps % ring][r] = picked[r]; unless the row has no sequence
//              (position 2^32 - 1): tokens[r] = picked[r], positions[r] += 1. Then steps += 1.
// Layout       tokens, positions, picked: [rows] u32; steps: one u32; log: [ring][rows] u32.
// Geometry     one block.
// Traffic      a few bytes per row.
// Numerics     exact.
// Limits       whoever reads the log must do so before it comes round.
#ifndef PTXSMITH_PTX_TEMPLATES_ADVANCE_H_
#define PTXSMITH_PTX_TEMPLATES_ADVANCE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct AdvanceSpec {
  std::optional<uint32_t> rows = 1;
  uint32_t ring = 64;

  static constexpr absl::string_view kFamily = "advance";
  static constexpr absl::string_view kSummary = "hands the tokens just chosen to the next step";
  static constexpr auto kFields =
      Fields(Field("rows", &AdvanceSpec::rows, AtLeast(1), "sequences"),
             Field("ring", &AdvanceSpec::ring, Between(1, 4096), "steps that the log holds"));
};

// Arguments: tokens (in out), positions (in out), steps (in out), log (in out), picked (in), then
// rows when open.
absl::StatusOr<KernelSpec> BuildAdvance(const AdvanceSpec& spec, const Target& target);
std::vector<AdvanceSpec> AdvanceVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_ADVANCE_H_

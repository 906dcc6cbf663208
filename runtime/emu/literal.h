// Numbers of PTX: 12, 0x1fU, 0b101, 0f3F800000, 0d3FF0000000000000, 1.5. Used by the parser.
//
//   std::optional<OperandSyntax> one = ParseLiteral("0f3F800000", false);
//   one->kind == OperandSyntax::kFloat32 && one->bits == 0x3f800000
//
// A pure function.
#ifndef PTXSMITH_RUNTIME_EMU_LITERAL_H_
#define PTXSMITH_RUNTIME_EMU_LITERAL_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "runtime/emu/syntax.h"

namespace ptxsmith::emu {

// Nothing when `text` is no number or does not fit 64 bits. `minus`: a minus sign went before.
std::optional<OperandSyntax> ParseLiteral(absl::string_view text, bool minus);

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_LITERAL_H_

// The syntax tree of a PTX module: what the parser hands to the decoder. Names are resolved by the
// parser (scopes, register ranges, labels); types and opcodes are the decoder's business.
//
//   PTXSMITH_ASSIGN_OR_RETURN(ModuleSyntax module, ParseModule(text));
//   module.entries[0].instructions[3].mnemonic == "ld.global.nc.u32"
//
// Plain data.
#ifndef PTXSMITH_RUNTIME_EMU_SYNTAX_H_
#define PTXSMITH_RUNTIME_EMU_SYNTAX_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ptxsmith::emu {

enum class SpaceKind : uint8_t { kGlobal, kShared, kLocal, kConst, kParam };

// A declared variable, or a kernel parameter (space kParam).
struct VariableSyntax {
  std::string name;
  SpaceKind space = SpaceKind::kGlobal;
  uint32_t alignment = 1;
  uint64_t bytes = 0;            // of the whole array
  bool dynamic = false;          // .extern .shared x[]: starts after all static ones
  std::vector<uint8_t> initial;  // empty, or `bytes` long
  uint32_t line = 0;
};

struct RegisterSyntax {
  std::string name;
  uint8_t bits = 32;  // 1 for .pred
};

struct OperandSyntax {
  enum Kind : uint8_t {
    kRegister,  // index into EntrySyntax::registers
    kSpecial,   // %tid.x and friends: text
    kInteger,   // bits: sign-extended 64-bit value
    kFloat32,   // bits: 0f...
    kFloat64,   // bits: 0d... or a decimal literal
    kSymbol,    // variable, text; with offset
    kLabel,     // text, which is the scoped label name
    kVector,    // parts
    kAddress,   // parts[0] is the base (register, symbol or integer); offset
    kPair,      // p|q: parts
    kSink,      // _
  };
  Kind kind = kSink;
  bool negated = false;  // !%p
  uint32_t reg = 0;
  uint64_t bits = 0;
  int64_t offset = 0;
  std::string text;
  std::vector<OperandSyntax> parts;
};

struct InstructionSyntax {
  uint32_t line = 0;
  std::string mnemonic;
  bool guarded = false;
  OperandSyntax guard;
  std::vector<OperandSyntax> operands;
};

struct LabelSyntax {
  std::string name;
  uint32_t target = 0;  // index of the instruction that follows
};

// `NAME: .branchtargets L1, L2;`
struct BranchTargetsSyntax {
  std::string name;
  std::vector<std::string> labels;
};

struct EntrySyntax {
  std::string name;
  uint32_t line = 0;
  std::vector<VariableSyntax> params;
  std::vector<VariableSyntax> variables;  // .shared and .local inside the body
  std::vector<RegisterSyntax> registers;
  std::vector<LabelSyntax> labels;
  std::vector<BranchTargetsSyntax> branch_targets;
  std::vector<InstructionSyntax> instructions;
  std::array<uint32_t, 3> reqntid = {0, 0, 0};  // 0: not given
  std::array<uint32_t, 3> maxntid = {0, 0, 0};
};

struct ModuleSyntax {
  int sm = 0;  // of .target
  int version_major = 0;
  int version_minor = 0;
  std::vector<VariableSyntax> variables;
  std::vector<EntrySyntax> entries;
};

// InvalidArgument with the PTX line for text that is not PTX; Unimplemented for a construct this
// emulator does not know (device functions).
absl::StatusOr<ModuleSyntax> ParseModule(absl::string_view text);

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_SYNTAX_H_

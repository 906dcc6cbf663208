// Decoded PTX: what ParseProgram makes of a text and Launch executes. Immutable and shareable
// between threads.
//
//   PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const Program> program, ParseProgram(text));
//   const Kernel* kernel = program->Find("gemv");
#ifndef PTXSMITH_RUNTIME_EMU_PROGRAM_H_
#define PTXSMITH_RUNTIME_EMU_PROGRAM_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/emu/machine.h"
#include "runtime/emu/syntax.h"

namespace ptxsmith::emu {

// Registers whose value the scheduler sets.
enum class SpecialRegister : uint8_t {
  kTidX,
  kTidY,
  kTidZ,
  kNtidX,
  kNtidY,
  kNtidZ,
  kCtaidX,
  kCtaidY,
  kCtaidZ,
  kNctaidX,
  kNctaidY,
  kNctaidZ,
  kLaneId,
  kWarpId,
  kNwarpId,
  kSmId,
  kNsmId,
  kLanemaskEq,
  kLanemaskLt,
  kLanemaskLe,
  kLanemaskGt,
  kLanemaskGe,
  kDynamicSmemSize,
  kTotalSmemSize
};

// A register that is written before the kernel starts.
struct PresetRegister {
  enum Kind : uint8_t {
    kConstant,       // value, in all lanes
    kSpecial,        // SpecialRegister{value}
    kGlobalAddress,  // address of module variable `variable` plus value
  };
  Operand where;
  Kind kind = kConstant;
  uint64_t value = 0;
  uint32_t variable = 0;
};

struct Parameter {
  std::string name;
  uint32_t offset = 0;
  uint32_t bytes = 0;
};

struct Kernel {
  std::string name;
  uint32_t line = 0;
  std::vector<Parameter> params;
  uint32_t param_bytes = 0;
  std::array<uint32_t, 3> reqntid = {0, 0, 0};  // zeros: not given
  std::array<uint32_t, 3> maxntid = {0, 0, 0};
  uint32_t static_shared = 0;  // bytes; dynamic shared memory begins at dynamic_shared_begin
  uint32_t dynamic_shared_begin = 0;
  uint32_t local_bytes = 0;  // per thread
  bool polls = false;        // has loops that may wait for other blocks

  std::vector<Instr> code;
  std::vector<Operand> operands;  // what the instructions point into
  std::vector<uint32_t> checks;
  std::vector<uint32_t> branch_targets;
  std::vector<PresetRegister> presets;
  std::vector<std::string> register_names;  // by Operand::reg
  uint32_t register_bytes = 0;              // of one warp
  uint32_t shared_granule_shift = 4;        // log2 of the narrowest access: race and definedness
  uint32_t global_granule_shift = 4;
};

struct GlobalVariable {
  std::string name;
  uint64_t bytes = 0;
  std::vector<uint8_t> initial;  // empty: zeros
};

struct Program {
  int sm = 0;  // of .target
  int version_major = 0, version_minor = 0;
  std::vector<std::unique_ptr<const Kernel>> kernels;
  std::vector<GlobalVariable> globals;
  std::vector<uint8_t> constants;  // the .const bank
  std::vector<std::string> lines;  // the text, for messages
  const Backend* backend = nullptr;

  const Kernel* Find(absl::string_view name) const;
};

// The newest compilation of the inner loop that this CPU can run.
const Backend& BestBackend();

// InvalidArgument names the PTX line of malformed text or an operand that does not fit its
// instruction; Unimplemented the line and text of an instruction the emulator does not know.
absl::StatusOr<std::shared_ptr<const Program>> ParseProgram(absl::string_view text,
                                                            const Backend& backend = BestBackend());

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_PROGRAM_H_

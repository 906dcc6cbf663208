#include "codegen/verify.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "codegen/features.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

using ir::Op;
using ir::Uniformity;

// Follows the nesting of the body: the control flow's uniformity at the current instruction, and
// the instruction that made it so.
class ControlStack {
 public:
  struct Level {
    Uniformity uniformity;
    SourceLoc cause;
  };

  Level current() const { return levels_.empty() ? Level{Uniformity::kCta, {}} : levels_.back(); }
  void Push(Uniformity condition, SourceLoc cause) {
    Level level = current();
    if (condition > level.uniformity) level = {condition, cause};
    levels_.push_back(level);
  }
  void Pop() { levels_.pop_back(); }

 private:
  std::vector<Level> levels_;
};

Uniformity SourceUniformity(const ir::Instr& instr, const std::vector<Uniformity>& regs) {
  Uniformity u = Uniformity::kCta;
  for (const ir::Operand& operand : instr.src) {
    if (operand.kind == ir::Operand::kReg) u = std::max(u, regs[operand.reg]);
  }
  return u;
}

// Enters or leaves the scope that `instr` opens or closes.
void Track(const ir::Instr& instr, const std::vector<Uniformity>& regs, ControlStack& control) {
  switch (instr.op) {
    case Op::kIf:
    case Op::kLoop:
      control.Push(SourceUniformity(instr, regs), instr.loc);
      break;
    case Op::kRepeat:  // its condition comes at the end
      control.Push(regs[instr.dst[0]], instr.loc);
      break;
    case Op::kEndIf:
    case Op::kEndLoop:
    case Op::kEndRepeat:
      control.Pop();
      break;
    default:
      break;
  }
}

absl::Status Refuse(const ir::Kernel& kernel, SourceLoc loc, absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat(kernel.key, ": ", BaseName(loc.file), ":", loc.line, ": ", what));
}

absl::Status CheckConvergence(const ir::Kernel& kernel) {
  const std::vector<Uniformity> regs = AnalyzeUniformity(kernel);
  ControlStack control;
  for (const ir::Instr& instr : kernel.body) {
    const ControlStack::Level level = control.current();
    const bool barrier = instr.op == Op::kBarrier && level.uniformity > Uniformity::kCta;
    const bool warp = instr.op == Op::kWarp && level.uniformity > Uniformity::kWarp;
    if (barrier || warp) {
      return Refuse(kernel, instr.loc,
                    absl::StrCat(kernel.mnemonics[instr.mnemonic].text, " is reached by ",
                                 barrier ? "some threads of the block" : "some lanes of the warp",
                                 " only: the condition at ", BaseName(level.cause.file), ":",
                                 level.cause.line, " may differ between them"));
    }
    Track(instr, regs, control);
  }
  return absl::OkStatus();
}

absl::Status CheckFeatures(const ir::Kernel& kernel) {
  for (const ir::Mnemonic& mnemonic : kernel.mnemonics) {
    const Feature feature = FeatureOf(mnemonic.text);
    const bool missing = feature.specific && !kernel.target.specific;
    const bool dropped = feature.last_sm != 0 && kernel.target.sm > feature.last_sm;
    if (feature.min_sm <= kernel.target.sm && !missing && !dropped) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(kernel.key, ": ", BaseName(mnemonic.loc.file), ":", mnemonic.loc.line, ": ",
                     mnemonic.text, " needs sm_", feature.min_sm, feature.specific ? "a" : "",
                     ", the target is ", kernel.target.sm_name()));
  }
  return absl::OkStatus();
}

// A programmatic launch may start early, so the kernel has to say where it depends on the one
// before; without such a launch the instruction has nothing to wait for.
absl::Status CheckProgrammatic(const ir::Kernel& kernel) {
  const bool waits =
      std::any_of(kernel.mnemonics.begin(), kernel.mnemonics.end(),
                  [](const ir::Mnemonic& used) { return used.text == "griddepcontrol.wait"; });
  if (waits == kernel.launch.programmatic) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      kernel.key, waits ? ": waits for its predecessors, but its launch is not programmatic"
                        : ": its launch is programmatic, but it never waits for its predecessors"));
}

absl::Status CheckShared(const ir::Kernel& kernel) {
  uint64_t total = 0;
  for (const ir::SharedArray& array : kernel.shared) total += array.bytes;
  const uint32_t limit = kernel.target.limits().max_shared;
  if (total <= limit) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(kernel.key, ": ", total, " bytes of shared memory; ", kernel.target.sm_name(),
                   " has ", limit, " per block"));
}

}  // namespace

std::vector<Uniformity> AnalyzeUniformity(const ir::Kernel& kernel) {
  std::vector<Uniformity> regs(kernel.regs.size(), Uniformity::kCta);
  std::vector<uint8_t> read(regs.size(), false);  // by an instruction before the present one
  // Values only become less uniform, so this ends. Only what became so after it was read, by going
  // round a loop, takes another pass.
  for (bool again = true; again;) {
    again = false;
    ControlStack control;
    for (const ir::Instr& instr : kernel.body) {
      const Uniformity u =
          instr.has_forced_uniformity ? instr.forced : SourceUniformity(instr, regs);
      for (ir::RegId dst : instr.dst) {
        Uniformity value = u;
        // Threads that skip an assignment keep the old value.
        if (kernel.regs[dst].mutable_) value = std::max(value, control.current().uniformity);
        // A loop variable differs where the loop is entered or left differently.
        if (value > regs[dst]) {
          regs[dst] = value;
          again = again || read[dst];
        }
      }
      Track(instr, regs, control);
      if (instr.op == Op::kRepeat) read[instr.dst[0]] = true;  // Track has used its condition
      for (const ir::Operand& operand : instr.src) {
        if (operand.kind == ir::Operand::kReg) read[operand.reg] = true;
      }
    }
  }
  return regs;
}

absl::Status Verify(const ir::Kernel& kernel) {
  PTXSMITH_RETURN_IF_ERROR(CheckConvergence(kernel));
  PTXSMITH_RETURN_IF_ERROR(CheckFeatures(kernel));
  PTXSMITH_RETURN_IF_ERROR(CheckProgrammatic(kernel));
  return CheckShared(kernel);
}

}  // namespace ptxsmith

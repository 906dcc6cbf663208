#include "runtime/emu/fault.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace ptxsmith::emu {
namespace {

std::string Coordinates(uint64_t linear, const std::array<uint32_t, 3>& dims) {
  const uint64_t plane = uint64_t{dims[0]} * dims[1];
  return absl::StrCat("(", linear % dims[0], ",", linear / dims[0] % dims[1], ",", linear / plane,
                      ")");
}

absl::string_view SpaceName(Space space) {
  switch (space) {
    case Space::kGeneric:
      return "generic";
    case Space::kGlobal:
      return "global";
    case Space::kShared:
      return "shared";
    case Space::kLocal:
      return "local";
    case Space::kConst:
      return "const";
    case Space::kParam:
      return "param";
  }
  return "";
}

std::string Place(const LaunchPlan& plan, const Fault& fault, const Memory& memory) {
  std::string place = absl::StrCat(SpaceName(fault.space), " address 0x", absl::Hex(fault.address));
  switch (fault.space) {
    case Space::kGlobal:
    case Space::kGeneric:
      absl::StrAppend(&place, " = ", memory.Describe(fault.address));
      break;
    case Space::kShared:
      absl::StrAppend(&place, " (", plan.launch.shared_bytes,
                      " bytes: ", plan.kernel->static_shared, " static, ", plan.dynamic_shared,
                      " dynamic)");
      break;
    case Space::kLocal:
      absl::StrAppend(&place, " (", plan.launch.local_bytes, " bytes)");
      break;
    case Space::kConst:
      absl::StrAppend(&place, " (", plan.launch.constant_bytes, " bytes)");
      break;
    case Space::kParam:
      absl::StrAppend(&place, " (", plan.launch.param_bytes, " bytes)");
      break;
  }
  return place;
}

std::string Window(uint64_t address) {
  if (address >> 60 == kSharedWindow >> 60) return "a generic address of shared memory";
  if (address >> 60 == kLocalWindow >> 60) return "a generic address of local memory";
  if (address >> 60 == kConstWindow >> 60) return "a generic address of constants";
  return "an address of another space";
}

std::string What(const LaunchPlan& plan, const Fault& fault, const Memory& memory) {
  const std::string access =
      absl::StrCat(fault.write ? "write" : "read", " of ", fault.bytes, " bytes");
  const auto at = [&] { return Place(plan, fault, memory); };
  const std::string mask = absl::StrCat("0x", absl::Hex(fault.mask, absl::kZeroPad8));
  switch (fault.kind) {
    case FaultKind::kUndefinedRegister:
      return absl::StrCat("use of register ", plan.kernel->register_names[fault.reg],
                          ", which this thread never wrote");
    case FaultKind::kOutOfBounds:
      return absl::StrCat("out-of-bounds ", access, " at ", at());
    case FaultKind::kMisaligned:
      return absl::StrCat("misaligned ", access, " at ", at());
    case FaultKind::kUseAfterFree:
      return absl::StrCat("use after free: ", access, " at ", at());
    case FaultKind::kUndefinedMemory:
      return absl::StrCat("read of undefined memory: nobody wrote all of the ", fault.bytes,
                          " bytes at ", at());
    case FaultKind::kReadOnly:
      return absl::StrCat("write to read-only memory at ", at());
    case FaultKind::kWrongSpace:
      return absl::StrCat("wrong address space: ", access, " of ", SpaceName(fault.space),
                          " memory at 0x", absl::Hex(fault.address), ", which is ",
                          Window(fault.address));
    case FaultKind::kSharedRace:
      return absl::StrCat("data race: ", access, " at ", at(), " conflicts with thread ",
                          Coordinates(fault.other_thread, plan.block),
                          " without a barrier between");
    case FaultKind::kGlobalRace:
      return absl::StrCat("data race: ", access, " at ", at(), " conflicts with a store of block ",
                          Coordinates(fault.other_block, plan.grid), " thread ",
                          Coordinates(fault.other_thread, plan.block));
    case FaultKind::kPendingCopy:
      return absl::StrCat("unfinished cp.async: ", access, " at ", at(),
                          ", which a copy of thread ", Coordinates(fault.other_thread, plan.block),
                          " is still filling");
    case FaultKind::kDivideByZero:
      return "integer division by zero";
    case FaultKind::kNotInMask:
      return absl::StrCat("the executing lane is not in its own member mask ", mask);
    case FaultKind::kMaskMismatch:
      return absl::StrCat("lanes of member mask ", mask, " disagree about the mask");
    case FaultKind::kDivergent:
      return absl::StrCat("divergence: lanes ", mask,
                          " wait for lanes of their warp that wait elsewhere");
    case FaultKind::kDeadlock:
      return absl::StrCat("divergent barrier: barrier ", fault.reg,
                          " waits for threads that have exited or wait elsewhere");
    case FaultKind::kBadBarrier:
      return absl::StrCat("barrier operand ", fault.mask,
                          " is out of range, no multiple of 32, or differs between warps");
    case FaultKind::kBadBranchIndex:
      return "branch index beyond its list of targets";
    case FaultKind::kTrap:
      return "trap";
    case FaultKind::kBudget:
      return absl::StrCat("instruction budget of ", plan.budget, " used up");
    case FaultKind::kNone:
      break;
  }
  return "fault";
}

}  // namespace

absl::Status FaultStatus(const LaunchPlan& plan, uint64_t block, const Fault& fault,
                         const Memory& memory) {
  const uint32_t line = plan.kernel->code[fault.pc].line;
  const absl::string_view text = line >= 1 && line <= plan.program->lines.size()
                                     ? absl::StripAsciiWhitespace(plan.program->lines[line - 1])
                                     : absl::string_view();
  const std::string message =
      absl::StrCat("kernel ", plan.kernel->name, ": ", What(plan, fault, memory), "; block ",
                   Coordinates(block, plan.grid), ", thread ",
                   Coordinates(uint64_t{fault.warp} * kLanes + fault.lane, plan.block),
                   ", PTX line ", line, ": ", text);
  return fault.kind == FaultKind::kBudget ? absl::DeadlineExceededError(message)
                                          : absl::InternalError(message);
}

}  // namespace ptxsmith::emu

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

// The thread, or what copies for it.
std::string Who(const LaunchPlan& plan, uint32_t id) {
  if (id == kBulkStoreId) return "a bulk copy that still reads it";
  if (id >= kFirstProductId) return "a wgmma.mma_async that may still read it";
  if (id >= kFirstMbarrierId) return "a bulk copy, for whose mbarrier this thread has not waited,";
  return absl::StrCat("thread ", Coordinates(id, plan.block));
}

std::string MbarrierMessage(const Fault& fault) {
  std::string which = absl::StrCat("mbarrier at shared address 0x", absl::Hex(fault.address));
  switch (static_cast<MbarrierFault>(fault.mask)) {
    case MbarrierFault::kNotInitialised:
      return absl::StrCat(which, " is not initialised");
    case MbarrierFault::kInitialisedTwice:
      return absl::StrCat(which, " is initialised twice without mbarrier.inval between");
    case MbarrierFault::kCount:
      return absl::StrCat(which, ": ", fault.value, " arrivals are none of 1 to 1048575");
    case MbarrierFault::kTooManyArrivals:
      return absl::StrCat(which, ": more arrivals than its phase expects, by ", fault.value);
    case MbarrierFault::kTransactions:
      return absl::StrCat(which, ": ", fault.value, " outstanding bytes exceed 1048575");
    case MbarrierFault::kBusy:
      return absl::StrCat(which, " is invalidated while copies are under way");
    case MbarrierFault::kStale:
      return absl::StrCat(which, ": the state is not of this phase nor of the one before");
    case MbarrierFault::kParity:
      return absl::StrCat(which, ": parity ", fault.value, " is neither 0 nor 1");
    case MbarrierFault::kWouldComplete:
      return absl::StrCat(which, ": an arrival with .noComplete completes the phase");
    case MbarrierFault::kTooMany:
      return absl::StrCat(which, ": more than ", fault.value, " mbarriers in a block");
  }
  return which;
}

std::string WgmmaMessage(const LaunchPlan& plan, const Fault& fault) {
  switch (static_cast<WgmmaFault>(fault.mask)) {
    case WgmmaFault::kIncompleteWarp:
      return "not all 32 lanes of the four warps of a warp group are here";
    case WgmmaFault::kNotUniform:
      return "an operand differs between the lanes of the warp";
    case WgmmaFault::kDescriptor:
      return absl::StrCat(
          "descriptor 0x", absl::Hex(fault.address),
          " is none of rows of 128 bytes, swizzled, in groups of 8 that are aligned "
          "to 1024 bytes");
    case WgmmaFault::kNoFence:
      return "no wgmma.fence since registers of products were last touched";
    case WgmmaFault::kInFlight:
      return absl::StrCat("use of register ", plan.kernel->register_names[fault.reg],
                          ", into which a wgmma.mma_async may still write");
    case WgmmaFault::kNotAwaited:
      return "the block ends while this may be under way: nobody waits for it";
    case WgmmaFault::kUnequal:
      return absl::StrCat("the warps of a group have executed different numbers of products, by ",
                          fault.value);
  }
  return "wgmma";
}

// Why a loop goes on for ever.
std::string PollMessage(const LaunchPlan& plan, const Fault& fault, const std::string& place) {
  if (plan.kernel->code[fault.pc].kind != Kind::kMbarrier) {
    return absl::StrCat("deadlock: polls ", place, ", which nobody will change any more");
  }
  const std::string bytes = fault.value < 0
                                ? absl::StrCat(-fault.value, " bytes more than expected have come")
                                : absl::StrCat(fault.value, " bytes are missing");
  return absl::StrCat("deadlock: waits for the mbarrier at shared address 0x",
                      absl::Hex(fault.address), ", whose phase (parity ", fault.reg,
                      ") never ends: ", fault.mask, " arrivals are missing, ", bytes);
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
      return absl::StrCat("data race: ", access, " at ", at(), " conflicts with ",
                          Who(plan, fault.other_thread), " without a barrier between");
    case FaultKind::kGlobalRace:
      return absl::StrCat("data race: ", access, " at ", at(), " conflicts with a store of block ",
                          Coordinates(fault.other_block, plan.grid), " thread ",
                          Coordinates(fault.other_thread, plan.block));
    case FaultKind::kPendingCopy:
      return absl::StrCat("unfinished cp.async: ", access, " at ", at(), ", which ",
                          fault.other_thread < kMaxThreads ? "a copy of " : "",
                          Who(plan, fault.other_thread), " may still be filling");
    case FaultKind::kUnawaitedCopy:
      return absl::StrCat("the block ends while a bulk copy of ", fault.bytes, " bytes at ", at(),
                          " may be under way: nobody waits for it");
    case FaultKind::kBulkSize:
      return absl::StrCat("bulk copy of ", fault.bytes, " bytes, no positive multiple of 16");
    case FaultKind::kNoProxyFence:
      return absl::StrCat("no fence.proxy.async between what thread ",
                          Coordinates(fault.other_thread, plan.block), " stored at ", at(),
                          " and its use by the asynchronous unit");
    case FaultKind::kMbarrier:
      return MbarrierMessage(fault);
    case FaultKind::kWgmma:
      return WgmmaMessage(plan, fault);
    case FaultKind::kMbarrierBytes:
      return absl::StrCat(access, " at ", at(), ", which is part of an mbarrier");
    case FaultKind::kBeforeGridWait:
      return absl::StrCat(access, " at ", at(),
                          ", which a kernel wrote that may still run, before griddepcontrol.wait");
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
    case FaultKind::kPollsForever:
      return PollMessage(plan, fault, at());
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

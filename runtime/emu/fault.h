// Turns a fault of the inner loop into a Status that names everything: what, where in the text,
// which kernel, block and thread, which address. Internal to the emulator.
//
//   return FaultStatus(plan, runner.block().linear, runner.block().fault, memory);
#ifndef PTXSMITH_RUNTIME_EMU_FAULT_H_
#define PTXSMITH_RUNTIME_EMU_FAULT_H_

#include "absl/status/status.h"
#include "runtime/emu/block_runner.h"
#include "runtime/emu/memory.h"

namespace ptxsmith::emu {

// REQUIRES: fault.kind is not kNone. `memory` must not be held.
absl::Status FaultStatus(const LaunchPlan& plan, uint64_t block, const Fault& fault,
                         const Memory& memory);

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_FAULT_H_

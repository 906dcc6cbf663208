// The Device that runs kernels on the CPU: "emu:sm90". Made by Device::Open.
//
//   PTXSMITH_ASSIGN_OR_RETURN(Target target, Target::Parse("sm_90"));
//   PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<Device> device, OpenEmulator(target));
//   ... EmulatorTotals(*device).lane_ops ...
//
// Work runs when it is enqueued, so streams never wait and events are points in time. Every launch
// is checked (see emulator.h). A fault is returned by the launch itself and once more by the next
// Synchronize of its stream; it does not end the device.
//
// Thread-safety: as Device says.
#ifndef PTXSMITH_RUNTIME_EMU_EMULATOR_DEVICE_H_
#define PTXSMITH_RUNTIME_EMU_EMULATOR_DEVICE_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "codegen/target.h"
#include "runtime/device.h"
#include "runtime/emu/emulator.h"

namespace ptxsmith {

// An emulated GPU of this architecture: it refuses text for newer ones and launches beyond its
// limits. `threads` of the host share a launch; 0: as many as the host has.
absl::StatusOr<std::shared_ptr<Device>> OpenEmulator(const Target& target, int threads = 0);

// Launches from now on run their lanes, warps and blocks in an order drawn from the seed, so that
// missing synchronisation shows; 0: in natural order. REQUIRES: device.profile().emulated; no
// launch is running.
void SetEmulatorSchedule(Device& device, uint64_t seed);

// What all launches of an emulated device have executed so far.
// REQUIRES: device.profile().emulated.
emu::LaunchStats EmulatorTotals(const Device& device);

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_EMU_EMULATOR_DEVICE_H_

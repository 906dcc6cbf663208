// Random numbers of the schedule of a block. Internal to the emulator.
//
//   if (NextRandom(block.random) % 4 == 0) ...
#ifndef PTXSMITH_RUNTIME_EMU_SCHEDULE_H_
#define PTXSMITH_RUNTIME_EMU_SCHEDULE_H_

#include <cstdint>

namespace ptxsmith::emu {

// REQUIRES: state is not 0.
inline uint32_t NextRandom(uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return static_cast<uint32_t>(state >> 20);
}

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_SCHEDULE_H_

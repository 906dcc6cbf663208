// Runs PTX text on the CPU and checks what a GPU would not: bounds, definedness, races, barriers.
// Used by EmulatorDevice and directly by tests.
//
//   emu::Emulator emulator(2);   // host threads
//   PTXSMITH_ASSIGN_OR_RETURN(auto program, emu::ParseProgram(text));
//   PTXSMITH_ASSIGN_OR_RETURN(emu::LaunchStats stats, emulator.Launch(program, "gemv", launch,
//   memory));
//
// Thread-safety: an Emulator runs one launch at a time; concurrent callers wait for each other.
// Results do not depend on the number of threads, except sums by floating-point atomics.
//
// What is checked (each fault names the instruction, its PTX line, block, thread and address):
//   registers   reading one that was never written. Copies (mov, shfl) pass "undefined" on.
//   memory      bounds, alignment, use after free, bytes nobody wrote, stores to param and const,
//               addresses of one space used in another; in every space, byte by byte.
//   shared      two threads touching a granule (the narrowest access of the kernel) without a
//               barrier or mbarrier between, one of them writing, not both atomic. bar.warp.sync
//               orders its whole warp.
//   global      stores of one launch against other stores and later loads, between blocks and
//               between threads of a block. A store after a load is not seen. Between blocks
//               relaxed (volatile) loads may meet relaxed stores; a block that has used an atomic,
//               an acquire load, or a relaxed load and then a fence has synchronised, and is not
//               checked against others any more. Programmatic launches also against the kernels
//               before them, until griddepcontrol.wait.
//   copies      cp.async and cp.async.bulk: bytes touched before the wait for them, or before the
//               mbarrier that says they are there; bulk copies of what was stored without
//               fence.proxy.async; copies nobody waits for.
//   mbarriers   use before initialisation, too many arrivals or bytes, wrong states.
//   warps       barriers, shuffles, votes whose lanes wait elsewhere; a lane outside its own mask.
//   progress    threads that wait for each other, in barriers, mbarriers or loops that poll.
//   other       integer division by zero, too many instructions.
//
// Blocks run one after the other on each host thread. Those of a cooperative grid, or of a kernel
// with loops around volatile loads or atomics, take turns on one host thread, so that they can wait
// for each other.
#ifndef PTXSMITH_RUNTIME_EMU_EMULATOR_H_
#define PTXSMITH_RUNTIME_EMU_EMULATOR_H_

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/emu/memory.h"
#include "runtime/emu/program.h"
#include "runtime/emu/thread_pool.h"

namespace ptxsmith::emu {

struct LaunchOptions {
  bool checks = true;               // false: bounds and alignment only
  uint64_t instruction_budget = 0;  // of warps, over the whole launch; 0: no limit
  uint64_t schedule_seed = 0;       // 0: lanes, warps and blocks in natural order
};

struct LaunchConfig {
  std::array<uint32_t, 3> grid = {1, 1, 1};
  std::array<uint32_t, 3> block = {1, 1, 1};
  uint32_t dynamic_shared = 0;
  uint32_t max_shared = 227 * 1024;  // of the emulated GPU, static and dynamic
  void* const* params = nullptr;     // params[i] points at the value of parameter i
  bool programmatic = false;         // may overlap the launches before it in this memory
  bool cooperative = false;          // all blocks are under way at once
};

struct LaunchStats {
  uint64_t instructions = 0;  // executed by warps
  uint64_t lane_ops = 0;      // ... times active lanes
};

class Emulator {
 public:
  // `threads` 0: as many as the host has.
  explicit Emulator(int threads = 0) : pool_(threads) {}

  // NotFound when the program has no such entry; FailedPrecondition when block or shared memory do
  // not fit; Internal describes a fault of the kernel; DeadlineExceeded: the budget is used up.
  absl::StatusOr<LaunchStats> Launch(const std::shared_ptr<const Program>& program,
                                     absl::string_view entry, const LaunchConfig& config,
                                     Memory& memory, const LaunchOptions& options = {});

  int threads() const { return pool_.size(); }

 private:
  std::mutex mutex_;
  ThreadPool pool_;
};

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_EMULATOR_H_

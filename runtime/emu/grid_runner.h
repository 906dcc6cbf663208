// Runs the blocks of one launch: hands them out to the host threads, lets blocks that wait for each
// other take turns, and finds out when nobody can go on. Internal to the emulator.
//
//   GridRunner grid(plan);
//   pool.Run([&](int) { grid.Work(); });
//   if (grid.fault().kind != FaultKind::kNone) ...
//
// Thread-safety: Work may run on several threads at once, but on one only where grid.together().
#ifndef PTXSMITH_RUNTIME_EMU_GRID_RUNNER_H_
#define PTXSMITH_RUNTIME_EMU_GRID_RUNNER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "runtime/emu/block_runner.h"
#include "runtime/emu/machine.h"

namespace ptxsmith::emu {

class GridRunner {
 public:
  explicit GridRunner(LaunchPlan& plan)
      : plan_(plan), end_(plan.launch.num_blocks), fault_at_(plan.launch.num_blocks) {}

  // Whether blocks may wait for each other, so that all of them share one host thread.
  bool together() const { return plan_.cooperative || plan_.kernel->polls; }
  void Work();

  // After the work. The fault of the first block in order that has one.
  const Fault& fault() const { return fault_; }
  uint64_t fault_block() const { return Linear(fault_at_); }
  uint64_t instructions() const { return instructions_; }
  uint64_t lane_ops() const { return lane_ops_; }

 private:
  struct Resident {
    std::unique_ptr<BlockRunner> runner;
    uint64_t at = 0;  // which block, in the order of handing out
  };

  // An odd seed starts at the end.
  uint64_t Linear(uint64_t at) const {
    return plan_.seed % 2 == 1 ? plan_.launch.num_blocks - 1 - at : at;
  }
  // The next block, in `resident` or, if that is null, beside the others. False: there is none.
  bool StartNext(Resident* resident, std::vector<Resident>& residents);
  void Report(const Resident& resident);
  void Retire(const Resident& resident);

  LaunchPlan& plan_;
  std::atomic<uint64_t> next_{0};
  std::atomic<uint64_t> end_;  // blocks from here on need not run
  std::mutex mutex_;           // guards what follows
  uint64_t fault_at_;
  Fault fault_;
  uint64_t instructions_ = 0;
  uint64_t lane_ops_ = 0;
};

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_GRID_RUNNER_H_

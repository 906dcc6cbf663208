// Runs blocks of one launch on one host thread: registers, shared memory, warps in turn, barriers.
// Internal to the emulator; one per worker thread and launch.
//
//   BlockRunner runner(launch_plan);
//   if (!runner.Run(7)) Report(runner.block().fault);
#ifndef PTXSMITH_RUNTIME_EMU_BLOCK_RUNNER_H_
#define PTXSMITH_RUNTIME_EMU_BLOCK_RUNNER_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/emu/machine.h"
#include "runtime/emu/memory.h"
#include "runtime/emu/program.h"

namespace ptxsmith::emu {

// What the workers of a launch share.
struct LaunchPlan {
  const Program* program = nullptr;
  const Kernel* kernel = nullptr;
  std::array<uint32_t, 3> grid = {1, 1, 1};
  std::array<uint32_t, 3> block = {1, 1, 1};
  uint32_t dynamic_shared = 0;
  std::vector<uint8_t> params;
  std::vector<uint64_t> globals;  // addresses of module variables
  uint64_t budget = 0;            // instructions; 0: no limit
  uint64_t seed = 0;
  LaunchAccess* access = nullptr;
  Launch launch;
  std::atomic<uint64_t> instructions{0};
};

class BlockRunner {
 public:
  explicit BlockRunner(LaunchPlan& plan);
  BlockRunner(const BlockRunner&) = delete;
  BlockRunner& operator=(const BlockRunner&) = delete;

  // False: block().fault says why.
  bool Run(uint64_t linear);
  const Block& block() const { return block_; }

  static Callbacks MakeCallbacks();

 private:
  struct AsyncCopy {
    uint32_t offset, bytes, group;
  };
  struct AsyncQueue {
    std::vector<AsyncCopy> copies;
    uint32_t groups = 0;  // committed
  };
  struct FreeDeleter {
    void operator()(uint8_t* p) const;
  };
  using AlignedBytes = std::unique_ptr<uint8_t[], FreeDeleter>;
  static AlignedBytes Allocate(size_t bytes);

  void SetPresets();
  void SetSpecial(const Operand& where, SpecialRegister which, int warp);
  void StartBlock(uint64_t linear);
  bool RunWarps();
  bool RunOne(Warp& warp);
  bool ReleaseBarriers();
  void Release(uint32_t barrier, uint32_t warps);
  bool Deadlock();
  // Forgets the order of the past, when time runs out of bits.
  void Rebase();
  void MarkAsync(const AsyncCopy& copy, uint32_t thread, uint32_t time);

  LaunchPlan& plan_;
  const Kernel& kernel_;
  Block block_;
  std::vector<Warp> warps_;
  AlignedBytes registers_, shared_, local_;
  std::vector<uint32_t> defined_;           // num_warps * registers
  std::vector<uint32_t> defined_at_start_;  // one warp
  std::vector<uint8_t> local_defined_;
  std::vector<uint32_t> shadow_;
  std::vector<AsyncQueue> async_;  // per thread
};

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_BLOCK_RUNNER_H_

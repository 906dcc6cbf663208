// Runs blocks of one launch on one host thread: registers, shared memory, warps in turn, barriers.
// Internal to the emulator; one
// per block that is under way, used again for the next one.
//
//   BlockRunner runner(launch_plan);
//   runner.Start(7);
//   while (runner.Round(false) != BlockRunner::Turn::kDone) {}
#ifndef PTXSMITH_RUNTIME_EMU_BLOCK_RUNNER_H_
#define PTXSMITH_RUNTIME_EMU_BLOCK_RUNNER_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "runtime/emu/async_copies.h"
#include "runtime/emu/machine.h"
#include "runtime/emu/mbarriers.h"
#include "runtime/emu/memory.h"
#include "runtime/emu/order.h"
#include "runtime/emu/program.h"
#include "runtime/emu/warp_groups.h"

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
  bool cooperative = false;
  LaunchAccess* access = nullptr;
  Launch launch;
  std::atomic<uint64_t> instructions{0};
};

class BlockRunner {
 public:
  explicit BlockRunner(LaunchPlan& plan);
  BlockRunner(const BlockRunner&) = delete;
  BlockRunner& operator=(const BlockRunner&) = delete;

  void Start(uint64_t linear);

  enum class Turn : uint8_t {
    kBusy,
    kThinking,  // has changed nothing in memory, but would like to go on
    kQuiet,     // everybody waits for what others may do, and nothing has changed
    kDone,
    kFault,  // block().fault says why
  };
  // Every warp runs until it waits or has had its share. `natural`: in natural order, whatever the
  // seed.
  Turn Round(bool natural);
  // Stands for the state of all threads: registers and where they are. Memory is not in it.
  uint64_t Digest() const;
  // Fills in the fault of a block that is quiet for ever.
  void Deadlock();

  const Block& block() const { return block_; }

  static Callbacks MakeCallbacks();

 private:
  struct FreeDeleter {
    void operator()(uint8_t* p) const;
  };
  using AlignedBytes = std::unique_ptr<uint8_t[], FreeDeleter>;
  static AlignedBytes Allocate(size_t bytes);

  void SetPresets();
  void SetSpecial(const Operand& where, SpecialRegister which, int warp);
  Turn RunWarps();
  bool RunOne(Warp& warp, bool& busy);
  bool ReleaseBarriers();
  void Release(uint32_t barrier, uint32_t warps);
  // Forgets the order of the past, when time runs out of bits.
  void Rebase();

  LaunchPlan& plan_;
  const Kernel& kernel_;
  Block block_;
  std::vector<Warp> warps_;
  AlignedBytes registers_, shared_, local_;
  std::vector<uint32_t> defined_;           // num_warps * registers
  std::vector<uint32_t> defined_at_start_;  // one warp
  std::vector<uint8_t> local_defined_;
  std::vector<uint32_t> shadow_;
  Order order_;
  Mbarriers mbarriers_;
  AsyncCopies copies_;
  WarpGroups groups_;
};

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_BLOCK_RUNNER_H_

// The mbarriers of a block: what their instructions do, and what goes wrong. An mbarrier lives in
// shared memory, but a kernel may not look at its bytes, so its state is kept here, by offset.
// Internal to the emulator; used by BlockRunner and AsyncCopies.
//
//   if (!mbarriers.Execute(warp, instr, exec)) return block.fault;
//
// Who waits successfully is ordered after the arrivals of the phase, and after the bulk copies that
// completed in it: until then the bytes these brought are out of bounds for everybody.
// One host thread.
#ifndef PTXSMITH_RUNTIME_EMU_MBARRIERS_H_
#define PTXSMITH_RUNTIME_EMU_MBARRIERS_H_

#include <cstdint>
#include <vector>

#include "runtime/emu/machine.h"
#include "runtime/emu/order.h"

namespace ptxsmith::emu {

// Where the first operand of an instruction, an address of shared memory, points for a lane.
uint64_t SharedOffset(const Warp& warp, const Instr& in, int lane);

// Says who wrote these bytes of shared memory.
void MarkWriter(const Block& block, uint32_t offset, uint32_t bytes, uint32_t stamp);

class Mbarriers {
 public:
  Mbarriers(Block& block, Order& order) : block_(block), order_(order) {}

  // Between blocks: there are none.
  void Reset();
  // All that has happened so far is ordered before all that follows.
  void Restart();

  // One instruction of Kind::kMbarrier. False: the fault is in the block.
  bool Execute(Warp& warp, const Instr& in, uint32_t exec);

  // The mbarrier at `offset`; -1 and a fault if there is none, or none that this thread may know.
  int Find(Warp& warp, int lane, uint64_t offset);
  // ... or none that bulk copies may see yet.
  int FindForBulk(Warp& warp, int lane, uint64_t offset);
  // A copy that fills these bytes of shared memory for mbarrier `index` is under way.
  void BeginCopy(int index, uint32_t offset, uint32_t bytes, uint32_t pc, uint32_t thread);
  // ... has arrived, and counts as `transactions` bytes.
  bool EndCopy(int index, uint32_t offset, uint32_t bytes, uint32_t transactions);
  // Arrivals that cp.async.mbarrier.arrive makes for a lane.
  bool ArriveForCopies(Warp& warp, int lane, int index, bool counted);

  // A copy that nobody has waited for, or null.
  struct Copy {
    uint32_t offset, bytes, pc, thread;
    uint64_t phase;  // in which it completed
    bool complete;
  };
  const Copy* Unawaited() const;
  // Why nobody who polls the mbarrier at `offset` gets on.
  void Explain(uint64_t offset, Fault& fault) const;

 private:
  struct Mbarrier {
    uint32_t offset = 0;
    bool live = false;
    uint32_t init_stamp = 0;
    uint32_t expected = 0, pending = 0;  // arrivals
    int32_t transactions = 0;            // bytes
    uint64_t phase = 0;
    Clock arriving;   // of the current phase and all before
    Clock completed;  // of the phases before
    std::vector<uint64_t> seen = std::vector<uint64_t>(kMaxWarps);  // phases, by warp
    std::vector<Copy> copies;                                       // not yet waited for
  };

  bool Fail(Warp& warp, int lane, FaultKind kind, uint64_t offset);
  bool FailMbarrier(Warp& warp, int lane, MbarrierFault why, uint64_t offset, int64_t value = 0);
  bool CheckPlace(Warp& warp, int lane, uint64_t offset);
  bool Init(Warp& warp, int lane, uint64_t offset, uint32_t count);
  bool Inval(Warp& warp, int lane, Mbarrier& barrier);
  bool Arrive(Warp& warp, int lane, Mbarrier& barrier, uint32_t count, bool drop);
  bool AddTransactions(Warp& warp, int lane, Mbarrier& barrier, int64_t bytes);
  // 1 done, 0 not yet, -1 fault.
  int Wait(Warp& warp, int lane, Mbarrier& barrier, const Instr& in, uint64_t state);
  void Finish(Mbarrier& barrier);
  void Acquire(Warp& warp, Mbarrier& barrier);

  Block& block_;
  Order& order_;
  std::vector<Mbarrier> barriers_;
};

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_MBARRIERS_H_

// Asynchronous copies of a block: cp.async with its groups, and cp.async.bulk in both directions.
// Internal to the emulator; used by BlockRunner.
//
//   copies.Issue(thread, copy);  copies.Commit(thread);  copies.Wait(thread, 0, false);
//
// In natural order bulk copies into shared memory move their data when all threads wait for
// something, and other copies at once. Under a random schedule each copy has a time of its own,
// which is as late as the wait for it if there is one. In both the bytes a copy fills are out of
// bounds until that wait, and so are, for stores, the bytes that a copy still reads.
// One host thread.
#ifndef PTXSMITH_RUNTIME_EMU_ASYNC_COPIES_H_
#define PTXSMITH_RUNTIME_EMU_ASYNC_COPIES_H_

#include <cstdint>
#include <vector>

#include "runtime/emu/machine.h"
#include "runtime/emu/mbarriers.h"

namespace ptxsmith::emu {

class AsyncCopies {
 public:
  // REQUIRES: `block` has its launch.
  AsyncCopies(Block& block, Mbarriers& mbarriers) : block_(block), mbarriers_(mbarriers) {}

  // Between blocks: nothing is under way.
  void Reset();

  // cp.async; see Callbacks.
  void Issue(uint32_t thread, const AsyncCopy& copy);
  void Commit(uint32_t thread);
  void Wait(uint32_t thread, uint32_t pending, bool all);
  // cp.async.mbarrier.arrive: from here on the copies of these lanes belong to an mbarrier. Like
  // everything below that gives a bool, false means that the fault is in the block.
  bool ArriveOnMbarrier(Warp& warp, const Instr& in, uint32_t exec);

  // cp.async.bulk
  bool IssueBulk(Warp& warp, const BulkCopy& copy);
  void CommitBulk(uint32_t thread);
  void WaitBulk(uint32_t thread, uint32_t pending);

  // Lets some of the copies under way arrive, under a random schedule.
  bool LandSome();
  // Lets all arrive. `landed`: there was one.
  bool LandAll(bool& landed);
  // The block ends.
  bool Finish();

 private:
  struct Queued {
    AsyncCopy copy;
    uint32_t group;
    bool moved;
  };
  struct Queue {
    std::vector<Queued> copies;
    uint32_t groups = 0;  // committed
  };
  struct Load {
    BulkCopy copy;
    int mbarrier;
    bool late;  // comes when nothing else happens, or when something waits
  };
  struct Store {
    BulkCopy copy;
    uint32_t group;
    bool moved;
  };

  Queue& QueueOf(uint32_t thread);
  void Move(Queued& queued);
  void Move(const BulkCopy& copy);
  bool Land(size_t load);
  void MarkRead(const BulkCopy& copy, uint32_t from, uint32_t to);

  Block& block_;
  Mbarriers& mbarriers_;
  std::vector<Queue> queues_;           // by thread; empty until the first cp.async
  std::vector<Load> loads_;             // under way
  std::vector<Store> stores_;           // not yet waited for
  std::vector<uint32_t> store_groups_;  // committed, by thread
};

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_ASYNC_COPIES_H_

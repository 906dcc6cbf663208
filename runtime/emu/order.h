// Which accesses of a block's threads happen before which: vector clocks over warps and, once a
// block has mbarriers, over single threads. The inner loop compares the stamps of accesses with
// Block::sync and Block::id_sync; this class moves those forward when threads synchronise. Internal
// to the emulator; used by BlockRunner and Mbarriers.
//
//   order.Release(warp, lanes, clock);   // an arrival
//   order.Acquire(warp.index, clock);    // a wait that saw it
//
// An arrival of all lanes of a warp covers what the warp did. An arrival of some lanes covers what
// they did, and of the others what bar.warp.sync put before: forgetting that one is a common bug.
// Waits count for the whole warp. One host thread.
#ifndef PTXSMITH_RUNTIME_EMU_ORDER_H_
#define PTXSMITH_RUNTIME_EMU_ORDER_H_

#include <array>
#include <cstdint>
#include <vector>

#include "runtime/emu/machine.h"

namespace ptxsmith::emu {

// What somebody who sees an event is ordered after.
struct Clock {
  std::array<uint32_t, kMaxWarps> warps = {};
  std::vector<uint32_t> ids = std::vector<uint32_t>(kNumIds);
  bool after_grid_wait = false;
};

class Order {
 public:
  // REQUIRES: `block` has its launch.
  explicit Order(Block& block) : block_(block), num_warps_(block.launch->num_warps) {}

  // All that has happened so far is ordered before all that follows.
  void Restart();
  // From now on single threads and this many mbarriers are told apart.
  void TrackIds(uint32_t mbarriers);
  // What `id` has done so far is ordered before what `warp` does now. REQUIRES: TrackIds.
  void Follow(uint32_t warp, uint32_t id);

  // What `lanes` of `warp` do from here on is not part of `clock`.
  void Release(const Warp& warp, uint32_t lanes, Clock& clock);
  void Acquire(uint32_t warp, const Clock& clock);
  // All of `waiting` (warps) go on, after the past of these and of `arrived`, which was at
  // `arrived_time[warp]` when it came.
  void Barrier(uint32_t waiting, uint32_t arrived, const uint32_t* arrived_time);

 private:
  uint32_t* IdRow(uint32_t warp) { return id_sync_.data() + size_t{warp} * kNumIds; }
  void Merge(uint32_t* into, const uint32_t* from) const;

  Block& block_;
  const int num_warps_;
  uint32_t num_mbarriers_ = 0;
  std::vector<uint32_t> id_sync_;
};

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_ORDER_H_

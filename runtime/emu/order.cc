#include "runtime/emu/order.h"

#include <algorithm>

namespace ptxsmith::emu {

// Only ids in use.
void Order::Merge(uint32_t* into, const uint32_t* from) const {
  const auto range = [&](uint32_t begin, uint32_t count) {
    for (uint32_t id = begin; id < begin + count; ++id) into[id] = std::max(into[id], from[id]);
  };
  range(0, block_.launch->num_threads);
  range(kFirstMbarrierId, num_mbarriers_);
  range(kFirstProductId, static_cast<uint32_t>(num_warps_));
}

void Order::Restart() {
  std::fill(std::begin(block_.sync), std::end(block_.sync), block_.now);
  std::fill(id_sync_.begin(), id_sync_.end(), block_.now);
  block_.all_before = block_.now;
}

void Order::TrackIds(uint32_t mbarriers) {
  num_mbarriers_ = std::max(num_mbarriers_, mbarriers);
  if (!id_sync_.empty()) return;
  id_sync_.resize(static_cast<size_t>(num_warps_) * kNumIds);
  block_.id_sync = id_sync_.data();
}

void Order::Follow(uint32_t warp, uint32_t id) { IdRow(warp)[id] = ++block_.now; }

void Order::Release(const Warp& warp, uint32_t lanes, Clock& clock) {
  ++block_.now;
  const uint32_t w = warp.index;
  for (int a = 0; a < num_warps_; ++a) {
    clock.warps[a] = std::max(clock.warps[a], block_.sync[a * kMaxWarps + static_cast<int>(w)]);
  }
  Merge(clock.ids.data(), IdRow(w));
  if (lanes == warp.live) {
    clock.warps[w] = block_.now;
  } else {
    for (uint32_t todo = lanes; todo != 0; todo &= todo - 1) {
      clock.ids[warp.first_thread + static_cast<uint32_t>(__builtin_ctz(todo))] = block_.now;
    }
  }
  if ((block_.after_grid_wait >> w & 1) != 0) clock.after_grid_wait = true;
}

void Order::Acquire(uint32_t warp, const Clock& clock) {
  for (int a = 0; a < num_warps_; ++a) {
    uint32_t& time = block_.sync[a * kMaxWarps + static_cast<int>(warp)];
    time = std::max(time, clock.warps[a]);
  }
  Merge(IdRow(warp), clock.ids.data());
  if (clock.after_grid_wait) block_.after_grid_wait |= 1u << warp;
}

void Order::Barrier(uint32_t waiting, uint32_t arrived, const uint32_t* arrived_time) {
  ++block_.now;
  const uint32_t all = waiting | arrived;
  for (int a = 0; a < num_warps_; ++a) {
    uint32_t* row = block_.sync + static_cast<ptrdiff_t>(a) * kMaxWarps;
    uint32_t latest = 0;
    for (int b = 0; b < num_warps_; ++b) {
      if ((all >> b & 1) != 0) latest = std::max(latest, row[b]);
    }
    if ((waiting >> a & 1) != 0) latest = block_.now;
    if ((arrived >> a & 1) != 0) latest = std::max(latest, arrived_time[a]);
    for (int b = 0; b < num_warps_; ++b) {
      if ((waiting >> b & 1) != 0) row[b] = latest;
    }
  }
  if (__builtin_popcount(waiting) == num_warps_) block_.all_before = block_.now;
  if (!id_sync_.empty()) {
    const auto first = static_cast<uint32_t>(__builtin_ctz(waiting));
    for (uint32_t todo = all; todo != 0; todo &= todo - 1) {
      Merge(IdRow(first), IdRow(static_cast<uint32_t>(__builtin_ctz(todo))));
    }
    for (uint32_t todo = waiting & (waiting - 1); todo != 0; todo &= todo - 1) {
      std::copy_n(IdRow(first), kNumIds, IdRow(static_cast<uint32_t>(__builtin_ctz(todo))));
    }
  }
  if ((block_.after_grid_wait & all) != 0) block_.after_grid_wait |= waiting;
}

}  // namespace ptxsmith::emu

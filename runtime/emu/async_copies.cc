#include "runtime/emu/async_copies.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/emu/schedule.h"

namespace ptxsmith::emu {
namespace {

constexpr uint32_t kReadByStore = kPendingTime << kIdBits | kBulkStoreId;

// Whether wait_group `pending` covers a copy of `group` when `groups` are committed.
bool Covers(uint32_t pending, uint32_t group, uint32_t groups) {
  return group < groups && groups - group > pending;
}

}  // namespace

// The readers `from` of what a store takes become `to`.
void AsyncCopies::MarkRead(const BulkCopy& copy, uint32_t from, uint32_t to) {
  const SharedShadow& shadow = block_.shadow;
  const uint32_t last = (copy.shared + copy.bytes - 1) >> shadow.granule_shift;
  for (uint32_t g = copy.shared >> shadow.granule_shift; g <= last; ++g) {
    for (uint32_t* reader : {&shadow.reader[g], &shadow.reader2[g]}) {
      if (*reader == from) *reader = to;
    }
  }
}

void AsyncCopies::Reset() {
  for (const Queue& queue : queues_) {
    for (const Queued& queued : queue.copies)
      MarkWriter(block_, queued.copy.to, queued.copy.bytes, 0);
  }
  for (const Store& store : stores_) MarkRead(store.copy, kReadByStore, 0);
  queues_.clear();
  loads_.clear();
  stores_.clear();
  store_groups_.clear();
}

AsyncCopies::Queue& AsyncCopies::QueueOf(uint32_t thread) {
  if (queues_.empty()) queues_.resize(block_.launch->num_threads);
  return queues_[thread];
}

void AsyncCopies::Move(Queued& queued) {
  if (std::exchange(queued.moved, true)) return;
  const AsyncCopy& copy = queued.copy;
  uint8_t* to = block_.shared + copy.to;
  std::memset(to, 0, copy.bytes);
  if (copy.from_bytes != 0) std::memcpy(to, copy.from, copy.from_bytes);
}

void AsyncCopies::Issue(uint32_t thread, const AsyncCopy& copy) {
  Queue& queue = QueueOf(thread);
  Queued& queued = queue.copies.emplace_back(Queued{copy, queue.groups, false});
  MarkWriter(block_, copy.to, copy.bytes, kPendingTime << kIdBits | thread);
  if (block_.random == 0 || NextRandom(block_.random) % 2 == 0) Move(queued);
}

void AsyncCopies::Commit(uint32_t thread) { ++QueueOf(thread).groups; }

void AsyncCopies::Wait(uint32_t thread, uint32_t pending, bool all) {
  Queue& queue = QueueOf(thread);
  const auto done = [&](const Queued& queued) {
    return all || Covers(pending, queued.group, queue.groups);
  };
  for (Queued& queued : queue.copies) {
    if (!done(queued)) continue;
    Move(queued);
    MarkWriter(block_, queued.copy.to, queued.copy.bytes, block_.now << kIdBits | thread);
  }
  queue.copies.erase(std::remove_if(queue.copies.begin(), queue.copies.end(), done),
                     queue.copies.end());
}

bool AsyncCopies::ArriveOnMbarrier(Warp& warp, const Instr& in, uint32_t exec) {
  for (; exec != 0; exec &= exec - 1) {
    const int lane = __builtin_ctz(exec);
    const uint32_t thread = warp.first_thread + static_cast<uint32_t>(lane);
    const int index = mbarriers_.Find(warp, lane, SharedOffset(warp, in, lane));
    if (index < 0) return false;
    const auto pc = static_cast<uint32_t>(&in - block_.launch->code);
    for (Queued& queued : QueueOf(thread).copies) {
      Move(queued);
      mbarriers_.BeginCopy(index, queued.copy.to, queued.copy.bytes, pc, thread);
      if (!mbarriers_.EndCopy(index, queued.copy.to, queued.copy.bytes, 0)) return false;
    }
    QueueOf(thread).copies.clear();
    if (!mbarriers_.ArriveForCopies(warp, lane, index, in.flag)) return false;
  }
  return true;
}

void AsyncCopies::Move(const BulkCopy& copy) {
  uint8_t* shared = block_.shared + copy.shared;
  if (copy.direction == BulkCopy::kToShared) {
    std::memcpy(shared, copy.global, copy.bytes);
  } else {
    std::memcpy(copy.global, shared, copy.bytes);
  }
  ++block_.progress;
}

bool AsyncCopies::IssueBulk(Warp& warp, const BulkCopy& copy) {
  if (copy.direction == BulkCopy::kToGlobal) {
    store_groups_.resize(block_.launch->num_threads);
    const SharedShadow& shadow = block_.shadow;
    const uint32_t first = copy.shared >> shadow.granule_shift;
    const uint32_t last = (copy.shared + copy.bytes - 1) >> shadow.granule_shift;
    std::fill(shadow.reader + first, shadow.reader + last + 1, kReadByStore);
    const bool now = block_.random == 0;
    stores_.push_back({copy, store_groups_[copy.thread], now});
    if (now) Move(copy);
    return true;
  }
  const int lane = static_cast<int>(copy.thread % kLanes);
  const int index = mbarriers_.FindForBulk(warp, lane, copy.mbarrier);
  if (index < 0) return false;
  mbarriers_.BeginCopy(index, copy.shared, copy.bytes, copy.pc, copy.thread);
  loads_.push_back({copy, index, block_.random != 0 && NextRandom(block_.random) % 2 == 0});
  return true;
}

bool AsyncCopies::Land(size_t load) {
  const Load landed = loads_[load];
  loads_.erase(loads_.begin() + static_cast<ptrdiff_t>(load));
  Move(landed.copy);
  return mbarriers_.EndCopy(landed.mbarrier, landed.copy.shared, landed.copy.bytes,
                            landed.copy.bytes);
}

void AsyncCopies::CommitBulk(uint32_t thread) {
  store_groups_.resize(block_.launch->num_threads);
  ++store_groups_[thread];
}

void AsyncCopies::WaitBulk(uint32_t thread, uint32_t pending) {
  const auto done = [&](const Store& store) {
    return store.copy.thread == thread && Covers(pending, store.group, store_groups_[thread]);
  };
  for (const Store& store : stores_) {
    if (!done(store)) continue;
    if (!store.moved) Move(store.copy);
    MarkRead(store.copy, kReadByStore, block_.now << kIdBits | thread);
  }
  stores_.erase(std::remove_if(stores_.begin(), stores_.end(), done), stores_.end());
}

bool AsyncCopies::LandSome() {
  if (block_.random == 0) return true;
  for (size_t i = loads_.size(); i-- > 0;) {
    if (!loads_[i].late && NextRandom(block_.random) % 4 == 0 && !Land(i)) return false;
  }
  for (Store& store : stores_) {
    if (store.moved || NextRandom(block_.random) % 8 != 0) continue;
    store.moved = true;
    Move(store.copy);
  }
  return true;
}

bool AsyncCopies::LandAll(bool& landed) {
  landed = !loads_.empty();
  while (!loads_.empty()) {
    if (!Land(0)) return false;
  }
  return true;
}

bool AsyncCopies::Finish() {
  uint32_t pc = 0, thread = 0, offset = 0, bytes = 0;
  if (const Mbarriers::Copy* copy = mbarriers_.Unawaited()) {
    pc = copy->pc, thread = copy->thread, offset = copy->offset, bytes = copy->bytes;
  } else if (!stores_.empty()) {
    const BulkCopy& store = stores_.front().copy;
    pc = store.pc, thread = store.thread, offset = store.shared, bytes = store.bytes;
  } else {
    return true;
  }
  Fault& fault = block_.fault;
  fault.kind = FaultKind::kUnawaitedCopy;
  fault.space = Space::kShared;
  fault.address = offset;
  fault.bytes = bytes;
  fault.pc = pc;
  fault.warp = thread / kLanes;
  fault.lane = thread % kLanes;
  return false;
}

}  // namespace ptxsmith::emu

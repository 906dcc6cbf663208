#include "runtime/emu/mbarriers.h"

#include <algorithm>
#include <cstring>

#include "runtime/emu/schedule.h"

namespace ptxsmith::emu {
namespace {

constexpr uint32_t kMbarrierBytes = 8;
constexpr uint32_t kMaxCount = (1u << 20) - 1;  // of arrivals, and of bytes expected
// The state an arrival returns: the phase, and the arrivals that were missing.
constexpr int kCountBits = 20;

uint64_t ReadLane(const Warp& warp, const Operand& from, int lane) {
  uint64_t value = 0;
  std::memcpy(&value, warp.regs + from.offset + static_cast<ptrdiff_t>(lane) * from.bytes,
              from.bytes);
  return value;
}

void WriteLane(Warp& warp, const Operand& to, int lane, uint64_t value) {
  const uint32_t bit = 1u << lane;
  if (to.bytes == 0) {
    uint32_t mask;
    std::memcpy(&mask, warp.regs + to.offset, sizeof(mask));
    mask = value != 0 ? mask | bit : mask & ~bit;
    std::memcpy(warp.regs + to.offset, &mask, sizeof(mask));
  } else {
    std::memcpy(warp.regs + to.offset + static_cast<ptrdiff_t>(lane) * to.bytes, &value, to.bytes);
  }
  warp.defined[to.reg] |= bit;
}

uint32_t Thread(const Warp& warp, int lane) {
  return warp.first_thread + static_cast<uint32_t>(lane);
}

}  // namespace

uint64_t SharedOffset(const Warp& warp, const Instr& in, int lane) {
  const uint64_t at = ReadLane(warp, in.src[0], lane) + static_cast<uint64_t>(in.immediate);
  if (in.space == Space::kGeneric) return at - kSharedWindow;
  return in.src[0].bytes == 4 ? static_cast<uint32_t>(at) : at;
}

void MarkWriter(const Block& block, uint32_t offset, uint32_t bytes, uint32_t stamp) {
  const SharedShadow& shadow = block.shadow;
  const uint32_t first = offset >> shadow.granule_shift;
  const uint32_t last = (offset + bytes - 1) >> shadow.granule_shift;
  std::fill(shadow.writer + first, shadow.writer + last + 1, stamp);
}

bool Mbarriers::Fail(Warp& warp, int lane, FaultKind kind, uint64_t offset) {
  Fault& fault = block_.fault;
  fault.kind = kind;
  fault.space = Space::kShared;
  fault.write = true;
  fault.bytes = kMbarrierBytes;
  fault.address = offset;
  fault.warp = warp.index;
  fault.lane = static_cast<uint32_t>(lane);
  return false;
}

bool Mbarriers::FailMbarrier(Warp& warp, int lane, MbarrierFault why, uint64_t offset,
                             int64_t value) {
  block_.fault.mask = static_cast<uint32_t>(why);
  block_.fault.value = value;
  return Fail(warp, lane, FaultKind::kMbarrier, offset);
}

void Mbarriers::Reset() {
  // Marks of things that last would outlive the block.
  for (const Mbarrier& barrier : barriers_) {
    if (barrier.live) MarkWriter(block_, barrier.offset, kMbarrierBytes, 0);
    for (const Copy& copy : barrier.copies) MarkWriter(block_, copy.offset, copy.bytes, 0);
  }
  barriers_.clear();
}

void Mbarriers::Restart() {
  for (Mbarrier& barrier : barriers_) {
    barrier.init_stamp = 0;
    for (Clock* clock : {&barrier.arriving, &barrier.completed}) {
      clock->warps.fill(block_.now);
      std::fill(clock->ids.begin(), clock->ids.end(), block_.now);
    }
  }
}

bool Mbarriers::CheckPlace(Warp& warp, int lane, uint64_t offset) {
  const uint64_t size = block_.launch->shared_bytes;
  if (offset >= size || size - offset < kMbarrierBytes) {
    const bool window = offset >= kWindowBytes;
    return Fail(warp, lane, window ? FaultKind::kWrongSpace : FaultKind::kOutOfBounds, offset);
  }
  if (offset % kMbarrierBytes != 0) return Fail(warp, lane, FaultKind::kMisaligned, offset);
  return true;
}

int Mbarriers::Find(Warp& warp, int lane, uint64_t offset) {
  if (!CheckPlace(warp, lane, offset)) return -1;
  for (size_t i = 0; i < barriers_.size(); ++i) {
    Mbarrier& barrier = barriers_[i];
    if (barrier.offset != offset || !barrier.live) continue;
    if (Ordered(block_, barrier.init_stamp, Thread(warp, lane))) return static_cast<int>(i);
    block_.fault.other_thread = IdOf(barrier.init_stamp);
    Fail(warp, lane, FaultKind::kSharedRace, offset);
    return -1;
  }
  FailMbarrier(warp, lane, MbarrierFault::kNotInitialised, offset);
  return -1;
}

bool Mbarriers::Init(Warp& warp, int lane, uint64_t offset, uint32_t count) {
  if (!CheckPlace(warp, lane, offset)) return false;
  if (count == 0 || count > kMaxCount) {
    return FailMbarrier(warp, lane, MbarrierFault::kCount, offset, count);
  }
  Mbarrier* place = nullptr;
  for (Mbarrier& barrier : barriers_) {
    if (barrier.offset == offset) place = &barrier;
  }
  if (place != nullptr && place->live) {
    return FailMbarrier(warp, lane, MbarrierFault::kInitialisedTwice, offset);
  }
  if (place == nullptr) {
    if (barriers_.size() == kMaxMbarriers) {
      return FailMbarrier(warp, lane, MbarrierFault::kTooMany, offset, kMaxMbarriers);
    }
    place = &barriers_.emplace_back();
    order_.TrackIds(static_cast<uint32_t>(barriers_.size()));
  }
  const uint32_t granule = static_cast<uint32_t>(offset) >> block_.shadow.granule_shift;
  if (TimeOf(block_.shadow.writer[granule]) == kPendingTime) {
    block_.fault.other_thread = IdOf(block_.shadow.writer[granule]);
    return Fail(warp, lane, FaultKind::kPendingCopy, offset);
  }
  place->offset = static_cast<uint32_t>(offset);
  place->live = true;
  place->init_stamp = block_.now << kIdBits | Thread(warp, lane);
  place->expected = place->pending = count;
  place->transactions = 0;
  place->phase = 0;
  std::fill(place->seen.begin(), place->seen.end(), 0);
  MarkWriter(block_, place->offset, kMbarrierBytes, kMbarrierTime << kIdBits | Thread(warp, lane));
  return true;
}

bool Mbarriers::Inval(Warp& warp, int lane, Mbarrier& barrier) {
  if (barrier.transactions != 0 || !barrier.copies.empty()) {
    return FailMbarrier(warp, lane, MbarrierFault::kBusy, barrier.offset, barrier.transactions);
  }
  barrier.live = false;
  MarkWriter(block_, barrier.offset, kMbarrierBytes, block_.now << kIdBits | Thread(warp, lane));
  return true;
}

void Mbarriers::Finish(Mbarrier& barrier) {
  if (barrier.pending != 0 || barrier.transactions != 0) return;
  barrier.completed = barrier.arriving;
  barrier.pending = barrier.expected;
  ++barrier.phase;
}

bool Mbarriers::Arrive(Warp& warp, int lane, Mbarrier& barrier, uint32_t count, bool drop) {
  if (count == 0 || count > kMaxCount) {
    return FailMbarrier(warp, lane, MbarrierFault::kCount, barrier.offset, count);
  }
  if (count > barrier.pending) {
    return FailMbarrier(warp, lane, MbarrierFault::kTooManyArrivals, barrier.offset,
                        count - barrier.pending);
  }
  if (drop) barrier.expected -= count;
  barrier.pending -= count;
  Finish(barrier);
  return true;
}

bool Mbarriers::AddTransactions(Warp& warp, int lane, Mbarrier& barrier, int64_t bytes) {
  const int64_t sum = barrier.transactions + bytes;
  if (sum > int64_t{kMaxCount} || sum < -int64_t{kMaxCount}) {
    return FailMbarrier(warp, lane, MbarrierFault::kTransactions, barrier.offset, sum);
  }
  barrier.transactions = static_cast<int32_t>(sum);
  return true;
}

// Once: what the copies brought belongs to those who know of this phase.
void Mbarriers::Acquire(Warp& warp, Mbarrier& barrier) {
  const auto id = kFirstMbarrierId + static_cast<uint32_t>(&barrier - barriers_.data());
  const auto arrived = [&](const Copy& copy) {
    return copy.complete && copy.phase < barrier.phase;
  };
  bool any = false;
  for (const Copy& copy : barrier.copies) {
    if (!arrived(copy)) continue;
    MarkWriter(block_, copy.offset, copy.bytes, block_.now << kIdBits | id);
    any = true;
  }
  if (any) {
    barrier.copies.erase(std::remove_if(barrier.copies.begin(), barrier.copies.end(), arrived),
                         barrier.copies.end());
    barrier.completed.ids[id] = barrier.arriving.ids[id] = ++block_.now;
  }
  if (barrier.seen[warp.index] == barrier.phase) return;
  barrier.seen[warp.index] = barrier.phase;
  order_.Acquire(warp.index, barrier.completed);
}

int Mbarriers::Wait(Warp& warp, int lane, Mbarrier& barrier, const Instr& in, uint64_t state) {
  bool done = false;
  if ((in.mode2 & kWaitParity) != 0) {
    if (state > 1) {
      FailMbarrier(warp, lane, MbarrierFault::kParity, barrier.offset, static_cast<int64_t>(state));
      return -1;
    }
    done = (barrier.phase & 1) != state;
  } else {
    const uint64_t phase = state >> kCountBits;
    if (phase > barrier.phase || barrier.phase > phase + 1) {
      FailMbarrier(warp, lane, MbarrierFault::kStale, barrier.offset);
      return -1;
    }
    done = barrier.phase > phase;
  }
  // try_wait may give up at any time.
  if ((in.mode2 & kWaitMayFail) != 0 && block_.random != 0 && NextRandom(block_.random) % 8 == 0) {
    done = false;
  }
  if (done && (in.mode2 & kNoOrder) == 0) Acquire(warp, barrier);
  return done ? 1 : 0;
}

bool Mbarriers::Execute(Warp& warp, const Instr& in, uint32_t exec) {
  const auto op = static_cast<MbarrierOp>(in.mode);
  const auto offset_of = [&](int lane) { return SharedOffset(warp, in, lane); };
  const auto operand = [&](int lane) -> uint64_t {
    return in.num_src > 1 ? ReadLane(warp, in.src[1], lane) : 1;
  };
  if (op == MbarrierOp::kPendingCount) {
    for (int lane = 0; lane < kLanes; ++lane) {
      if ((exec >> lane & 1) == 0) continue;
      WriteLane(warp, in.dst[0], lane, ReadLane(warp, in.src[0], lane) & kMaxCount);
    }
    return true;
  }
  if (op != MbarrierOp::kWait) ++block_.progress;
  for (uint32_t todo = exec; todo != 0;) {
    const int first = __builtin_ctz(todo);
    const uint64_t offset = offset_of(first);
    uint32_t lanes = 0;  // that name the same mbarrier
    for (int lane = first; lane < kLanes; ++lane) {
      if ((todo >> lane & 1) != 0 && offset_of(lane) == offset) lanes |= 1u << lane;
    }
    todo &= ~lanes;
    if (op == MbarrierOp::kInit) {
      if (!Init(warp, first, offset, static_cast<uint32_t>(operand(first)))) return false;
      if ((lanes & (lanes - 1)) == 0) continue;
      return FailMbarrier(warp, __builtin_ctz(lanes & (lanes - 1)),
                          MbarrierFault::kInitialisedTwice, offset);
    }
    const int index = Find(warp, first, offset);
    if (index < 0) return false;
    Mbarrier& barrier = barriers_[static_cast<size_t>(index)];
    const bool arrives = op == MbarrierOp::kArrive || op == MbarrierOp::kArriveDrop;
    if (arrives && (in.mode2 & kNoOrder) == 0) order_.Release(warp, lanes, barrier.arriving);
    for (; lanes != 0; lanes &= lanes - 1) {
      const int lane = __builtin_ctz(lanes);
      const uint64_t value = operand(lane);
      const auto number = static_cast<uint32_t>(value);
      const bool expects = (in.mode2 & kArriveExpectsTx) != 0;
      switch (op) {
        case MbarrierOp::kInval:
          if (!Inval(warp, lane, barrier)) return false;
          break;
        case MbarrierOp::kArrive:
        case MbarrierOp::kArriveDrop: {
          const uint64_t state = barrier.phase << kCountBits | barrier.pending;
          if (expects && !AddTransactions(warp, lane, barrier, number)) return false;
          if ((in.mode2 & kArriveNoComplete) != 0 && number == barrier.pending) {
            return FailMbarrier(warp, lane, MbarrierFault::kWouldComplete, offset);
          }
          if (!Arrive(warp, lane, barrier, expects ? 1 : number, op == MbarrierOp::kArriveDrop)) {
            return false;
          }
          if (in.num_dst > 0) WriteLane(warp, in.dst[0], lane, state);
          break;
        }
        case MbarrierOp::kExpectTx:
        case MbarrierOp::kCompleteTx: {
          const int64_t bytes = number;
          if (!AddTransactions(warp, lane, barrier, op == MbarrierOp::kExpectTx ? bytes : -bytes)) {
            return false;
          }
          Finish(barrier);
          break;
        }
        case MbarrierOp::kWait: {
          const int done = Wait(warp, lane, barrier, in, value);
          if (done < 0) return false;
          WriteLane(warp, in.dst[0], lane, static_cast<uint64_t>(done));
          if (done != 0) break;
          warp.polled |= 1u << lane;
          warp.poll_pc = static_cast<uint32_t>(&in - block_.launch->code);
          warp.poll_lane = static_cast<uint32_t>(lane);
          warp.poll_address = offset;
          break;
        }
        default:
          break;
      }
    }
  }
  return true;
}

int Mbarriers::FindForBulk(Warp& warp, int lane, uint64_t offset) {
  const int index = Find(warp, lane, offset);
  if (index < 0) return -1;
  const uint32_t stamp = barriers_[static_cast<size_t>(index)].init_stamp;
  const uint32_t time = TimeOf(stamp);
  if (time < block_.proxy_fence[IdOf(stamp) / kLanes] || time < block_.proxy_fence[warp.index]) {
    return index;
  }
  block_.fault.other_thread = IdOf(stamp);
  Fail(warp, lane, FaultKind::kNoProxyFence, offset);
  return -1;
}

void Mbarriers::BeginCopy(int index, uint32_t offset, uint32_t bytes, uint32_t pc,
                          uint32_t thread) {
  MarkWriter(block_, offset, bytes,
             kPendingTime << kIdBits | (kFirstMbarrierId + static_cast<uint32_t>(index)));
  barriers_[static_cast<size_t>(index)].copies.push_back({offset, bytes, pc, thread, 0, false});
}

bool Mbarriers::EndCopy(int index, uint32_t offset, uint32_t bytes, uint32_t transactions) {
  Mbarrier& barrier = barriers_[static_cast<size_t>(index)];
  ++block_.progress;
  for (Copy& copy : barrier.copies) {
    if (copy.complete || copy.offset != offset || copy.bytes != bytes) continue;
    copy.complete = true;
    copy.phase = barrier.phase;
    const int64_t sum = int64_t{barrier.transactions} - transactions;
    if (sum < -int64_t{kMaxCount}) {
      Fault& fault = block_.fault;
      fault.kind = FaultKind::kMbarrier;
      fault.mask = static_cast<uint32_t>(MbarrierFault::kTransactions);
      fault.address = barrier.offset;
      fault.space = Space::kShared;
      fault.value = sum;
      fault.warp = copy.thread / kLanes;
      fault.lane = copy.thread % kLanes;
      fault.pc = copy.pc;
      return false;
    }
    barrier.transactions = static_cast<int32_t>(sum);
    Finish(barrier);
    return true;
  }
  return true;
}

bool Mbarriers::ArriveForCopies(Warp& warp, int lane, int index, bool counted) {
  Mbarrier& barrier = barriers_[static_cast<size_t>(index)];
  ++block_.progress;
  // Without .noinc the arrival makes its own room.
  if (!counted) ++barrier.pending;
  return Arrive(warp, lane, barrier, 1, false);
}

const Mbarriers::Copy* Mbarriers::Unawaited() const {
  for (const Mbarrier& barrier : barriers_) {
    if (!barrier.copies.empty()) return &barrier.copies.front();
  }
  return nullptr;
}

void Mbarriers::Explain(uint64_t offset, Fault& fault) const {
  for (const Mbarrier& barrier : barriers_) {
    if (barrier.offset != offset || !barrier.live) continue;
    fault.mask = barrier.pending;
    fault.value = barrier.transactions;
    fault.reg = static_cast<uint32_t>(barrier.phase & 1);
  }
}

}  // namespace ptxsmith::emu

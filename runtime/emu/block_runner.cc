#include "runtime/emu/block_runner.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "runtime/emu/schedule.h"

namespace ptxsmith::emu {
namespace {

// Instructions a warp runs before another gets its turn; bounds how late a budget is noticed.
constexpr uint64_t kSlice = 1 << 14;

bool HasState(const Warp& warp, Group::State state) {
  return std::any_of(warp.groups, warp.groups + warp.num_groups,
                     [state](const Group& g) { return g.state == state; });
}

void Fill32(uint8_t* registers, const Operand& where, uint32_t lane, uint32_t value) {
  std::memcpy(registers + where.offset + 4 * lane, &value, 4);
}

// Those who yielded take part again.
void Wake(Warp& warp) {
  for (int i = 0; i < warp.num_groups; ++i) {
    Group& group = warp.groups[i];
    if (group.state != Group::kYielded) continue;
    group.state = Group::kRunnable;
    for (int j = 0; j < warp.num_groups; ++j) {
      Group& other = warp.groups[j];
      if (j == i || other.state != Group::kRunnable || other.pc != group.pc) continue;
      other.mask |= group.mask;
      group = warp.groups[--warp.num_groups];
      --i;
      break;
    }
  }
}

}  // namespace

void BlockRunner::FreeDeleter::operator()(uint8_t* p) const {
  ::operator delete[](p, std::align_val_t(64));
}

BlockRunner::AlignedBytes BlockRunner::Allocate(size_t bytes) {
  auto* p = static_cast<uint8_t*>(::operator new[](bytes + 64, std::align_val_t(64)));
  std::memset(p, 0, bytes + 64);
  return AlignedBytes(p);
}

BlockRunner::BlockRunner(LaunchPlan& plan)
    : plan_(plan),
      kernel_(*plan.kernel),
      block_{.launch = &plan.launch},
      order_(block_),
      mbarriers_(block_, order_),
      copies_(block_, mbarriers_),
      groups_(block_, order_) {
  const Launch& launch = plan.launch;
  const size_t warps = launch.num_warps, registers = kernel_.register_names.size();
  const size_t stride = (kernel_.register_bytes + 63) / 64 * 64;
  registers_ = Allocate(warps * stride);
  shared_ = Allocate(launch.shared_bytes);
  local_ = Allocate(size_t{launch.local_bytes} * kLanes * warps);
  local_defined_.resize(size_t{launch.local_bytes} * kLanes * warps);
  defined_.resize(warps * registers);
  defined_at_start_.resize(registers);
  block_.owner = this;
  block_.shared = shared_.get();
  const size_t granules = (size_t{launch.shared_bytes} >> kernel_.shared_granule_shift) + 1;
  shadow_.resize(4 * granules);
  block_.shadow.granule_shift = kernel_.shared_granule_shift;
  block_.shadow.writer = shadow_.data();
  block_.shadow.reader = shadow_.data() + granules;
  block_.shadow.reader2 = shadow_.data() + 2 * granules;
  block_.shadow.atomic = shadow_.data() + 3 * granules;
  warps_.resize(warps);
  for (size_t w = 0; w < warps; ++w) {
    Warp& warp = warps_[w];
    warp.regs = registers_.get() + w * stride;
    warp.defined = defined_.data() + w * registers;
    warp.local = local_.get() + w * kLanes * launch.local_bytes;
    warp.local_defined = local_defined_.data() + w * kLanes * launch.local_bytes;
    warp.index = static_cast<uint32_t>(w);
    warp.first_thread = static_cast<uint32_t>(w * kLanes);
    const uint32_t lanes = std::min<uint32_t>(kLanes, launch.num_threads - warp.first_thread);
    warp.exists = lanes == kLanes ? kFullMask : (1u << lanes) - 1;
  }
  SetPresets();
}

void BlockRunner::SetPresets() {
  for (const PresetRegister& preset : kernel_.presets) {
    defined_at_start_[preset.where.reg] = kFullMask;
    for (Warp& warp : warps_) {
      uint64_t value = preset.value;
      switch (preset.kind) {
        case PresetRegister::kSpecial:
          SetSpecial(preset.where, static_cast<SpecialRegister>(preset.value),
                     static_cast<int>(warp.index));
          continue;
        case PresetRegister::kGlobalAddress:
          value += plan_.globals[preset.variable];
          break;
        case PresetRegister::kConstant:
          break;
      }
      const int copies = preset.where.bytes == 0 ? 1 : kLanes;
      const int bytes = preset.where.bytes == 8 ? 8 : 4;
      for (int i = 0; i < copies; ++i) {
        std::memcpy(warp.regs + preset.where.offset + i * bytes, &value, bytes);
      }
    }
  }
}

void BlockRunner::SetSpecial(const Operand& where, SpecialRegister which, int warp_index) {
  Warp& warp = warps_[warp_index];
  const std::array<uint32_t, 3>& ntid = plan_.block;
  const std::array<uint32_t, 3>& nctaid = plan_.grid;
  const std::array<uint64_t, 3> ctaid = {block_.linear % nctaid[0],
                                         block_.linear / nctaid[0] % nctaid[1],
                                         block_.linear / (uint64_t{nctaid[0]} * nctaid[1])};
  for (uint32_t lane = 0; lane < kLanes; ++lane) {
    const uint32_t thread = warp.first_thread + lane, bit = 1u << lane;
    uint32_t value = 0;
    switch (which) {
      case SpecialRegister::kTidX:
        value = thread % ntid[0];
        break;
      case SpecialRegister::kTidY:
        value = thread / ntid[0] % ntid[1];
        break;
      case SpecialRegister::kTidZ:
        value = thread / (ntid[0] * ntid[1]);
        break;
      case SpecialRegister::kNtidX:
        value = ntid[0];
        break;
      case SpecialRegister::kNtidY:
        value = ntid[1];
        break;
      case SpecialRegister::kNtidZ:
        value = ntid[2];
        break;
      case SpecialRegister::kCtaidX:
        value = static_cast<uint32_t>(ctaid[0]);
        break;
      case SpecialRegister::kCtaidY:
        value = static_cast<uint32_t>(ctaid[1]);
        break;
      case SpecialRegister::kCtaidZ:
        value = static_cast<uint32_t>(ctaid[2]);
        break;
      case SpecialRegister::kNctaidX:
        value = nctaid[0];
        break;
      case SpecialRegister::kNctaidY:
        value = nctaid[1];
        break;
      case SpecialRegister::kNctaidZ:
        value = nctaid[2];
        break;
      case SpecialRegister::kLaneId:
        value = lane;
        break;
      case SpecialRegister::kWarpId:
        value = warp.index;
        break;
      case SpecialRegister::kNwarpId:
        value = static_cast<uint32_t>(warps_.size());
        break;
      case SpecialRegister::kSmId:
        value = 0;
        break;
      case SpecialRegister::kNsmId:
        value = 1;
        break;
      case SpecialRegister::kLanemaskEq:
        value = bit;
        break;
      case SpecialRegister::kLanemaskLt:
        value = bit - 1;
        break;
      case SpecialRegister::kLanemaskLe:
        value = bit | (bit - 1);
        break;
      case SpecialRegister::kLanemaskGt:
        value = ~(bit | (bit - 1));
        break;
      case SpecialRegister::kLanemaskGe:
        value = ~(bit - 1);
        break;
      case SpecialRegister::kDynamicSmemSize:
        value = plan_.dynamic_shared;
        break;
      case SpecialRegister::kTotalSmemSize:
        value = plan_.launch.shared_bytes;
        break;
    }
    Fill32(warp.regs, where, lane, value);
  }
}

void BlockRunner::Rebase() {
  SharedShadow& shadow = block_.shadow;
  const size_t granules = shadow_.size() / 4;
  for (size_t g = 0; g < granules; ++g) {
    const bool written = shadow.writer[g] >= shadow.block_start;
    const bool lasting = TimeOf(shadow.writer[g]) > kMaxTime;
    if (!lasting) shadow.writer[g] = written ? 1u << kIdBits : 0;
  }
  std::fill(shadow_.begin() + static_cast<int64_t>(granules), shadow_.end(), 0);
  shadow.block_start = 1u << kIdBits;
  block_.now = 2;
  std::fill(std::begin(block_.proxy_fence), std::end(block_.proxy_fence), block_.now);
  order_.Restart();
  mbarriers_.Restart();
}

void BlockRunner::Start(uint64_t linear) {
  copies_.Reset();
  groups_.Reset();
  mbarriers_.Reset();
  block_.linear = linear;
  block_.observed = block_.acquired = false;
  block_.after_grid_wait = 0;
  block_.fault = Fault();
  // Any nonzero state; blocks differ, runs with the same seed do not.
  block_.random = plan_.seed == 0 ? 0 : (plan_.seed * 0x9e3779b97f4a7c15u + linear * 2 + 1) | 1;
  if (block_.now > kMaxTime / 2) {
    std::fill(shadow_.begin(), shadow_.end(), 0);
    block_.now = 1;
  }
  ++block_.now;
  block_.shadow.block_start = block_.now << kIdBits;
  std::fill(std::begin(block_.proxy_fence), std::end(block_.proxy_fence), 0);
  order_.Restart();
  std::fill(std::begin(block_.arrived), std::end(block_.arrived), 0);
  std::fill(std::begin(block_.arrived_warps), std::end(block_.arrived_warps), 0);
  std::fill(local_defined_.begin(), local_defined_.end(), 0);
  for (const PresetRegister& preset : kernel_.presets) {
    const auto which = static_cast<SpecialRegister>(preset.value);
    if (preset.kind != PresetRegister::kSpecial || which < SpecialRegister::kCtaidX ||
        which > SpecialRegister::kCtaidZ) {
      continue;
    }
    for (size_t w = 0; w < warps_.size(); ++w) {
      SetSpecial(preset.where, which, static_cast<int>(w));
    }
  }
  for (Warp& warp : warps_) {
    std::copy(defined_at_start_.begin(), defined_at_start_.end(), warp.defined);
    warp.live = warp.exists;
    warp.polled = 0;
    warp.num_groups = 1;
    warp.groups[0] = Group{warp.exists, 0, Group::kRunnable, 0, 0};
  }
}

bool BlockRunner::RunOne(Warp& warp, bool& busy) {
  Wake(warp);
  const uint64_t before = block_.instructions;
  const uint64_t slice = block_.random == 0 ? kSlice : 1 + NextRandom(block_.random) % 256;
  const Stop stop = plan_.program->backend->run(&block_, &warp, slice);
  if (stop == Stop::kFault) {
    groups_.Explain(warp);
    return false;
  }
  if (stop == Stop::kSlice) busy = true;
  if (plan_.budget != 0) {
    const uint64_t used = block_.instructions - before;
    if (plan_.instructions.fetch_add(used, std::memory_order_relaxed) + used > plan_.budget) {
      block_.fault.kind = FaultKind::kBudget;
      block_.fault.warp = warp.index;
      block_.fault.pc = warp.num_groups > 0 ? warp.groups[0].pc : 0;
      return false;
    }
  }
  if (block_.now > kMaxTime - 2 * kSlice) Rebase();
  return copies_.LandSome() && ReleaseBarriers();
}

BlockRunner::Turn BlockRunner::Round(bool natural) {
  const uint64_t random = block_.random;
  if (natural) block_.random = 0;
  const Turn turn = RunWarps();
  if (natural) block_.random = random;
  return turn;
}

BlockRunner::Turn BlockRunner::RunWarps() {
  const size_t n = warps_.size();
  const uint64_t progress = block_.progress;
  bool busy = false;
  const size_t first = block_.random == 0 ? 0 : NextRandom(block_.random) % n;
  for (size_t i = 0; i < n; ++i) {
    Warp& warp = warps_[(first + i) % n];
    if (!HasState(warp, Group::kRunnable) && !HasState(warp, Group::kYielded)) continue;
    if (!RunOne(warp, busy)) return Turn::kFault;
  }
  bool live = false, runnable = false, yielded = false;
  for (const Warp& warp : warps_) {
    live = live || warp.live != 0;
    runnable = runnable || HasState(warp, Group::kRunnable);
    yielded = yielded || HasState(warp, Group::kYielded);
  }
  if (!live) return copies_.Finish() && groups_.Finish() ? Turn::kDone : Turn::kFault;
  if (block_.progress != progress) return Turn::kBusy;
  if (busy || runnable) return Turn::kThinking;
  bool landed = false;
  if (!copies_.LandAll(landed)) return Turn::kFault;
  if (landed) return Turn::kBusy;
  if (yielded) return Turn::kQuiet;
  Deadlock();
  return Turn::kFault;
}

uint64_t BlockRunner::Digest() const {
  uint64_t digest = 0;
  const auto add = [&](uint64_t word) {
    digest = (digest ^ word) * 0x9e3779b97f4a7c15u;
    digest ^= digest >> 29;
  };
  const size_t stride = (kernel_.register_bytes + 63) / 64 * 64;
  for (size_t i = 0; i < warps_.size() * stride; i += 8) {
    uint64_t word;
    std::memcpy(&word, registers_.get() + i, sizeof(word));
    add(word);
  }
  for (const Warp& warp : warps_) {
    for (int i = 0; i < warp.num_groups; ++i) {
      const Group& group = warp.groups[i];
      add(uint64_t{group.mask} << 32 | group.pc);
      add(group.state);
    }
  }
  return digest;
}

// Lets go every barrier at which as many threads wait as it expects.
bool BlockRunner::ReleaseBarriers() {
  uint32_t arrived[kNumBarriers], expected[kNumBarriers], warps[kNumBarriers] = {};
  std::copy(std::begin(block_.arrived), std::end(block_.arrived), arrived);
  std::copy(std::begin(block_.arrived_expected), std::end(block_.arrived_expected), expected);
  for (const Warp& warp : warps_) {
    for (int i = 0; i < warp.num_groups; ++i) {
      const Group& group = warp.groups[i];
      if (group.state != Group::kAtBarrier) continue;
      const uint32_t want =
          group.barrier_count != 0 ? group.barrier_count : plan_.launch.num_threads;
      if (arrived[group.barrier] != 0 && expected[group.barrier] != want) {
        block_.fault.kind = FaultKind::kBadBarrier;
        block_.fault.warp = warp.index;
        block_.fault.lane = static_cast<uint32_t>(__builtin_ctz(group.mask));
        block_.fault.pc = group.pc - 1;
        block_.fault.mask = want;
        return false;
      }
      expected[group.barrier] = want;
      // An explicit count is in whole warps; lanes that do not exist count as arrived.
      const uint32_t lanes = group.barrier_count != 0 ? group.mask | ~warp.exists : group.mask;
      arrived[group.barrier] += static_cast<uint32_t>(__builtin_popcount(lanes));
      warps[group.barrier] |= 1u << warp.index;
    }
  }
  for (uint32_t b = 0; b < kNumBarriers; ++b) {
    if (warps[b] != 0 && arrived[b] >= expected[b]) Release(b, warps[b]);
  }
  return true;
}

void BlockRunner::Release(uint32_t barrier, uint32_t warps) {
  for (Warp& warp : warps_) {
    if ((warps >> warp.index & 1) == 0) continue;
    for (int i = 0; i < warp.num_groups; ++i) {
      Group& group = warp.groups[i];
      if (group.state != Group::kAtBarrier || group.barrier != barrier) continue;
      group.state = Group::kRunnable;
      // Lanes that waited at the same instruction go on together.
      for (int j = 0; j < i; ++j) {
        Group& other = warp.groups[j];
        if (other.state != Group::kRunnable || other.pc != group.pc) continue;
        other.mask |= group.mask;
        group = warp.groups[--warp.num_groups];
        --i;
        break;
      }
    }
  }
  ++block_.progress;
  order_.Barrier(warps, block_.arrived_warps[barrier] & ~warps, block_.arrived_time[barrier]);
  block_.arrived[barrier] = block_.arrived_warps[barrier] = 0;
}

void BlockRunner::Deadlock() {
  // Lanes parked for others of their warp tell more than those that poll, and these more than
  // those at a barrier.
  for (const Group::State state : {Group::kParked, Group::kYielded, Group::kAtBarrier}) {
    for (const Warp& warp : warps_) {
      for (int i = 0; i < warp.num_groups; ++i) {
        const Group& group = warp.groups[i];
        if (group.state != state) continue;
        Fault& fault = block_.fault;
        fault.warp = warp.index;
        fault.lane = static_cast<uint32_t>(__builtin_ctz(group.mask));
        fault.mask = group.mask;
        fault.reg = group.barrier;
        switch (state) {
          case Group::kParked:
            fault.kind = FaultKind::kDivergent;
            fault.pc = group.pc;
            return;
          case Group::kAtBarrier:
            fault.kind = FaultKind::kDeadlock;
            fault.pc = group.pc - 1;
            return;
          default:
            fault.kind = FaultKind::kPollsForever;
            fault.pc = warp.poll_pc;
            fault.lane = warp.poll_lane;
            fault.address = warp.poll_address;
            fault.space = kernel_.code[warp.poll_pc].space;
            mbarriers_.Explain(warp.poll_address, fault);
            return;
        }
      }
    }
  }
}

namespace {

BlockRunner& RunnerOf(const Block* block) { return *static_cast<BlockRunner*>(block->owner); }

}  // namespace

Callbacks BlockRunner::MakeCallbacks() {
  Callbacks calls;
  calls.new_writers = [](const Launch* launch, uint64_t id) {
    const auto* plan = static_cast<const LaunchPlan*>(launch->owner);
    return plan->access->NewWriters(id, plan->kernel->global_granule_shift);
  };
  calls.issue_async = [](Block* block, uint32_t thread, const AsyncCopy* copy) {
    RunnerOf(block).copies_.Issue(thread, *copy);
  };
  calls.commit_async = [](Block* block, uint32_t thread) {
    RunnerOf(block).copies_.Commit(thread);
  };
  calls.wait_async = [](Block* block, uint32_t thread, uint32_t pending, bool all) {
    RunnerOf(block).copies_.Wait(thread, pending, all);
  };
  calls.issue_bulk = [](Block* block, Warp* warp, const BulkCopy* copy) {
    return RunnerOf(block).copies_.IssueBulk(*warp, *copy);
  };
  calls.commit_bulk = [](Block* block, uint32_t thread) {
    RunnerOf(block).copies_.CommitBulk(thread);
  };
  calls.wait_bulk = [](Block* block, uint32_t thread, uint32_t pending) {
    RunnerOf(block).copies_.WaitBulk(thread, pending);
  };
  calls.mbarrier = [](Block* block, Warp* warp, const Instr* in, uint32_t exec) {
    BlockRunner& runner = RunnerOf(block);
    return in->kind == Kind::kMbarrier ? runner.mbarriers_.Execute(*warp, *in, exec)
                                       : runner.copies_.ArriveOnMbarrier(*warp, *in, exec);
  };
  calls.wgmma = [](Block* block, Warp* warp, const Instr* in, uint32_t exec) {
    WarpGroups& groups = RunnerOf(block).groups_;
    return in->kind == Kind::kWgmma ? groups.Execute(*warp, *in, exec) : groups.Touch(*warp);
  };
  calls.clock = [](const Block* block) { return block->instructions; };
  return calls;
}

}  // namespace ptxsmith::emu

#include "runtime/emu/grid_runner.h"

#include <utility>

#include "runtime/emu/schedule.h"

namespace ptxsmith::emu {
namespace {

// Rounds of a block before another one has its turn.
constexpr uint32_t kTurns = 64;
// Rounds without any change, for each block, after which a random schedule gives way to the natural
// one, under which a state that comes back will come back for ever.
constexpr uint64_t kPatience = 64;

}  // namespace

bool GridRunner::StartNext(Resident* resident, std::vector<Resident>& residents) {
  // Blocks are handed out in order, so every block before a faulty one is run, and the first fault
  // reported does not depend on the number of threads.
  if (next_.load() >= end_.load()) return false;
  const uint64_t at = next_.fetch_add(1);
  if (at >= end_.load()) return false;
  if (resident == nullptr) {
    resident = &residents.emplace_back();
    resident->runner = std::make_unique<BlockRunner>(plan_);
  }
  resident->at = at;
  resident->runner->Start(Linear(at));
  return true;
}

void GridRunner::Report(const Resident& resident) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (resident.at >= fault_at_) return;
  fault_at_ = resident.at;
  fault_ = resident.runner->block().fault;
  end_ = resident.at;
}

void GridRunner::Retire(const Resident& resident) {
  const std::lock_guard<std::mutex> lock(mutex_);
  instructions_ += resident.runner->block().instructions;
  lane_ops_ += resident.runner->block().lane_ops;
}

void GridRunner::Work() {
  std::vector<Resident> residents;
  while (plan_.cooperative && StartNext(nullptr, residents)) {
  }
  if (residents.empty() && !StartNext(nullptr, residents)) return;
  uint64_t random = plan_.seed;  // 0: natural order
  uint64_t quiet = 0;            // rounds in a row that have changed nothing
  uint64_t digest = 0;           // of all blocks, at some quiet time
  size_t current = 0;
  uint32_t turns = 0;
  bool failed = false;
  while (!failed && !residents.empty()) {
    Resident& resident = residents[current];
    const bool calm = quiet > kPatience * residents.size();
    switch (resident.runner->Round(calm)) {
      case BlockRunner::Turn::kBusy:
        quiet = digest = 0;
        break;
      case BlockRunner::Turn::kThinking:
        digest = 0;
        break;
      case BlockRunner::Turn::kQuiet:
        ++quiet;
        turns = kTurns;
        break;
      case BlockRunner::Turn::kDone:
        quiet = digest = 0;
        turns = kTurns;
        if (StartNext(&resident, residents)) break;
        Retire(resident);
        if (current + 1 < residents.size()) std::swap(resident, residents.back());
        residents.pop_back();
        current = 0;
        continue;
      case BlockRunner::Turn::kFault:
        Report(resident);
        failed = true;
        continue;
    }
    // A quiet round for each: perhaps they wait for blocks that have not begun.
    if (quiet >= residents.size() && together() && StartNext(nullptr, residents)) {
      current = residents.size() - 1;
      quiet = 0;
      continue;
    }
    if (quiet >= residents.size() && quiet % residents.size() == 0 && (random == 0 || calm)) {
      uint64_t now = 1;
      for (const Resident& r : residents) now = now * 31 + r.runner->Digest();
      if (now == digest) {
        resident.runner->Deadlock();
        Report(resident);
        failed = true;
      }
      digest = now;
    }
    if (++turns < kTurns) continue;
    turns = 0;
    current = random == 0 || calm ? (current + 1) % residents.size()
                                  : NextRandom(random) % residents.size();
  }
  for (const Resident& resident : residents) Retire(resident);
}

}  // namespace ptxsmith::emu

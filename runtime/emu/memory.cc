#include "runtime/emu/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith::emu {

Memory::Memory() : chunks_(new Allocation*[kMaxAllocations >> kChunkShift]()) {
  owned_.emplace_back();
  chunk_storage_.emplace_back(new Allocation[kChunkEntries]);
  chunks_[0] = chunk_storage_[0].get();
}

Memory::~Memory() = default;

Allocation* Memory::Find(uint64_t address) const {
  const uint64_t id = address >> kIdShift;
  if (id == 0 || id >= owned_.size()) return nullptr;
  return &chunks_[id >> kChunkShift][id & (kChunkEntries - 1)];
}

absl::StatusOr<uint64_t> Memory::Allocate(uint64_t bytes, absl::string_view name) {
  std::unique_lock<std::shared_mutex> lock(mutex_);
  return AllocateLocked(bytes, name);
}

absl::StatusOr<uint64_t> Memory::AllocateLocked(uint64_t bytes, absl::string_view name) {
  const uint64_t id = owned_.size();
  if (bytes > kOffsetMask / 2 || id >= kMaxAllocations) {
    return absl::ResourceExhaustedError(
        absl::StrCat("allocation '", name, "' of ", bytes, " bytes: the emulator has none left"));
  }
  Owned owned;
  // calloc leaves large blocks untouched until they are used.
  owned.data.reset(static_cast<uint8_t*>(std::calloc(bytes + 1, 1)));
  owned.defined.reset(static_cast<uint8_t*>(std::calloc(bytes + 1, 1)));
  if (owned.data == nullptr || owned.defined == nullptr) {
    return absl::ResourceExhaustedError(
        absl::StrCat("allocation '", name, "' of ", bytes, " bytes: out of host memory"));
  }
  owned.name = std::string(name);
  if ((id & (kChunkEntries - 1)) == 0) {
    chunk_storage_.emplace_back(new Allocation[kChunkEntries]);
    chunks_[id >> kChunkShift] = chunk_storage_.back().get();
  }
  Allocation& entry = chunks_[id >> kChunkShift][id & (kChunkEntries - 1)];
  entry.data = owned.data.get();
  entry.bytes = bytes;
  entry.defined = owned.defined.get();
  owned_.push_back(std::move(owned));
  return id << kIdShift;
}

absl::Status Memory::Free(uint64_t address) {
  std::unique_lock<std::shared_mutex> lock(mutex_);
  Allocation* entry = Find(address);
  if (entry == nullptr || (address & kOffsetMask) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("free of 0x", absl::Hex(address), ", which is no allocation"));
  }
  Owned& owned = owned_[address >> kIdShift];
  if (entry->freed) {
    return absl::InvalidArgumentError(absl::StrCat("allocation '", owned.name, "' freed twice"));
  }
  Allocation freed;  // the size stays for messages
  freed.bytes = entry->bytes;
  freed.freed = true;
  *entry = freed;
  owned.data.reset();
  owned.defined.reset();
  owned.writers.reset();
  return absl::OkStatus();
}

std::string Memory::DescribeLocked(uint64_t address) const {
  const Allocation* entry = Find(address);
  if (entry == nullptr) return "no allocation";
  return absl::StrCat("'", owned_[address >> kIdShift].name, "' + ", address & kOffsetMask, " (",
                      entry->bytes, " bytes", entry->freed ? ", freed)" : ")");
}

std::string Memory::Describe(uint64_t address) const {
  std::shared_lock<std::shared_mutex> lock(mutex_);
  return DescribeLocked(address);
}

absl::Status Memory::CheckRange(uint64_t address, uint64_t bytes, absl::string_view what) const {
  const Allocation* entry = Find(address);
  const uint64_t offset = address & kOffsetMask;
  if (entry != nullptr && !entry->freed && offset <= entry->bytes &&
      bytes <= entry->bytes - offset) {
    return absl::OkStatus();
  }
  return absl::OutOfRangeError(absl::StrCat(what, " of ", bytes, " bytes at 0x", absl::Hex(address),
                                            ": ", DescribeLocked(address)));
}

void Memory::MarkDefined(uint64_t address, uint64_t bytes) {
  Allocation* entry = Find(address);
  if (entry->defined == nullptr) return;
  if (bytes == entry->bytes) {
    // All of it is defined from now on: the shadow is not needed any more.
    entry->defined = nullptr;
    owned_[address >> kIdShift].defined.reset();
  } else {
    std::memset(entry->defined + (address & kOffsetMask), 1, bytes);
  }
}

absl::Status Memory::Write(uint64_t address, const void* from, uint64_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  std::unique_lock<std::shared_mutex> lock(mutex_);
  PTXSMITH_RETURN_IF_ERROR(CheckRange(address, bytes, "write"));
  dependency_base_ = next_writer_;  // follows all launches
  std::memcpy(Find(address)->data + (address & kOffsetMask), from, bytes);
  MarkDefined(address, bytes);
  return absl::OkStatus();
}

absl::Status Memory::Fill(uint64_t address, uint8_t value, uint64_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  std::unique_lock<std::shared_mutex> lock(mutex_);
  PTXSMITH_RETURN_IF_ERROR(CheckRange(address, bytes, "fill"));
  dependency_base_ = next_writer_;  // follows all launches
  std::memset(Find(address)->data + (address & kOffsetMask), value, bytes);
  MarkDefined(address, bytes);
  return absl::OkStatus();
}

absl::Status Memory::Read(uint64_t address, void* to, uint64_t bytes) const {
  if (bytes == 0) return absl::OkStatus();
  std::shared_lock<std::shared_mutex> lock(mutex_);
  PTXSMITH_RETURN_IF_ERROR(CheckRange(address, bytes, "read"));
  const Allocation* entry = Find(address);
  const uint64_t offset = address & kOffsetMask;
  if (entry->defined != nullptr) {
    const uint8_t* begin = entry->defined + offset;
    const uint8_t* end = begin + bytes;
    const uint8_t* hole = std::find(begin, end, 0);
    if (hole != end) {
      return absl::FailedPreconditionError(
          absl::StrCat("read of ", owned_[address >> kIdShift].name, " + ",
                       offset + static_cast<uint64_t>(hole - begin), " (", entry->bytes,
                       " bytes), which nobody wrote"));
    }
  }
  std::memcpy(to, entry->data + offset, bytes);
  return absl::OkStatus();
}

absl::Status Memory::Copy(uint64_t to, uint64_t from, uint64_t bytes) {
  if (bytes == 0) return absl::OkStatus();
  std::unique_lock<std::shared_mutex> lock(mutex_);
  PTXSMITH_RETURN_IF_ERROR(CheckRange(to, bytes, "copy"));
  PTXSMITH_RETURN_IF_ERROR(CheckRange(from, bytes, "copy"));
  dependency_base_ = next_writer_;
  Allocation* target = Find(to);
  const Allocation* source = Find(from);
  const uint64_t target_offset = to & kOffsetMask, source_offset = from & kOffsetMask;
  std::memmove(target->data + target_offset, source->data + source_offset, bytes);
  if (source->defined == nullptr) {
    if (target->defined != nullptr) std::memset(target->defined + target_offset, 1, bytes);
    return absl::OkStatus();
  }
  if (target->defined == nullptr) {
    Owned& owned = owned_[to >> kIdShift];
    owned.defined.reset(static_cast<uint8_t*>(std::calloc(target->bytes + 1, 1)));
    if (owned.defined == nullptr) return absl::ResourceExhaustedError("out of host memory");
    std::memset(owned.defined.get(), 1, target->bytes);
    target->defined = owned.defined.get();
  }
  std::memmove(target->defined + target_offset, source->defined + source_offset, bytes);
  return absl::OkStatus();
}

uint64_t* LaunchAccess::NewWriters(uint64_t id, uint32_t granule_shift) {
  const std::lock_guard<std::mutex> lock(memory_.writers_mutex_);
  Allocation& entry = memory_.chunks_[id >> kChunkShift][id & (Memory::kChunkEntries - 1)];
  if (entry.writers != nullptr) return entry.writers;
  const uint64_t words = (entry.bytes >> granule_shift) + 1;
  Memory::Owned& owned = memory_.owned_[id];
  owned.writers.reset(new (std::nothrow) uint64_t[words]());
  entry.writer_shift = granule_shift;
  __atomic_store_n(&entry.writers, owned.writers.get(), __ATOMIC_RELEASE);
  memory_.shadowed_.push_back(id);
  return entry.writers;
}

LaunchAccess::Names LaunchAccess::ReserveBlocks(Memory& memory, uint64_t blocks,
                                                uint32_t granule_shift, bool programmatic) {
  std::unique_lock<std::shared_mutex> lock(memory.mutex_);
  // A shadow only matters within a launch, so it may be dropped between two: when the names of
  // blocks would repeat, or when it is too coarse for the narrowest access of this program.
  const bool restart = blocks > 0xffffffffu - memory.next_writer_;
  if (restart) memory.next_writer_ = 1;
  std::vector<uint64_t> kept;
  for (uint64_t id : memory.shadowed_) {
    Allocation& entry = memory.chunks_[id >> kChunkShift][id & (Memory::kChunkEntries - 1)];
    if (!restart && !entry.freed && entry.writer_shift <= granule_shift) {
      kept.push_back(id);
    } else {
      entry.writers = nullptr;
      entry.last_stored = 0;
      memory.owned_[id].writers.reset();
    }
  }
  memory.shadowed_ = std::move(kept);
  const uint32_t first = memory.next_writer_;
  memory.next_writer_ += static_cast<uint32_t>(blocks);
  // A programmatic launch may overlap the one before it, and through it those that one overlaps.
  if (restart || !programmatic) memory.dependency_base_ = first;
  return {first, programmatic ? memory.dependency_base_ : first};
}

absl::StatusOr<std::vector<uint64_t>> LaunchAccess::Globals(
    Memory& memory, const std::shared_ptr<const Program>& program) {
  if (program->globals.empty()) return std::vector<uint64_t>();
  std::unique_lock<std::shared_mutex> lock(memory.mutex_);
  auto [it, fresh] = memory.globals_.try_emplace(program.get());
  if (!fresh) return it->second;
  memory.programs_.push_back(program);
  for (const GlobalVariable& variable : program->globals) {
    PTXSMITH_ASSIGN_OR_RETURN(uint64_t address,
                              memory.AllocateLocked(variable.bytes, variable.name));
    it->second.push_back(address);
    Allocation* entry = memory.Find(address);
    std::memset(entry->data, 0, variable.bytes);
    std::copy(variable.initial.begin(), variable.initial.end(), entry->data);
    entry->defined = nullptr;
    memory.owned_[address >> kIdShift].defined.reset();
  }
  return it->second;
}

}  // namespace ptxsmith::emu

// The global memory of an emulated device: allocations with names, bounds, definedness and a record
// of who wrote what. Used by EmulatorDevice, by tests, and by every launch.
//
//   Memory memory;
//   PTXSMITH_ASSIGN_OR_RETURN(uint64_t x, memory.Allocate(4096, "x"));
//   PTXSMITH_RETURN_IF_ERROR(memory.Write(x, data, 4096));
//
// Addresses are not host addresses. Every allocation has its own 64 GiB of address space and an id
// that is never used again, so every overrun and every stale pointer is found.
//
// Thread-safety: safe. Write, Read, Fill and Free wait for running launches.
#ifndef PTXSMITH_RUNTIME_EMU_MEMORY_H_
#define PTXSMITH_RUNTIME_EMU_MEMORY_H_

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/emu/machine.h"
#include "runtime/emu/program.h"

namespace ptxsmith::emu {

class Memory {
 public:
  Memory();
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  // Undefined bytes, aligned to 256 (and more). `bytes` may be 0. ResourceExhausted when the host
  // has no memory left.
  absl::StatusOr<uint64_t> Allocate(uint64_t bytes, absl::string_view name);
  // `address` must be the begin of a live allocation.
  absl::Status Free(uint64_t address);

  // Copies; OutOfRange names the allocation when the range does not lie in it. Reading bytes that
  // nobody wrote is FailedPrecondition.
  absl::Status Write(uint64_t address, const void* from, uint64_t bytes);
  absl::Status Read(uint64_t address, void* to, uint64_t bytes) const;
  absl::Status Fill(uint64_t address, uint8_t value, uint64_t bytes);
  // Copies undefined bytes as undefined.
  absl::Status Copy(uint64_t to, uint64_t from, uint64_t bytes);

  // "x + 12 (4096 bytes)", for messages; also of freed and of no allocation.
  std::string Describe(uint64_t address) const;

 private:
  friend class LaunchAccess;

  struct HostFree {
    void operator()(uint8_t* p) const { std::free(p); }
  };
  struct Owned {
    std::unique_ptr<uint8_t[], HostFree> data;
    std::unique_ptr<uint8_t[], HostFree> defined;
    std::unique_ptr<uint64_t[]> writers;
    std::string name;
  };
  static constexpr uint64_t kChunkEntries = uint64_t{1} << kChunkShift;

  Allocation* Find(uint64_t address) const;
  absl::Status CheckRange(uint64_t address, uint64_t bytes, absl::string_view what) const;
  std::string DescribeLocked(uint64_t address) const;
  void MarkDefined(uint64_t address, uint64_t bytes);
  absl::StatusOr<uint64_t> AllocateLocked(uint64_t bytes, absl::string_view name);

  mutable std::shared_mutex mutex_;  // launches share it; everything else is alone
  std::mutex writers_mutex_;         // creation of race shadows during launches
  std::unique_ptr<Allocation*[]> chunks_;
  std::vector<std::unique_ptr<Allocation[]>> chunk_storage_;
  std::vector<Owned> owned_;  // by id; id 0 is never given out
  uint32_t next_writer_ = 1;
  // Name of the first block of the launches that may still run when a programmatic one starts.
  uint32_t dependency_base_ = 1;
  std::vector<uint64_t> shadowed_;  // ids with a race shadow
  // Variables of modules: one set per program.
  absl::flat_hash_map<const Program*, std::vector<uint64_t>> globals_;
  std::vector<std::shared_ptr<const Program>> programs_;  // keeps the keys alive
};

// What a launch may do with a memory while it runs. Holds the memory shared.
class LaunchAccess {
 public:
  explicit LaunchAccess(Memory& memory) : memory_(memory), lock_(memory.mutex_) {}

  Allocation* const* chunks() const { return memory_.chunks_.get(); }
  uint64_t num_allocations() const { return memory_.owned_.size(); }
  // The race shadow of an allocation, made on its first store. Thread-safe.
  uint64_t* NewWriters(uint64_t id, uint32_t granule_shift);

  // Before the launch: names for its blocks in the race shadows, and the addresses of the variables
  // of a program. Neither holds the memory.
  struct Names {
    uint32_t first;            // of the blocks of this launch
    uint32_t dependency_base;  // ... of the launches whose blocks may still run
  };
  static Names ReserveBlocks(Memory& memory, uint64_t blocks, uint32_t granule_shift,
                             bool programmatic);
  static absl::StatusOr<std::vector<uint64_t>> Globals(
      Memory& memory, const std::shared_ptr<const Program>& program);

 private:
  Memory& memory_;
  std::shared_lock<std::shared_mutex> lock_;
};

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_MEMORY_H_

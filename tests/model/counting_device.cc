#include "tests/model/counting_device.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

// operator new can reach nothing but globals.
std::atomic<int64_t> host_allocations{0};
std::atomic<int64_t> host_frees{0};

}  // namespace

// Not inlined: GCC 13 would see malloc and free through it and call the pair mismatched.
[[gnu::noinline]] void* operator new(size_t bytes) {
  ++host_allocations;
  if (void* memory = std::malloc(bytes == 0 ? 1 : bytes)) return memory;
  std::abort();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
  if (memory != nullptr) ++host_frees;
  std::free(memory);
}
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { operator delete(memory); }

namespace ptxsmith {

int64_t HostAllocations() { return host_allocations; }
int64_t LiveHostAllocations() { return host_allocations - host_frees; }

}  // namespace ptxsmith

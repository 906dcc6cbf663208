// libFuzzer's target: whatever the bytes, everything that reads a model file's metadata ends with a
// value or an error, and takes no more memory than a multiple of the file.
#include <sanitizer/allocator_interface.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include "tests/model/hostile_files.h"

namespace {

// Of all allocations of one run; hooks of the allocator can reach nothing but globals.
std::atomic<size_t> allocated{0};

void OnMalloc(const volatile void*, size_t bytes) { allocated += bytes; }
void OnFree(const volatile void*) {}

// An entry of 14 bytes costs a GgufEntry and its place in a table; the tokens of a vocabulary cost
// about as much again three times. Patterns and tables of fixed size come on top.
constexpr size_t kPerByte = 64;
constexpr size_t kFixed = 4 << 20;

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  __sanitizer_install_malloc_and_free_hooks(OnMalloc, OnFree);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  allocated = 0;
  ptxsmith::OpenAll({data, size}).IgnoreError();
  if (allocated > kPerByte * size + kFixed) {
    std::fprintf(stderr, "%zu bytes were allocated for a file of %zu\n", allocated.load(), size);
    std::abort();
  }
  return 0;
}

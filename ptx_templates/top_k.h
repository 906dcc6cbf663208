// The k largest elements of each row with their indices, largest first: the candidates of sampling.
//
// Mathematics  value[r][j], index[r][j] = the j-th element of row r in the order of falling value
//              and, among equals, of rising index. NaNs are left out; where fewer than k elements
//              remain, the rest are minus infinity with index 2^32 - 1.
// Layout       x: [rows][n] f32; values: [rows][k] f32; indices: [rows][k] u32.
// Geometry     one block of `threads` threads per row. Each thread first finds the best of its
//              stripe, every threads-th element; then, k times, the block takes the best of the
//              stripes' bests, and the warp of that stripe's thread searches it for its next.
//              40 of 128256 elements take 73 us (H200, 2026-11-20); with the whole block at a
//              stripe, two barriers a round, a step of the bundled model took 15 us more.
// Traffic      x once, and k stripes of n / threads elements again, from the caches.
// Numerics     exact.
// Limits       none on n; k up to 64.
#ifndef PTXSMITH_PTX_TEMPLATES_TOP_K_H_
#define PTXSMITH_PTX_TEMPLATES_TOP_K_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct TopKSpec {
  std::optional<uint32_t> n;
  uint32_t k = 40;
  std::optional<uint32_t> rows = 1;
  uint32_t threads = 1024;

  static constexpr absl::string_view kFamily = "top_k";
  static constexpr absl::string_view kSummary = "the k largest elements of each row, in order";
  static constexpr auto kFields =
      Fields(Field("n", &TopKSpec::n, AtLeast(1), "elements per row"),
             Field("k", &TopKSpec::k, Between(1, 64), "elements wanted"),
             Field("rows", &TopKSpec::rows, AtLeast(1), "rows"),
             Field("threads", &TopKSpec::threads, OneOf(32, 64, 128, 256, 512, 1024),
                   "threads per block"));
};

// Arguments: values (out), indices (out), x (in), then n and rows when open.
absl::StatusOr<KernelSpec> BuildTopK(const TopKSpec& spec, const Target& target);
std::vector<TopKSpec> TopKVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TOP_K_H_

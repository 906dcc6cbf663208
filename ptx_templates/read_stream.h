// Reads a buffer as fast as the device can: the roof that benchmarks measure kernels against.
//
// Mathematics  y[b] = xor of the words that block b reads: there so that the reads are not dropped.
// Layout       x: `words` u32; y: `blocks` u32.
// Geometry     `blocks` blocks of 512 threads; a thread keeps eight 16-byte loads in flight, a
// block
//              works through every blocks-th piece of 64 KiB.
// Traffic      every byte of x once.
// Limits       words a multiple of 16384.
#ifndef PTXSMITH_PTX_TEMPLATES_READ_STREAM_H_
#define PTXSMITH_PTX_TEMPLATES_READ_STREAM_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "codegen/kernel_spec.h"
#include "codegen/spec_fields.h"

namespace ptxsmith {

struct ReadStreamSpec {
  uint32_t words = 1 << 20;
  uint32_t blocks = 528;

  static constexpr absl::string_view kFamily = "read_stream";
  static constexpr absl::string_view kSummary = "reads a buffer at full bandwidth";
  static constexpr auto kFields =
      Fields(Field("words", &ReadStreamSpec::words, AtLeast(16384, 16384), "u32 to read"),
             Field("blocks", &ReadStreamSpec::blocks, Between(1, 65535), "blocks"));
};

// Arguments: y (out), x (in).
absl::StatusOr<KernelSpec> BuildReadStream(const ReadStreamSpec& spec, const Target& target);
std::vector<ReadStreamSpec> ReadStreamVariants();

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_READ_STREAM_H_

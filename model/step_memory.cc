#include "model/step_memory.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/kv_cache.h"

namespace ptxsmith {
namespace {

constexpr uint64_t kAlignment = 256;

uint64_t Aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

absl::StatusOr<StepIo> StepIo::Allocate(Device& device, const ModelConfig& config, uint32_t rows,
                                        uint32_t logit_rows) {
  StepIo io;
  io.rows_ = rows;
  io.logit_rows_ = logit_rows;
  io.vocab_ = config.vocab_size;
  struct Part {
    const char* name;
    Buffer& buffer;
    uint64_t elements;  // of four bytes
  };
  for (const Part& part :
       {Part{"tokens", io.tokens_, rows}, Part{"positions", io.positions_, rows},
        Part{"slots", io.slots_, rows},
        Part{"logits", io.logits_, uint64_t{logit_rows} * config.vocab_size},
        Part{"picked", io.picked_, logit_rows}, Part{"pick_count", io.pick_count_, 1},
        Part{"pick_log", io.pick_log_, uint64_t{kPickRing} * logit_rows}}) {
    PTXSMITH_ASSIGN_OR_RETURN(part.buffer, device.Allocate(part.elements * 4, part.name));
  }
  return io;
}

absl::StatusOr<KvCache> KvCache::Allocate(Device& device, const ModelConfig& config,
                                          const Options& options) {
  PTXSMITH_RETURN_IF_ERROR(CheckKvCell("KV cache", options.type, config.head_dim));
  const uint64_t cells = uint64_t{options.slots} * options.context * config.head_count_kv;
  if (cells > std::numeric_limits<uint32_t>::max()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a KV cache of ", options.slots, " sequences of ", options.context, " positions with ",
        config.head_count_kv, " heads; kernels count up to 2^32 cells of a layer"));
  }
  KvCache cache;
  cache.options_ = options;
  cache.part_bytes_ = Aligned(cells * KvCellBytes(options.type, config.head_dim));
  PTXSMITH_ASSIGN_OR_RETURN(
      cache.buffer_, device.Allocate(cache.part_bytes_ * 2 * config.block_count, "kv_cache"));
  return cache;
}

}  // namespace ptxsmith

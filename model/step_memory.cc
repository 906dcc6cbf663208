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

absl::StatusOr<Workspace> Workspace::Allocate(Device& device, absl::string_view name,
                                              std::initializer_list<Part> parts) {
  Workspace workspace;
  if (device.profile().emulated) {
    for (const Part& part : parts) {
      PTXSMITH_ASSIGN_OR_RETURN(Buffer buffer, device.Allocate(part.bytes, part.name));
      part.view = buffer;
      workspace.buffers_.push_back(std::move(buffer));
    }
    return workspace;
  }
  uint64_t total = 0;
  for (const Part& part : parts) total += Aligned(part.bytes);
  PTXSMITH_ASSIGN_OR_RETURN(Buffer buffer, device.Allocate(total, name));
  uint64_t offset = 0;
  for (const Part& part : parts) {
    part.view = BufferView(buffer).Slice(offset, part.bytes);
    offset += Aligned(part.bytes);
  }
  workspace.buffers_.push_back(std::move(buffer));
  return workspace;
}

absl::StatusOr<StepIo> StepIo::Allocate(Device& device, const ModelConfig& config, uint32_t rows,
                                        uint32_t logit_rows) {
  StepIo io;
  io.rows_ = rows;
  io.logit_rows_ = logit_rows;
  io.vocab_ = config.vocab_size;
  PTXSMITH_ASSIGN_OR_RETURN(
      io.workspace_,
      Workspace::Allocate(device, "inputs and outputs",
                          {{"tokens", io.tokens_, uint64_t{rows} * 4},
                           {"positions", io.positions_, uint64_t{rows} * 4},
                           {"slots", io.slots_, uint64_t{rows} * 4},
                           {"logits", io.logits_, uint64_t{logit_rows} * config.vocab_size * 4},
                           {"picked", io.picked_, uint64_t{logit_rows} * 4},
                           {"pick_count", io.pick_count_, 4},
                           {"pick_log", io.pick_log_, uint64_t{kPickRing} * logit_rows * 4}}));
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

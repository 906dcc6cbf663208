// Device memory of steps beside the weights. Workspace is what lies between the kernels of one
// Lowering; StepIo and KvCache are what all share: owned by Transformer, bound by every Lowering.
//
//   PTXSMITH_ASSIGN_OR_RETURN(StepIo io, StepIo::Allocate(device, config, rows, logit_rows));
//   PTXSMITH_ASSIGN_OR_RETURN(KvCache cache, KvCache::Allocate(device, config, {.context = 512}));
//   kv_append(cache.keys(layer), cache.values(layer), ..., io.positions(rows));
//
// Thread-safety: that of Buffer. Errors: ResourceExhausted when the device is too small.
#ifndef PTXSMITH_MODEL_STEP_MEMORY_H_
#define PTXSMITH_MODEL_STEP_MEMORY_H_

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/config.h"
#include "ptx_templates/quant_type.h"
#include "runtime/device.h"

namespace ptxsmith {

// The position of a row that belongs to no sequence.
inline constexpr uint32_t kNoSequence = UINT32_MAX;

// Steps whose tokens the log holds.
inline constexpr uint32_t kPickRing = 64;

// Memory cut into parts: one allocation on a GPU, in which each part begins at a multiple of 256
// bytes. On the emulator one for each part, so that it sees every overrun.
//
//   PTXSMITH_ASSIGN_OR_RETURN(workspace_, Workspace::Allocate(
//       device, "prompt", {{"x", x_, rows * width * 4}, {"half", half_, rows * width * 2}}));
class Workspace {
 public:
  struct Part {
    const char* name;
    BufferView& view;  // is set; valid as long as the workspace
    uint64_t bytes;
  };

  Workspace() = default;
  static absl::StatusOr<Workspace> Allocate(Device& device, absl::string_view name,
                                            std::initializer_list<Part> parts);

 private:
  std::vector<Buffer> buffers_;
};

// The inputs and outputs of a step, by row.
class StepIo {
 public:
  static absl::StatusOr<StepIo> Allocate(Device& device, const ModelConfig& config, uint32_t rows,
                                         uint32_t logit_rows);

  uint32_t rows() const { return rows_; }
  uint32_t logit_rows() const { return logit_rows_; }

  // u32 each. A row's token, position and sequence in the cache.
  BufferView tokens(uint32_t rows) const { return tokens_.Slice(0, rows * 4); }
  BufferView positions(uint32_t rows) const { return positions_.Slice(0, rows * 4); }
  BufferView slots(uint32_t rows) const { return slots_.Slice(0, rows * 4); }
  // [rows][vocab] f32, of the rows that have them.
  BufferView logits(uint32_t rows) const { return logits_.Slice(0, uint64_t{rows} * vocab_ * 4); }
  // The tokens chosen from them, the count of choices made, and the latest kPickRing of them:
  // see ptx_templates/advance.h.
  BufferView picked(uint32_t rows) const { return picked_.Slice(0, rows * 4); }
  BufferView pick_count() const { return pick_count_; }
  BufferView pick_log() const { return pick_log_; }

 private:
  uint32_t rows_ = 0;
  uint32_t logit_rows_ = 0;
  uint32_t vocab_ = 0;
  Workspace workspace_;
  BufferView tokens_, positions_, slots_, logits_, picked_, pick_count_, pick_log_;
};

// Keys and values of all layers, in the layout of ptx_templates/kv_cache.h.
class KvCache {
 public:
  struct Options {
    uint32_t context = 0;  // positions of a sequence
    uint32_t slots = 1;    // sequences
    QuantType type = QuantType::kF16;
  };

  // InvalidArgument when the type does not fit the heads or there are more cells than kernels can
  // count; ResourceExhausted when the device is too small.
  static absl::StatusOr<KvCache> Allocate(Device& device, const ModelConfig& config,
                                          const Options& options);

  BufferView keys(uint32_t layer) const { return Part(2 * layer); }
  BufferView values(uint32_t layer) const { return Part(2 * layer + 1); }
  const Options& options() const { return options_; }
  uint64_t bytes() const { return buffer_.bytes(); }

 private:
  BufferView Part(uint64_t index) const {
    return BufferView(buffer_).Slice(index * part_bytes_, part_bytes_);
  }

  Options options_;
  uint64_t part_bytes_ = 0;  // of the keys, or the values, of one layer
  Buffer buffer_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_STEP_MEMORY_H_

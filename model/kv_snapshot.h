// The keys and values of the first positions of a sequence as bytes: saved once, a long prompt that
// many answers share need not be run again. Used by Transformer.
//
//   PTXSMITH_ASSIGN_OR_RETURN(const std::vector<uint8_t> prefix,
//                             SaveKv(cache, config, {.slot = 0, .positions = 700}, stream));
//   PTXSMITH_ASSIGN_OR_RETURN(const uint32_t positions,
//                             RestoreKv(prefix, cache, config, /*slot=*/2, stream));
//
// A snapshot fits every cache of the same model and type of cell, whatever its context and slots,
// unless the model rotates otherwise in larger contexts (longrope). It says nothing of the weights:
// whoever keeps it must know which they were.
//
// Thread-safety: that of the stream; both wait for it.
#ifndef PTXSMITH_MODEL_KV_SNAPSHOT_H_
#define PTXSMITH_MODEL_KV_SNAPSHOT_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/config.h"
#include "model/step_memory.h"
#include "runtime/device.h"

namespace ptxsmith {

struct KvRange {
  uint32_t slot = 0;
  uint32_t positions = 0;  // from 0 on
};

// REQUIRES: the slot exists and the positions are filled.
absl::StatusOr<std::vector<uint8_t>> SaveKv(const KvCache& cache, const ModelConfig& config,
                                            const KvRange& range, Stream& stream);

// The number of positions. InvalidArgument for bytes that are no snapshot of such a model,
// OutOfRange when its positions do not fit the context; then nothing has been written.
absl::StatusOr<uint32_t> RestoreKv(absl::Span<const uint8_t> snapshot, const KvCache& cache,
                                   const ModelConfig& config, uint32_t slot, Stream& stream);

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_KV_SNAPSHOT_H_

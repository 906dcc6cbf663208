// Lets a sequence forget positions in its middle: those after them move down in the cache, and
// their keys turn back, as if they had been run there. Used by Transformer.
//
//   PTXSMITH_ASSIGN_OR_RETURN(KvShift shift, KvShift::Create(modules, cache, config, rope_rates));
//   PTXSMITH_RETURN_IF_ERROR(shift.Run(slot, {.keep = 4, .drop = 500, .length = 1000}, stream));
//
// Thread-safety: that of the stream. Lifetime: the cache and the rates must outlive it.
#ifndef PTXSMITH_MODEL_KV_SHIFT_H_
#define PTXSMITH_MODEL_KV_SHIFT_H_

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/config.h"
#include "model/step_memory.h"
#include "runtime/module_cache.h"

namespace ptxsmith {

class KvShift {
 public:
  // Of `length` positions the first `keep` stay, `drop` go, the others follow.
  struct Range {
    uint32_t keep = 0;
    uint32_t drop = 0;
    uint32_t length = 0;
  };

  static absl::StatusOr<KvShift> Create(ModuleCache& modules, const KvCache& cache,
                                        const ModelConfig& config, BufferView rope_rates);

  // Enqueues the moves: for every layer one launch for each `drop` positions that follow. Waits for
  // the upload of their places. REQUIRES: the slot exists, keep + drop <= length <= context.
  absl::Status Run(uint32_t slot, const Range& range, Stream& stream);

 private:
  const KvCache* cache_ = nullptr;
  uint32_t layers_ = 0;
  BufferView rope_rates_;
  std::shared_ptr<const Module> module_;
  Buffer move_;  // the kernel's
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_KV_SHIFT_H_

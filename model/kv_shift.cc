#include "model/kv_shift.h"

#include <algorithm>
#include <array>

#include "codegen/status_macros.h"
#include "ptx_templates/kv_shift.h"
#include "runtime/launch.h"

namespace ptxsmith {

absl::StatusOr<KvShift> KvShift::Create(ModuleCache& modules, const KvCache& cache,
                                        const ModelConfig& config, BufferView rope_rates) {
  KvShiftSpec spec{config.rope_pairing, config.head_count_kv, config.head_dim, config.rope_dim,
                   cache.options().context};
  spec.type = cache.options().type;
  spec.slots = cache.options().slots;
  const Target& target = modules.device()->profile().target;
  KvShift shift;
  shift.cache_ = &cache;
  shift.layers_ = config.block_count;
  shift.rope_rates_ = rope_rates;
  PTXSMITH_ASSIGN_OR_RETURN(shift.module_, modules.GetOrBuild(KeyOf(spec, target), [&] {
    return BuildKvShift(spec, target);
  }));
  PTXSMITH_ASSIGN_OR_RETURN(shift.move_,
                            modules.device()->Allocate(3 * sizeof(uint32_t), "kv_move"));
  return shift;
}

absl::Status KvShift::Run(uint32_t slot, const Range& range, Stream& stream) {
  if (range.drop == 0) return absl::OkStatus();
  const uint32_t end = range.length - range.drop;
  for (uint32_t to = range.keep; to < end; to += range.drop) {
    const std::array<uint32_t, 3> move = {slot, to, range.drop};
    PTXSMITH_RETURN_IF_ERROR(stream.CopyToDevice(move_, move.data(), sizeof(move)));
    for (uint32_t layer = 0; layer < layers_; ++layer) {
      PTXSMITH_ASSIGN_OR_RETURN(
          const BoundLaunch launch,
          Bind(module_, {cache_->keys(layer), cache_->values(layer), rope_rates_, move_,
                         std::min(range.drop, end - to)}));
      PTXSMITH_RETURN_IF_ERROR(Enqueue(launch, stream));
    }
    PTXSMITH_RETURN_IF_ERROR(stream.Synchronize());  // `move` is read until then
  }
  return absl::OkStatus();
}

}  // namespace ptxsmith

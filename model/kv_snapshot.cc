#include "model/kv_snapshot.h"

#include <cstring>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/kv_cache.h"

namespace ptxsmith {
namespace {

// In front of the cells, which follow layer by layer, keys before values, head by head.
struct Header {
  char magic[8] = {'p', 't', 'x', 's', 'k', 'v', '0', '2'};
  uint32_t layers = 0;
  uint32_t kv_heads = 0;
  uint32_t cell_bytes = 0;
  uint32_t positions = 0;
  double rope_divisors = 0;  // their sum: how keys were rotated
};

Header HeaderOf(const KvCache& cache, const ModelConfig& config, uint32_t positions) {
  Header header;
  header.layers = config.block_count;
  header.kv_heads = config.head_count_kv;
  header.cell_bytes = KvCellBytes(cache.options().type, config.head_dim);
  header.positions = positions;
  header.rope_divisors =
      std::accumulate(config.rope_divisors.begin(), config.rope_divisors.end(), 0.0);
  return header;
}

// Calls visit(view of the cells of a head, their offset in the snapshot) for all that it holds.
template <class Visit>
absl::Status ForEachPiece(const KvCache& cache, const Header& header, uint32_t slot,
                          Visit&& visit) {
  const uint64_t bytes = uint64_t{header.positions} * header.cell_bytes;
  uint64_t at = sizeof(Header);
  for (uint32_t layer = 0; layer < header.layers; ++layer) {
    for (const BufferView part : {cache.keys(layer), cache.values(layer)}) {
      for (uint32_t head = 0; head < header.kv_heads; ++head) {
        const uint64_t cell = (uint64_t{slot} * header.kv_heads + head) * cache.options().context;
        PTXSMITH_RETURN_IF_ERROR(visit(part.Slice(cell * header.cell_bytes, bytes), at));
        at += bytes;
      }
    }
  }
  return absl::OkStatus();
}

uint64_t TotalBytes(const Header& header) {
  return sizeof(Header) +
         uint64_t{header.layers} * 2 * header.kv_heads * header.positions * header.cell_bytes;
}

}  // namespace

absl::StatusOr<std::vector<uint8_t>> SaveKv(const KvCache& cache, const ModelConfig& config,
                                            const KvRange& range, Stream& stream) {
  const Header header = HeaderOf(cache, config, range.positions);
  std::vector<uint8_t> snapshot(TotalBytes(header));
  std::memcpy(snapshot.data(), &header, sizeof(header));
  PTXSMITH_RETURN_IF_ERROR(
      ForEachPiece(cache, header, range.slot, [&](BufferView cells, uint64_t at) {
        return stream.CopyToHost(snapshot.data() + at, cells, cells.bytes);
      }));
  PTXSMITH_RETURN_IF_ERROR(stream.Synchronize());
  return snapshot;
}

absl::StatusOr<uint32_t> RestoreKv(absl::Span<const uint8_t> snapshot, const KvCache& cache,
                                   const ModelConfig& config, uint32_t slot, Stream& stream) {
  Header header;
  if (snapshot.size() < sizeof(header)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a snapshot of ", snapshot.size(), " bytes is too short to be one"));
  }
  std::memcpy(&header, snapshot.data(), sizeof(header));
  const Header want = HeaderOf(cache, config, header.positions);
  if (std::memcmp(&header, &want, sizeof(header)) != 0) {
    return absl::InvalidArgumentError("not a snapshot of the keys and values of such a model");
  }
  if (header.positions > cache.options().context) {
    return absl::OutOfRangeError(absl::StrCat("a snapshot of ", header.positions,
                                              " positions; the context has ",
                                              cache.options().context));
  }
  if (snapshot.size() != TotalBytes(header)) {
    return absl::InvalidArgumentError(absl::StrCat("a snapshot of ", snapshot.size(),
                                                   " bytes; its header says ", TotalBytes(header)));
  }
  PTXSMITH_RETURN_IF_ERROR(ForEachPiece(cache, header, slot, [&](BufferView cells, uint64_t at) {
    return stream.CopyToDevice(cells, snapshot.data() + at, cells.bytes);
  }));
  PTXSMITH_RETURN_IF_ERROR(stream.Synchronize());
  return header.positions;
}

}  // namespace ptxsmith

// The layout of a cache of keys or values: what kv_append writes and attention reads.
//
//   [slot][kv_head][position] cells, one slot per sequence. A cell is one head at one position:
//     f16    head_dim halves
//     q8_0   head_dim / 32 blocks of 34 bytes as in GGUF files: an f16 scale, 32 signed bytes
//
// The cells of one head follow each other, so a head is read as one stream, and the first `length`
// positions of a sequence are saved and restored as kv_heads pieces of length * KvCellBytes().
//
//   const uint32_t cell_bytes = KvCellBytes(QuantType::kQ8_0, 128);   // 136
//   StoreKvCell(k, {type, head_dim, threads}, [&](const Val<U32>& d) { return x.Load(d); }, cell);
//
// Pure functions, but for what StoreKvCell records. Cells of one cache are counted in 32 bits.
#ifndef PTXSMITH_PTX_TEMPLATES_KV_CACHE_H_
#define PTXSMITH_PTX_TEMPLATES_KV_CACHE_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "codegen/kernel_builder.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/quant_type.h"

namespace ptxsmith {

// The `type` field of every family that touches a cache.
inline constexpr FieldRule kKvTypeRule = OneOf(QuantType::kF16, QuantType::kQ8_0);

constexpr uint32_t kQ8_0Weights = 32;  // per block
constexpr uint32_t kQ8_0Bytes = 34;    // of a block
constexpr uint32_t kQ8_0Quants = 2;    // where the signed bytes begin; the scale is at 0

constexpr uint32_t KvCellBytes(QuantType type, uint32_t head_dim) {
  return type == QuantType::kF16 ? 2 * head_dim : head_dim / kQ8_0Weights * kQ8_0Bytes;
}

// InvalidArgument unless a cell is whole blocks: "attention: head_dim=80 is not a multiple of 32,
// the block of q8_0".
absl::Status CheckKvCell(absl::string_view family, QuantType type, uint32_t head_dim);

// A cell and the block, of whole warps, that writes it.
struct KvCellShape {
  QuantType type;
  uint32_t head_dim;
  uint32_t threads;
};
// Rounds the elements of a head, as many as the block has threads at a time, into `cell`. Numerics:
// kv_append.h.
void StoreKvCell(KernelBuilder& k, const KvCellShape& shape,
                 absl::FunctionRef<Val<F32>(const Val<U32>& d)> element, const InOut<U8>& cell);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_KV_CACHE_H_

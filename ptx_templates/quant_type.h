// The tensor types of GGUF files: ggml's ids, names and block sizes. One table for the file reader,
// the decoders and the tests.
//
//   const QuantTypeInfo& info = Info(QuantType::kQ4K);   // 256 weights in 144 bytes
//   PTXSMITH_ASSIGN_OR_RETURN(QuantType t, ParseQuantType("q4_k"));
#ifndef PTXSMITH_PTX_TEMPLATES_QUANT_TYPE_H_
#define PTXSMITH_PTX_TEMPLATES_QUANT_TYPE_H_

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace ptxsmith {

// Values are ggml's type ids, as stored in files.
enum class QuantType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2K = 10,
  kQ3K = 11,
  kQ4K = 12,
  kQ5K = 13,
  kQ6K = 14,
  kQ8K = 15,
  kIQ2XXS = 16,
  kIQ2XS = 17,
  kIQ3XXS = 18,
  kIQ1S = 19,
  kIQ4NL = 20,
  kIQ3S = 21,
  kIQ2S = 22,
  kIQ4XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
};

struct QuantTypeInfo {
  QuantType type;
  absl::string_view name;  // ggml's name in lower case: "q4_k"
  uint32_t block_weights;  // weights per block
  uint32_t block_bytes;    // bytes per block
};

// Every known type in the order of its id.
absl::Span<const QuantTypeInfo> AllQuantTypes();

// REQUIRES: `type` is one of the enumerators.
const QuantTypeInfo& Info(QuantType type);
inline absl::string_view ToString(QuantType type) { return Info(type).name; }

// The type with this ggml id, or nothing for removed and unknown ids.
std::optional<QuantType> QuantTypeFromId(uint32_t id);

// "q4_k", "Q4_K". InvalidArgument lists the known names.
absl::StatusOr<QuantType> ParseQuantType(absl::string_view name);

// How kernel specs print and read the type (codegen/spec_fields.h).
inline absl::string_view FieldText(QuantType type) { return ToString(type); }
absl::Status ParseFieldText(absl::string_view text, QuantType* type);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_QUANT_TYPE_H_

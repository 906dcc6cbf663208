// Decoders of GGUF blocks, written from the definition of the formats and bit for bit equal to
// ggml's dequantize_row_* (see decode_test.cc). Used by every test of a kernel that reads weights.
// Pure functions.
//
//   std::vector<Weight> w = Decode(QuantType::kQ4K, bytes);   // 256 weights per 144 bytes
//
// Types: f32, f16, bf16, q4_0, q4_1, q5_0, q5_1, q8_0, q2_k .. q6_k, iq4_nl, iq4_xs, mxfp4.
#ifndef PTXSMITH_TOOLS_FUZZ_REFERENCE_DECODE_H_
#define PTXSMITH_TOOLS_FUZZ_REFERENCE_DECODE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "ptx_templates/quant_type.h"

namespace ptxsmith::reference {

struct Weight {
  float value;
  // The sum of the absolute values of the parts a kernel may add up to get `value`: a q4_k weight
  // is scale * q - min, and a kernel may sum scale * q * x and min * x apart. Error bounds grow
  // with this, not with |value|.
  float magnitude;
};

// Whether Decode knows the type.
bool CanDecode(QuantType type);

// REQUIRES: CanDecode(type); bytes.size() is a multiple of the block size.
std::vector<Weight> Decode(QuantType type, absl::Span<const uint8_t> bytes);

}  // namespace ptxsmith::reference

#endif  // PTXSMITH_TOOLS_FUZZ_REFERENCE_DECODE_H_

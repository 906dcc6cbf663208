// The lowering for long prompts: every matrix as f16, one dense product for all tokens at once on
// the tensor cores, attention without materialised scores. Used by Transformer beside the lowering
// of single tokens; made for chunks of hundreds of tokens, where expanding the weights is a small
// part of the work.
//
//   PTXSMITH_ASSIGN_OR_RETURN(std::unique_ptr<Lowering> prompts,
//                             NewPromptLowering(parts, library, PromptWeights::kExpanded));
//   PTXSMITH_ASSIGN_OR_RETURN(Step step, prompts->Lower({.rows = 512, .exact = false, ...}));
//
// On 2026-11-20, one H200, 8B in q4_k_m, 2048 tokens: 55 ms, of which products 42, the expansion of
// the weights 5, attention 5; 128 tokens: 12.8 ms, 5 of them for the expansion. Kept as f16 49 and
// 6.8 ms, as E4M3 34 and 6.5 ms. By generated products, when gate and up were still made before
// what becomes of them: 61 and 13.4 ms, kept as f16 57 and 7.0 ms. Products of Q, K and V as one
// take no less time than three (2048 tokens: 160 us against 159).
//
// Numerics: activations are rounded to f16 before each product, and gate and up after it; the
// residual stream, the sums and the softmax stay f32. Rows share tensor cores, so that the bits of
// a row depend on how many there are.
//
// Thread-safety and lifetime: as Lowering.
#ifndef PTXSMITH_MODEL_PROMPT_LOWERING_H_
#define PTXSMITH_MODEL_PROMPT_LOWERING_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "model/lowering.h"
#include "runtime/dense_gemm.h"

namespace ptxsmith {

// What the products of prompts read.
enum class PromptWeights : uint8_t {
  kExpanded,  // f16, made of the file's weights again for every step
  kHalf,      // f16, kept beside the file's: 2 bytes a weight
  kE4M3,      // FP8 with a scale per row, kept: 1 byte a weight; activations are rounded to it too,
              // so that the results differ more than by f16's roundings. By the library only.
};

// `gemm` computes the products; null: generated kernels do. Unimplemented names what of the model,
// its cache or the weights asked for it does not compute.
absl::StatusOr<std::unique_ptr<Lowering>> NewPromptLowering(const ModelParts& parts,
                                                            std::shared_ptr<const DenseGemm> gemm,
                                                            PromptWeights weights);

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_PROMPT_LOWERING_H_

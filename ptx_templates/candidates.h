// Which kernels can compute y = W x for a problem: what a tuner chooses from, and the choice
// without one. Pure functions.
//
//   const GemvProblem problem = {QuantType::kQ4K, 4096, 14336, 1};
//   for (const std::string& key : GemvCandidates(problem, target)) ... BuildFromKey(key, target)
//   ... const std::string key = DefaultGemv(problem, target);
//
// The family of a key says what it expects for x: `gemv` f32; `gemv_q8_1` blocks made by
// quantize_q8_1; `gemm` f16 made by dequantize:quant=f32,to=f16. A tuner counts those kernels in.
#ifndef PTXSMITH_PTX_TEMPLATES_CANDIDATES_H_
#define PTXSMITH_PTX_TEMPLATES_CANDIDATES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "codegen/target.h"
#include "ptx_templates/gemm.h"
#include "ptx_templates/gemm_blocked.h"
#include "ptx_templates/gemm_half.h"
#include "ptx_templates/gemv.h"
#include "ptx_templates/quant_type.h"

namespace ptxsmith {

struct GemvProblem {
  QuantType quant = QuantType::kQ4K;
  uint32_t k = 0;  // a multiple of the type's block
  uint32_t n = 0;
  uint32_t m = 1;  // tokens
};

// Keys of kernels that the target can run, each with k and n baked, best guess first within a
// family; empty when k does not fit the type or a size is 0. m is baked by gemv and gemv_q8_1 and
// open in gemm.
std::vector<std::string> GemvCandidates(const GemvProblem& problem, const Target& target);

// The geometry of gemv and of gemm for a problem, without a tuner: warps per output so that about
// 16 warps per SM of a large GPU have work. REQUIRES: as GemvCandidates. gemm's m stays open.
GemvSpec DefaultGemvSpec(const GemvProblem& problem);
GemmSpec DefaultGemmSpec(const GemvProblem& problem);
// For f16 weights, m open: the largest tiles that give every SM of a large GPU a block.
GemmHalfSpec DefaultGemmHalfSpec(uint32_t k, uint32_t n, uint32_t m, const Target& target);

// The tile that keeps most of `blocks` SMs busy; of 128 rows or more with `glu`.
GemmBlockedSpec DefaultGemmBlockedSpec(uint32_t k, uint32_t n, uint32_t m, uint32_t blocks,
                                       bool glu);

// One of the candidates: gemv up to eight tokens, gemm beyond. Empty where GemvCandidates is.
std::string DefaultGemv(const GemvProblem& problem, const Target& target);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_CANDIDATES_H_

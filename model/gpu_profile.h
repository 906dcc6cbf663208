// What measuring a GPU has taught: how fast it reads, which geometry of the matrix-vector product
// is fastest for each matrix, and from how many tokens on expanded weights pay. Made by `ptxsmith
// tune`, used by Transformer and the plain lowering. Without one the geometry follows the rules of
// ptx_templates/candidates.h, which serve every GPU, and the rest is as measured on an H200.
//
//   GpuProfile profile;
//   profile.choices[ProblemName(problem)] = {spec, ...};
//   const GemvSpec spec = profile.GemvFor(problem);   // tuned, or by rule
//
// Plain data.
#ifndef PTXSMITH_MODEL_GPU_PROFILE_H_
#define PTXSMITH_MODEL_GPU_PROFILE_H_

#include <cstdint>
#include <map>
#include <string>

#include "ptx_templates/candidates.h"

namespace ptxsmith {

// "q4_k 4096x14336 m=1": type, weights per row, rows, tokens.
std::string ProblemName(const GemvProblem& problem);

// The fastest kernel for a problem, and what it was faster than.
struct TunedGemv {
  GemvSpec spec;
  double microseconds = 0;          // median, weights not in the L2
  double default_microseconds = 0;  // of the kernel chosen by rule
};

struct GpuProfile {
  std::string device;                        // "NVIDIA H200, sm_90"
  int driver_version = 0;                    // 13000: another driver compiles another code
  double read_bandwidth = 0;                 // bytes per second
  std::map<std::string, TunedGemv> choices;  // by ProblemName
  // Tokens of a prompt from which on its weights are expanded. Up to a hundred tokens or two either
  // way costs about the same for any number of them. On an H200 (2026-11-20) with 14336 x 4096
  // weights in q4_k: expanding them 44 us and the product of 64 tokens 35, gemm 105 us; a prompt of
  // the 8B: 24 ms for 32 tokens by gemm, 12.8 for 128 with expanded weights.
  uint32_t dense_rows = 16;

  // For several tokens the row is split over as many warps as for one, because that decides the
  // bits of the result.
  GemvSpec GemvFor(const GemvProblem& problem) const;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_GPU_PROFILE_H_

// Some kernels of ours in CUDA C++, as somebody writes them who has NVRTC and no generator: the
// same work, the same sizes baked in, divided among threads in the same way. `bench-jit` compiles
// both.
//
//   for (const CudaEquivalent& e : CudaEquivalents()) nvrtc->CompileToCubin(e.cuda, "sm_90");
//
// A pure function.
#ifndef PTXSMITH_TOOLS_CUDA_EQUIVALENTS_H_
#define PTXSMITH_TOOLS_CUDA_EQUIVALENTS_H_

#include <string>
#include <vector>

#include "runtime/nvrtc.h"

namespace ptxsmith {

struct CudaEquivalent {
  std::string key;  // of our kernel, as of `ptxsmith dump`
  CudaKernel cuda;
};

// The matrix products of an 8B model and two of its small kernels.
std::vector<CudaEquivalent> CudaEquivalents();

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_CUDA_EQUIVALENTS_H_

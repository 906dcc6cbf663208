// The calls of NVIDIA's cuBLASLt that the runtime uses, as a table of function pointers opened at
// run time; tests fill it with fakes. cuBLASLt is the library below cuBLAS: it has the same
// kernels, takes workspace and stream with each call and has the FP8 products that cuBLAS lacks, so
// that one library does. Only dense_gemm.cc calls through it.
//
//   PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const CublasLtApi> api, LoadCublasLt(""));
//   const int result = api->Create(&handle);
//   if (result != 0) return ToStatus(*api, result, "cublasLtCreate");
//
// Declared here rather than taken from NVIDIA's header, which comes in a package of 600 MB. The
// numbers are those of every cuBLASLt since CUDA 11; tests/runtime/cublas_lt_test.cc holds them
// against the header where there is one.
//
// Immutable after loading; every entry may be called from any thread.
#ifndef PTXSMITH_RUNTIME_CUBLAS_LT_H_
#define PTXSMITH_RUNTIME_CUBLAS_LT_H_

#include <cuda.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ptxsmith {

namespace lt {

inline constexpr int kCompute32F = 68;  // CUBLAS_COMPUTE_32F
// cudaDataType_t
inline constexpr int kF32 = 0;
inline constexpr int kF16 = 2;
inline constexpr int kBF16 = 14;
inline constexpr int kE4M3 = 28;
// cublasLtMatmulDescAttributes_t
inline constexpr int kTransA = 3;
inline constexpr int kAScalePointer = 17;
inline constexpr int kBScalePointer = 18;
inline constexpr int kAScaleMode = 31;
inline constexpr int kBScaleMode = 32;
inline constexpr int32_t kTranspose = 1;       // CUBLAS_OP_T
inline constexpr int32_t kOuterVectorF32 = 3;  // one scale for each row of A, column of B
// cublasLtMatmulPreferenceAttributes_t
inline constexpr int kMaxWorkspaceBytes = 1;

struct Algo {
  uint64_t data[8];
};
struct Heuristic {
  Algo algo;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

}  // namespace lt

// X(member, symbol, arguments)
#define PTXSMITH_CUBLAS_LT_CALLS(X)                                                              \
  X(Create, cublasLtCreate, (void** handle))                                                     \
  X(Destroy, cublasLtDestroy, (void* handle))                                                    \
  X(MatmulDescCreate, cublasLtMatmulDescCreate, (void** desc, int compute, int scale_type))      \
  X(MatmulDescDestroy, cublasLtMatmulDescDestroy, (void* desc))                                  \
  X(MatmulDescSetAttribute, cublasLtMatmulDescSetAttribute,                                      \
    (void* desc, int attribute, const void* value, size_t bytes))                                \
  X(MatrixLayoutCreate, cublasLtMatrixLayoutCreate,                                              \
    (void** layout, int type, uint64_t rows, uint64_t columns, int64_t leading))                 \
  X(MatrixLayoutDestroy, cublasLtMatrixLayoutDestroy, (void* layout))                            \
  X(PreferenceCreate, cublasLtMatmulPreferenceCreate, (void** preference))                       \
  X(PreferenceDestroy, cublasLtMatmulPreferenceDestroy, (void* preference))                      \
  X(PreferenceSetAttribute, cublasLtMatmulPreferenceSetAttribute,                                \
    (void* preference, int attribute, const void* value, size_t bytes))                          \
  X(GetHeuristic, cublasLtMatmulAlgoGetHeuristic,                                                \
    (void* handle, void* desc, void* a, void* b, void* c, void* d, void* preference, int wanted, \
     lt::Heuristic* results, int* count))                                                        \
  X(Matmul, cublasLtMatmul,                                                                      \
    (void* handle, void* desc, const void* alpha, const void* a, void* a_layout, const void* b,  \
     void* b_layout, const void* beta, const void* c, void* c_layout, void* d, void* d_layout,   \
     const lt::Algo* algo, void* workspace, size_t workspace_bytes, CUstream stream))

struct CublasLtApi {
#define PTXSMITH_CUBLAS_LT_MEMBER(member, symbol, arguments) int(*member) arguments = nullptr;
  PTXSMITH_CUBLAS_LT_CALLS(PTXSMITH_CUBLAS_LT_MEMBER)
#undef PTXSMITH_CUBLAS_LT_MEMBER
  const char* (*GetStatusName)(int status) = nullptr;
};

// Opens the library as the dynamic linker finds it, else in a toolkit: below `cuda_home`, or at the
// usual place when that is empty. Unavailable says in one line what is missing.
absl::StatusOr<std::shared_ptr<const CublasLtApi>> LoadCublasLt(const std::string& cuda_home);

// A failed call as a Status: "cublasLtCreate: CUBLAS_STATUS_NOT_INITIALIZED (1)". Memory becomes
// ResourceExhausted, a library that cannot start Unavailable, a product it does not have
// Unimplemented, the rest Internal. REQUIRES: result is not 0.
absl::Status ToStatus(const CublasLtApi& api, int result, absl::string_view what);

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_CUBLAS_LT_H_

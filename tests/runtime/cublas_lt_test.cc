#include "runtime/cublas_lt.h"

#include "gtest/gtest.h"
#include "tests/util/status_matchers.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

#include <cstddef>

namespace ptxsmith {
namespace {

// What this project declares itself is what NVIDIA's header says.
static_assert(lt::kCompute32F == CUBLAS_COMPUTE_32F);
static_assert(lt::kF32 == CUDA_R_32F && lt::kF16 == CUDA_R_16F);
static_assert(lt::kBF16 == CUDA_R_16BF && lt::kE4M3 == CUDA_R_8F_E4M3);
static_assert(lt::kTransA == CUBLASLT_MATMUL_DESC_TRANSA);
static_assert(lt::kAScalePointer == CUBLASLT_MATMUL_DESC_A_SCALE_POINTER);
static_assert(lt::kBScalePointer == CUBLASLT_MATMUL_DESC_B_SCALE_POINTER);
static_assert(lt::kTranspose == CUBLAS_OP_T);
static_assert(lt::kMaxWorkspaceBytes == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
static_assert(sizeof(lt::Algo) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(lt::Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(lt::Heuristic, workspace_bytes) ==
              offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
#if CUBLAS_VERSION >= 120900
static_assert(lt::kAScaleMode == CUBLASLT_MATMUL_DESC_A_SCALE_MODE);
static_assert(lt::kBScaleMode == CUBLASLT_MATMUL_DESC_B_SCALE_MODE);
static_assert(lt::kOuterVectorF32 == CUBLASLT_MATMUL_MATRIX_SCALE_OUTER_VEC_32F);
#endif

}  // namespace
}  // namespace ptxsmith
#endif

namespace ptxsmith {
namespace {

using testing::HasSubstr;

TEST(CublasLtTest, AMissingLibraryIsUnavailableInOneLine) {
  const absl::StatusOr<std::shared_ptr<const CublasLtApi>> api = LoadCublasLt("/nowhere");
  if (api.ok()) GTEST_SKIP() << "the dynamic linker knows a cuBLASLt";
  EXPECT_THAT(api, StatusIs(absl::StatusCode::kUnavailable, HasSubstr("libcublasLt.so.13")));
  EXPECT_EQ(api.status().message().find('\n'), absl::string_view::npos);
}

TEST(CublasLtTest, NamesTheCallTheErrorAndItsNumber) {
  CublasLtApi api;
  EXPECT_THAT(ToStatus(api, 14, "cublasLtMatmul"),
              StatusIs(absl::StatusCode::kInternal, "cublasLtMatmul: status (14)"));
  api.GetStatusName = [](int) { return "CUBLAS_STATUS_NOT_SUPPORTED"; };
  EXPECT_THAT(ToStatus(api, 15, "call"),
              StatusIs(absl::StatusCode::kUnimplemented, "call: CUBLAS_STATUS_NOT_SUPPORTED (15)"));
  EXPECT_THAT(ToStatus(api, 1, "call"), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(ToStatus(api, 3, "call"), StatusIs(absl::StatusCode::kResourceExhausted));
}

TEST(CublasLtTest, ALibraryOfTheToolkitHasAllCalls) {
  const absl::StatusOr<std::shared_ptr<const CublasLtApi>> api = LoadCublasLt("");
  if (!api.ok()) GTEST_SKIP() << api.status().message();
  void* desc = nullptr;
  ASSERT_EQ((*api)->MatmulDescCreate(&desc, lt::kCompute32F, lt::kF32), 0);
  EXPECT_EQ((*api)->MatmulDescSetAttribute(desc, lt::kTransA, &lt::kTranspose, 4), 0);
  EXPECT_NE((*api)->MatmulDescSetAttribute(desc, lt::kTransA, &lt::kTranspose, 3), 0);
  EXPECT_EQ((*api)->MatmulDescDestroy(desc), 0);
}

}  // namespace
}  // namespace ptxsmith

#include "runtime/driver_api.h"

#include "gtest/gtest.h"
#include "runtime/cuda_device.h"
#include "tests/runtime/fake_driver.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

TEST(LoadDriverApiTest, AMissingLibraryIsUnavailable) {
  EXPECT_THAT(LoadDriverApi("libno_such_driver.so.1"),
              StatusIs(absl::StatusCode::kUnavailable,
                       "no NVIDIA driver: cannot open libno_such_driver.so.1"));
}

TEST(LoadDriverApiTest, ALibraryWithoutTheCallsIsUnavailable) {
  EXPECT_THAT(LoadDriverApi("libm.so.6"),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("libm.so.6 has no cuInit")));
}

TEST(LoadDriverApiTest, TheToolkitsStubIsUnavailable) {
  const char* stub = "/usr/local/cuda/lib64/stubs/libcuda.so";
  absl::StatusOr<std::shared_ptr<const DriverApi>> api = LoadDriverApi(stub);
  if (!api.ok()) GTEST_SKIP() << "no toolkit here: " << api.status();
  EXPECT_THAT(OpenCuda(0, *api), StatusIs(absl::StatusCode::kUnavailable, HasSubstr("stub")));
}

TEST(ToStatusTest, NamesTheCallTheErrorAndItsNumber) {
  FakeDriver fake;
  EXPECT_THAT(ToStatus(*fake.api(), CUDA_ERROR_OUT_OF_MEMORY, "cuMemAlloc of 8 bytes"),
              StatusIs(absl::StatusCode::kResourceExhausted,
                       "cuMemAlloc of 8 bytes: CUDA_ERROR_OUT_OF_MEMORY (2): as told to"));
}

TEST(ToStatusTest, AnErrorTheDriverCannotNameKeepsItsNumber) {
  FakeDriver fake;
  EXPECT_THAT(
      ToStatus(*fake.api(), static_cast<CUresult>(4711), "cuInit"),
      StatusIs(absl::StatusCode::kInternal, "cuInit: unknown error (4711): no description"));
}

TEST(ToStatusTest, MapsErrorsToCodes) {
  FakeDriver fake;
  const struct {
    CUresult error;
    absl::StatusCode code;
  } kRows[] = {
      {CUDA_ERROR_NO_DEVICE, absl::StatusCode::kUnavailable},
      {CUDA_ERROR_STUB_LIBRARY, absl::StatusCode::kUnavailable},
      {CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, absl::StatusCode::kUnavailable},
      {CUDA_ERROR_INVALID_PTX, absl::StatusCode::kInvalidArgument},
      {CUDA_ERROR_UNSUPPORTED_PTX_VERSION, absl::StatusCode::kFailedPrecondition},
      {CUDA_ERROR_JIT_COMPILER_NOT_FOUND, absl::StatusCode::kFailedPrecondition},
      {CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES, absl::StatusCode::kFailedPrecondition},
      {CUDA_ERROR_NOT_FOUND, absl::StatusCode::kNotFound},
      {CUDA_ERROR_ILLEGAL_ADDRESS, absl::StatusCode::kInternal},
      {CUDA_ERROR_LAUNCH_FAILED, absl::StatusCode::kInternal},
      {CUDA_ERROR_UNKNOWN, absl::StatusCode::kInternal},
  };
  for (const auto& row : kRows) {
    EXPECT_THAT(ToStatus(*fake.api(), row.error, "call"), StatusIs(row.code)) << row.error;
  }
}

}  // namespace
}  // namespace ptxsmith

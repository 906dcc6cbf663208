// Products of dense matrices by NVIDIA's library (cublas_lt.h): what prompts are computed with
// where that library is at hand. Used by the model; everything works without it too, slower.
//
//   PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<DenseGemm> gemm, DenseGemm::Open(device));
//   PTXSMITH_ASSIGN_OR_RETURN(BoundGemm gate, gemm->Bind({.m = 512, .n = 14336, .k = 4096}, y, x,
//   w)); PTXSMITH_RETURN_IF_ERROR(Enqueue(gate, stream));
//
// y[m][n] = x[m][k] W[n][k]^T, all by rows and without gaps, sums in f32. With `accumulate` the
// product is added to y. E4M3 (FP8) inputs have a scale for each row of x and of W:
// y[i][j] = x_scale[i] w_scale[j] (x W^T)[i][j]; they need n and k to be multiples of 16 and an
// sm_90, and the library of CUDA 12.9 or later.
//
// The order of the sums is the library's own and may differ between its versions and between
// values of m: results agree within rounding, not bit for bit.
//
// Thread-safety: Open and Bind from any thread. The products of one DenseGemm share its workspace:
// enqueue them on one stream, or order the streams by events.
//
// Lifetime: a BoundGemm keeps the library and the device alive, not the buffers.
//
// Errors: Unavailable without the library or on the emulator; Unimplemented when it lacks the
// product; InvalidArgument for buffers that are too small or misaligned.
#ifndef PTXSMITH_RUNTIME_DENSE_GEMM_H_
#define PTXSMITH_RUNTIME_DENSE_GEMM_H_

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/device.h"

namespace ptxsmith {

struct GemmProblem {
  enum class Input : uint8_t { kF16, kBF16, kE4M3 };  // of x and W
  enum class Output : uint8_t { kF32, kF16 };

  uint32_t m = 0, n = 0, k = 0;
  Input input = Input::kF16;
  Output output = Output::kF32;
  bool accumulate = false;

  // "gemm m=512 n=14336 k=4096 f16 to f32"
  std::string ToString() const;

  friend auto operator<=>(const GemmProblem&, const GemmProblem&) = default;
};

// f32, one per row; only of E4M3 inputs.
struct GemmScales {
  BufferView x, w;
};

struct CublasLtApi;
class DenseGemm;
class GemmPlan;

// A product with its buffers and the algorithm chosen. A value.
class BoundGemm {
 public:
  BoundGemm() = default;

  // REQUIRES of these: bound.
  const GemmProblem& problem() const;
  uint64_t flops() const;
  uint64_t bytes() const;  // of the operands and the result, each once

 private:
  friend class DenseGemm;
  friend absl::Status Enqueue(const BoundGemm& gemm, const Stream& stream);

  std::shared_ptr<const DenseGemm> library_;
  std::shared_ptr<const GemmPlan> plan_;
  DevicePtr y_ = 0, x_ = 0, w_ = 0;
};

class DenseGemm : public std::enable_shared_from_this<DenseGemm> {
 public:
  // What the products share; 32 MiB is what NVIDIA advises for sm_90.
  static constexpr uint64_t kWorkspaceBytes = uint64_t{32} << 20;

  // With NVIDIA's library from this machine, see LoadCublasLt.
  static absl::StatusOr<std::shared_ptr<const DenseGemm>> Open(std::shared_ptr<Device> device,
                                                               const std::string& cuda_home = "");
  // Through a given table of calls.
  static absl::StatusOr<std::shared_ptr<const DenseGemm>> Open(
      std::shared_ptr<Device> device, std::shared_ptr<const CublasLtApi> api);
  DenseGemm(const DenseGemm&) = delete;
  ~DenseGemm();

  // Chooses the algorithm for the first product of a problem; those of the same problem share it.
  // Milliseconds for the very first, tens of microseconds for another problem, else about one.
  absl::StatusOr<BoundGemm> Bind(const GemmProblem& problem, BufferView y, BufferView x,
                                 BufferView w, const GemmScales& scales = {}) const;

 private:
  friend absl::Status Enqueue(const BoundGemm& gemm, const Stream& stream);

  DenseGemm(std::shared_ptr<Device> device, std::shared_ptr<const CublasLtApi> api)
      : device_(std::move(device)), api_(std::move(api)) {}
  absl::StatusOr<std::shared_ptr<const GemmPlan>> PlanOf(const GemmProblem& problem,
                                                         const GemmScales& scales) const;

  const std::shared_ptr<Device> device_;
  const std::shared_ptr<const CublasLtApi> api_;
  void* handle_ = nullptr;
  Buffer workspace_;
  mutable std::mutex mutex_;
  mutable std::map<GemmProblem, std::shared_ptr<const GemmPlan>> plans_;
};

// Puts the product on the stream, also into a graph that is captured from it; FailedPrecondition
// into one of kernel nodes. REQUIRES: same device.
absl::Status Enqueue(const BoundGemm& gemm, const Stream& stream);

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_DENSE_GEMM_H_

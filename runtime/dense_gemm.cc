#include "runtime/dense_gemm.h"

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/cublas_lt.h"
#include "runtime/graph.h"

namespace ptxsmith {
namespace {

constexpr uint64_t kAlignment = 16;
constexpr uint32_t kFp8Multiple = 16;  // of n and k: rows of the operands and of the result

struct TypeInfo {
  absl::string_view name;
  int lt;
  uint64_t bytes;
};
TypeInfo InfoOf(GemmProblem::Input type) {
  constexpr TypeInfo kTypes[] = {
      {"f16", lt::kF16, 2}, {"bf16", lt::kBF16, 2}, {"e4m3", lt::kE4M3, 1}};
  return kTypes[static_cast<size_t>(type)];
}
TypeInfo InfoOf(GemmProblem::Output type) {
  constexpr TypeInfo kTypes[] = {{"f32", lt::kF32, 4}, {"f16", lt::kF16, 2}};
  return kTypes[static_cast<size_t>(type)];
}

absl::Status CheckBuffer(const GemmProblem& problem, absl::string_view name, BufferView view,
                         uint64_t rows, uint64_t columns, uint64_t bytes) {
  // Rows and columns are below 2^32 each, so that their product fits; the buffer's size is divided.
  if (rows * columns > view.bytes / bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(problem.ToString(), ": ", name, " needs ", rows, " x ", columns,
                     " elements of ", bytes, " bytes, the buffer has ", view.bytes, " bytes"));
  }
  if (view.ptr % kAlignment != 0) {
    return absl::InvalidArgumentError(absl::StrCat(problem.ToString(), ": ", name,
                                                   " must be aligned to ", kAlignment,
                                                   " bytes, its address is ", view.ptr));
  }
  return absl::OkStatus();
}

absl::Status CheckProblem(const GemmProblem& p, BufferView y, BufferView x, BufferView w,
                          const GemmScales& scales) {
  if (p.m == 0 || p.n == 0 || p.k == 0) {
    return absl::InvalidArgumentError(absl::StrCat(p.ToString(), ": a size is 0"));
  }
  const bool scaled = p.input == GemmProblem::Input::kE4M3;
  if (scaled && (p.n % kFp8Multiple != 0 || p.k % kFp8Multiple != 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat(p.ToString(), ": n and k must be multiples of ", kFp8Multiple));
  }
  const uint64_t in = InfoOf(p.input).bytes;
  PTXSMITH_RETURN_IF_ERROR(CheckBuffer(p, "y", y, p.m, p.n, InfoOf(p.output).bytes));
  PTXSMITH_RETURN_IF_ERROR(CheckBuffer(p, "x", x, p.m, p.k, in));
  PTXSMITH_RETURN_IF_ERROR(CheckBuffer(p, "w", w, p.n, p.k, in));
  if (!scaled) return absl::OkStatus();
  PTXSMITH_RETURN_IF_ERROR(CheckBuffer(p, "the scales of x", scales.x, p.m, 1, sizeof(float)));
  return CheckBuffer(p, "the scales of w", scales.w, p.n, 1, sizeof(float));
}

absl::Status Check(const CublasLtApi& api, int result, absl::string_view what) {
  return result == 0 ? absl::OkStatus() : ToStatus(api, result, what);
}

}  // namespace

std::string GemmProblem::ToString() const {
  return absl::StrCat("gemm m=", m, " n=", n, " k=", k, " ", InfoOf(input).name, " to ",
                      InfoOf(output).name);
}

// The library's description of a problem, and the algorithm it advises.
class GemmPlan {
 public:
  // `like` has the algorithm of the problem; null: the library is asked.
  static absl::StatusOr<std::shared_ptr<const GemmPlan>> Make(
      std::shared_ptr<const CublasLtApi> api, void* handle, const GemmProblem& problem,
      const GemmScales& scales, const GemmPlan* like);
  GemmPlan(const GemmPlan&) = delete;
  ~GemmPlan();

  const GemmProblem& problem() const { return problem_; }
  int Run(void* handle, DevicePtr y, DevicePtr x, DevicePtr w, BufferView workspace,
          CUstream stream) const;

 private:
  GemmPlan(std::shared_ptr<const CublasLtApi> api, const GemmProblem& problem)
      : api_(std::move(api)), problem_(problem) {}
  absl::Status Check(int result, absl::string_view call) const {
    if (result == 0) return absl::OkStatus();
    return ToStatus(*api_, result, absl::StrCat(call, " of ", problem_.ToString()));
  }
  absl::Status Describe(const GemmScales& scales);
  absl::Status ChooseAlgorithm(void* handle);

  const std::shared_ptr<const CublasLtApi> api_;
  const GemmProblem problem_;
  void* desc_ = nullptr;
  void* w_layout_ = nullptr;
  void* x_layout_ = nullptr;
  void* y_layout_ = nullptr;
  lt::Algo algo_ = {};
};

GemmPlan::~GemmPlan() {
  if (desc_ != nullptr) api_->MatmulDescDestroy(desc_);
  for (void* layout : {w_layout_, x_layout_, y_layout_}) {
    if (layout != nullptr) api_->MatrixLayoutDestroy(layout);
  }
}

absl::StatusOr<std::shared_ptr<const GemmPlan>> GemmPlan::Make(
    std::shared_ptr<const CublasLtApi> api, void* handle, const GemmProblem& problem,
    const GemmScales& scales, const GemmPlan* like) {
  std::shared_ptr<GemmPlan> plan(new GemmPlan(std::move(api), problem));
  PTXSMITH_RETURN_IF_ERROR(plan->Describe(scales));
  if (like != nullptr) {
    plan->algo_ = like->algo_;
  } else {
    PTXSMITH_RETURN_IF_ERROR(plan->ChooseAlgorithm(handle));
  }
  return plan;
}

// The library counts by columns: y is n x m, W (k x n) transposed times x (k x m).
absl::Status GemmPlan::Describe(const GemmScales& scales) {
  PTXSMITH_RETURN_IF_ERROR(
      Check(api_->MatmulDescCreate(&desc_, lt::kCompute32F, lt::kF32), "cublasLtMatmulDescCreate"));
  const auto set = [&](int attribute, const auto& value) {
    return Check(api_->MatmulDescSetAttribute(desc_, attribute, &value, sizeof(value)),
                 absl::StrCat("cublasLtMatmulDescSetAttribute ", attribute));
  };
  PTXSMITH_RETURN_IF_ERROR(set(lt::kTransA, lt::kTranspose));
  if (problem_.input == GemmProblem::Input::kE4M3) {
    PTXSMITH_RETURN_IF_ERROR(set(lt::kAScaleMode, lt::kOuterVectorF32));
    PTXSMITH_RETURN_IF_ERROR(set(lt::kBScaleMode, lt::kOuterVectorF32));
    PTXSMITH_RETURN_IF_ERROR(set(lt::kAScalePointer, scales.w.ptr));
    PTXSMITH_RETURN_IF_ERROR(set(lt::kBScalePointer, scales.x.ptr));
  }
  const auto layout = [&](void** made, int type, uint64_t rows, uint64_t columns) {
    return Check(api_->MatrixLayoutCreate(made, type, rows, columns, static_cast<int64_t>(rows)),
                 "cublasLtMatrixLayoutCreate");
  };
  const int input = InfoOf(problem_.input).lt;
  PTXSMITH_RETURN_IF_ERROR(layout(&w_layout_, input, problem_.k, problem_.n));
  PTXSMITH_RETURN_IF_ERROR(layout(&x_layout_, input, problem_.k, problem_.m));
  return layout(&y_layout_, InfoOf(problem_.output).lt, problem_.n, problem_.m);
}

absl::Status GemmPlan::ChooseAlgorithm(void* handle) {
  void* preference = nullptr;
  PTXSMITH_RETURN_IF_ERROR(
      Check(api_->PreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate"));
  const uint64_t workspace = DenseGemm::kWorkspaceBytes;
  absl::Status status = Check(api_->PreferenceSetAttribute(preference, lt::kMaxWorkspaceBytes,
                                                           &workspace, sizeof(workspace)),
                              "cublasLtMatmulPreferenceSetAttribute");
  lt::Heuristic best = {};
  int found = 0;
  if (status.ok()) {
    status = Check(api_->GetHeuristic(handle, desc_, w_layout_, x_layout_, y_layout_, y_layout_,
                                      preference, 1, &best, &found),
                   "cublasLtMatmulAlgoGetHeuristic");
  }
  status.Update(Check(api_->PreferenceDestroy(preference), "cublasLtMatmulPreferenceDestroy"));
  PTXSMITH_RETURN_IF_ERROR(status);
  if (found == 0) {
    return absl::UnimplementedError(
        absl::StrCat("cuBLASLt has no algorithm for ", problem_.ToString()));
  }
  algo_ = best.algo;
  return absl::OkStatus();
}

int GemmPlan::Run(void* handle, DevicePtr y, DevicePtr x, DevicePtr w, BufferView workspace,
                  CUstream stream) const {
  const auto at = [](DevicePtr ptr) { return reinterpret_cast<void*>(ptr); };
  const float alpha = 1;
  const float beta = problem_.accumulate ? 1 : 0;
  return api_->Matmul(handle, desc_, &alpha, at(w), w_layout_, at(x), x_layout_, &beta, at(y),
                      y_layout_, at(y), y_layout_, &algo_, at(workspace.ptr), workspace.bytes,
                      stream);
}

const GemmProblem& BoundGemm::problem() const { return plan_->problem(); }
uint64_t BoundGemm::flops() const {
  const GemmProblem& p = problem();
  return uint64_t{2} * p.m * p.n * p.k;
}
uint64_t BoundGemm::bytes() const {
  const GemmProblem& p = problem();
  return (uint64_t{p.m} + p.n) * p.k * InfoOf(p.input).bytes +
         uint64_t{p.m} * p.n * InfoOf(p.output).bytes * (p.accumulate ? 2 : 1);
}

absl::StatusOr<std::shared_ptr<const DenseGemm>> DenseGemm::Open(std::shared_ptr<Device> device,
                                                                 const std::string& cuda_home) {
  PTXSMITH_RETURN_IF_ERROR(device->RawEnterContext());  // before hundreds of megabytes are opened
  PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const CublasLtApi> api, LoadCublasLt(cuda_home));
  return Open(std::move(device), std::move(api));
}

absl::StatusOr<std::shared_ptr<const DenseGemm>> DenseGemm::Open(
    std::shared_ptr<Device> device, std::shared_ptr<const CublasLtApi> api) {
  PTXSMITH_RETURN_IF_ERROR(device->RawEnterContext());
  std::shared_ptr<DenseGemm> gemm(new DenseGemm(std::move(device), std::move(api)));
  PTXSMITH_RETURN_IF_ERROR(
      Check(*gemm->api_, gemm->api_->Create(&gemm->handle_), "cublasLtCreate"));
  PTXSMITH_ASSIGN_OR_RETURN(gemm->workspace_,
                            gemm->device_->Allocate(kWorkspaceBytes, "gemm workspace"));
  return gemm;
}

DenseGemm::~DenseGemm() {
  plans_.clear();  // before the handle they were made with
  if (handle_ == nullptr) return;
  const absl::Status current = device_->RawEnterContext();
  device_->LogFailure(Check(*api_, api_->Destroy(handle_), "cublasLtDestroy"));
  device_->LogFailure(current);
}

absl::StatusOr<std::shared_ptr<const GemmPlan>> DenseGemm::PlanOf(const GemmProblem& problem,
                                                                  const GemmScales& scales) const {
  PTXSMITH_RETURN_IF_ERROR(device_->RawEnterContext());
  const std::lock_guard<std::mutex> lock(mutex_);
  std::shared_ptr<const GemmPlan>& known = plans_[problem];
  const bool scaled = problem.input == GemmProblem::Input::kE4M3;
  if (known != nullptr && !scaled) return known;
  // The scales are part of the library's description: only the algorithm is shared.
  PTXSMITH_ASSIGN_OR_RETURN(std::shared_ptr<const GemmPlan> plan,
                            GemmPlan::Make(api_, handle_, problem, scales, known.get()));
  if (known == nullptr) known = plan;
  return plan;
}

absl::StatusOr<BoundGemm> DenseGemm::Bind(const GemmProblem& problem, BufferView y, BufferView x,
                                          BufferView w, const GemmScales& scales) const {
  PTXSMITH_RETURN_IF_ERROR(CheckProblem(problem, y, x, w, scales));
  BoundGemm gemm;
  PTXSMITH_ASSIGN_OR_RETURN(gemm.plan_, PlanOf(problem, scales));
  gemm.library_ = shared_from_this();
  gemm.y_ = y.ptr;
  gemm.x_ = x.ptr;
  gemm.w_ = w.ptr;
  return gemm;
}

absl::Status Enqueue(const BoundGemm& gemm, const Stream& stream) {
  if (stream.recorder() != nullptr && !stream.recorder()->capturing()) {
    return absl::FailedPreconditionError(
        absl::StrCat(gemm.problem().ToString(), ": a graph of kernel nodes cannot hold it"));
  }
  const DenseGemm& library = *gemm.library_;
  PTXSMITH_RETURN_IF_ERROR(library.device_->RawEnterContext());
  const int result = gemm.plan_->Run(library.handle_, gemm.y_, gemm.x_, gemm.w_, library.workspace_,
                                     reinterpret_cast<CUstream>(stream.handle()));
  if (result == 0) return absl::OkStatus();
  return ToStatus(*library.api_, result,
                  absl::StrCat("cublasLtMatmul of ", gemm.problem().ToString()));
}

}  // namespace ptxsmith

// Dense products: the calls made, through a fake of NVIDIA's library, and what comes out of the
// true one on a GPU.
#include "runtime/dense_gemm.h"

#include <cmath>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/cublas_lt.h"
#include "runtime/cuda_device.h"
#include "runtime/graph.h"
#include "tests/runtime/fake_driver.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/reference/float_formats.h"

namespace ptxsmith {
namespace {

using Input = GemmProblem::Input;
using Output = GemmProblem::Output;
using testing::HasSubstr;

// cuBLASLt without a GPU: notes what it is told. One at a time, as its calls carry no argument.
class FakeLibrary {
 public:
  FakeLibrary() {
    current_ = this;
    auto api = std::make_shared<CublasLtApi>();
    api->Create = [](void** handle) { return Make("cublasLtCreate", handle); };
    api->Destroy = [](void*) { return Drop(); };
    api->MatmulDescCreate = [](void** desc, int, int) { return Make("desc", desc); };
    api->MatmulDescDestroy = [](void*) { return Drop(); };
    api->MatmulDescSetAttribute = [](void*, int attribute, const void* value, size_t bytes) {
      std::memcpy(&current_->attributes[attribute], value, bytes);
      return current_->Result("attribute");
    };
    api->MatrixLayoutCreate = [](void** layout, int type, uint64_t rows, uint64_t columns,
                                 int64_t) {
      current_->layouts.push_back({type, rows, columns});
      return Make("layout", layout);
    };
    api->MatrixLayoutDestroy = [](void*) { return Drop(); };
    api->PreferenceCreate = [](void** preference) { return Make("preference", preference); };
    api->PreferenceDestroy = [](void*) { return Drop(); };
    api->PreferenceSetAttribute = [](void*, int, const void*, size_t) { return 0; };
    api->GetHeuristic = [](void*, void*, void*, void*, void*, void*, void*, int,
                           lt::Heuristic* result, int* count) {
      result->algo.data[0] = 4711;
      *count = current_->algorithms;
      return current_->Result("heuristic");
    };
    api->Matmul = [](void*, void*, const void*, const void* a, void*, const void* b, void*,
                     const void* beta, const void*, void*, void* d, void*, const lt::Algo* algo,
                     void*, size_t workspace, CUstream) {
      current_->product = {reinterpret_cast<DevicePtr>(a), reinterpret_cast<DevicePtr>(b),
                           reinterpret_cast<DevicePtr>(d)};
      current_->beta = *static_cast<const float*>(beta);
      current_->workspace = workspace;
      return algo->data[0] == 4711 ? current_->Result("matmul") : 7;
    };
    api_ = std::move(api);
  }
  ~FakeLibrary() { current_ = nullptr; }

  std::shared_ptr<const CublasLtApi> api() const { return api_; }

  struct Layout {
    int type;
    uint64_t rows, columns;
  };
  int live = 0;        // things made and not given back
  int algorithms = 1;  // that GetHeuristic finds
  std::map<int, uint64_t> attributes;
  std::vector<Layout> layouts;
  std::vector<DevicePtr> product;  // a, b, d
  float beta = -1;
  size_t workspace = 0;
  std::string failing;  // the call that gives status 14

 private:
  int Result(const std::string& call) const { return call == failing ? 14 : 0; }
  static int Make(const std::string& call, void** made) {
    if (call == current_->failing) return 14;
    *made = current_;
    ++current_->live;
    return 0;
  }
  static int Drop() {
    --current_->live;
    return 0;
  }

  static FakeLibrary* current_;
  std::shared_ptr<const CublasLtApi> api_;
};
FakeLibrary* FakeLibrary::current_ = nullptr;

class DenseGemmTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK_AND_ASSIGN(device_, OpenCuda(0, driver_.api()));
    ASSERT_OK_AND_ASSIGN(gemm_, DenseGemm::Open(device_, library_.api()));
    ASSERT_OK_AND_ASSIGN(buffer_, device_->Allocate(1 << 20, "buffer"));
    ASSERT_OK_AND_ASSIGN(stream_, device_->NewStream());
  }
  absl::StatusOr<BoundGemm> Bind(const GemmProblem& problem) const {
    return gemm_->Bind(problem, buffer_, buffer_, buffer_, {buffer_, buffer_});
  }

  FakeDriver driver_;
  FakeLibrary library_;
  std::shared_ptr<Device> device_;
  std::shared_ptr<const DenseGemm> gemm_;
  Buffer buffer_;
  Stream stream_;
};

TEST_F(DenseGemmTest, TellsTheLibraryTheProductByColumns) {
  const BufferView all(buffer_);
  ASSERT_OK_AND_ASSIGN(
      const BoundGemm gemm,
      gemm_->Bind({.m = 3, .n = 32, .k = 64, .input = Input::kBF16, .accumulate = true},
                  all.Slice(0, 4096), all.Slice(4096, 4096), all.Slice(8192, 4096)));
  EXPECT_EQ(gemm.flops(), 2u * 3 * 32 * 64);
  EXPECT_EQ(library_.attributes[lt::kTransA], static_cast<uint64_t>(lt::kTranspose));
  ASSERT_EQ(library_.layouts.size(), 3u);
  const FakeLibrary::Layout want[] = {{lt::kBF16, 64, 32}, {lt::kBF16, 64, 3}, {lt::kF32, 32, 3}};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(library_.layouts[i].type, want[i].type) << i;
    EXPECT_EQ(library_.layouts[i].rows, want[i].rows) << i;
    EXPECT_EQ(library_.layouts[i].columns, want[i].columns) << i;
  }
  ASSERT_OK(Enqueue(gemm, stream_));
  EXPECT_EQ(library_.product, (std::vector<DevicePtr>{all.ptr + 8192, all.ptr + 4096, all.ptr}));
  EXPECT_EQ(library_.beta, 1.0f);
  EXPECT_EQ(library_.workspace, DenseGemm::kWorkspaceBytes);
}

TEST_F(DenseGemmTest, ProductsOfOneProblemShareItsDescription) {
  const GemmProblem problem = {.m = 3, .n = 32, .k = 64};
  ASSERT_OK(Bind(problem));
  const int live = library_.live;
  ASSERT_OK(Bind(problem));
  EXPECT_EQ(library_.live, live);
  ASSERT_OK(Bind({.m = 4, .n = 32, .k = 64}));
  EXPECT_GT(library_.live, live);
}

TEST_F(DenseGemmTest, ProductsWithScalesShareTheAlgorithm) {
  const GemmProblem problem = {.m = 3, .n = 32, .k = 64, .input = Input::kE4M3};
  ASSERT_OK(Bind(problem));
  library_.failing = "heuristic";
  EXPECT_OK(Bind(problem));
  EXPECT_FALSE(Bind({.m = 4, .n = 32, .k = 64, .input = Input::kE4M3}).ok());
}

TEST_F(DenseGemmTest, ScalesAreThoseOfRows) {
  const BufferView all(buffer_);
  ASSERT_OK(gemm_->Bind({.m = 3, .n = 32, .k = 64, .input = Input::kE4M3}, all, all, all,
                        {all.Slice(0, 12), all.Slice(256, 128)}));
  EXPECT_EQ(library_.attributes[lt::kAScaleMode], static_cast<uint64_t>(lt::kOuterVectorF32));
  EXPECT_EQ(library_.attributes[lt::kAScalePointer], all.ptr + 256);
  EXPECT_EQ(library_.attributes[lt::kBScalePointer], all.ptr);
}

TEST_F(DenseGemmTest, RefusesWhatDoesNotFit) {
  EXPECT_THAT(Bind({.m = 1024, .n = 1024, .k = 64}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "gemm m=1024 n=1024 k=64 f16 to f32: y needs 1024 x 1024 elements of 4 "
                       "bytes, the buffer has 1048576 bytes"));
  EXPECT_THAT(Bind({.m = 1u << 31, .n = 1u << 31, .k = 1}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("2147483648 x 2147483648")));
  EXPECT_THAT(Bind({.m = 1, .n = 0, .k = 64}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a size is 0")));
  EXPECT_THAT(Bind({.m = 1, .n = 24, .k = 64, .input = Input::kE4M3}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("multiples of 16")));
  const BufferView all(buffer_);
  EXPECT_THAT(gemm_->Bind({.m = 1, .n = 1, .k = 1}, all, all.Slice(4, 64), all),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("x must be aligned to 16")));
}

TEST_F(DenseGemmTest, AnUnknownProductIsUnimplemented) {
  library_.algorithms = 0;
  EXPECT_THAT(Bind({.m = 1, .n = 1, .k = 8}),
              StatusIs(absl::StatusCode::kUnimplemented,
                       "cuBLASLt has no algorithm for gemm m=1 n=1 k=8 f16 to f32"));
}

TEST_F(DenseGemmTest, AFailureOfAnyCallIsReportedAndLeaksNothing) {
  const int before = library_.live;
  for (const char* call : {"desc", "attribute", "layout", "preference", "heuristic"}) {
    library_.failing = call;
    EXPECT_THAT(Bind({.m = 1, .n = 16, .k = 16, .input = Input::kE4M3}),
                StatusIs(absl::StatusCode::kInternal, HasSubstr("(14)")))
        << call;
    EXPECT_EQ(library_.live, before) << call;
  }
  library_.failing = "";
  ASSERT_OK_AND_ASSIGN(const BoundGemm gemm, Bind({.m = 1, .n = 16, .k = 16}));
  library_.failing = "matmul";
  EXPECT_THAT(Enqueue(gemm, stream_),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("gemm m=1 n=16 k=16")));
  library_.failing = "cublasLtCreate";
  EXPECT_THAT(DenseGemm::Open(device_, library_.api()), StatusIs(absl::StatusCode::kInternal));
}

TEST_F(DenseGemmTest, GoesIntoCapturedGraphsOnly) {
  ASSERT_OK_AND_ASSIGN(const BoundGemm gemm, Bind({.m = 1, .n = 16, .k = 16}));
  EXPECT_OK(
      Graph::Record(stream_, Graph::Method::kCapture, [&] { return Enqueue(gemm, stream_); }));
  EXPECT_THAT(Graph::Record(stream_, Graph::Method::kNodes, [&] { return Enqueue(gemm, stream_); }),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("kernel nodes")));
}

TEST_F(DenseGemmTest, EverythingIsGivenBack) {
  {
    ASSERT_OK_AND_ASSIGN(BoundGemm gemm, Bind({.m = 1, .n = 16, .k = 16}));
    BoundGemm other = std::move(gemm);
    gemm_ = nullptr;  // the product keeps the library
    EXPECT_OK(Enqueue(other, stream_));
  }
  EXPECT_EQ(library_.live, 0);
}

TEST(DenseGemmDeviceTest, TheEmulatorHasNone) {
  ASSERT_OK_AND_ASSIGN(auto device, Device::Open("emu:sm90"));
  EXPECT_THAT(DenseGemm::Open(device),
              StatusIs(absl::StatusCode::kUnavailable, "emu:sm90 has no CUDA context"));
}

// Values that all input types hold exactly, so that only the sums and the output round.
float Element(size_t i) {
  const uint32_t bits = static_cast<uint32_t>(i) * 2654435761u;
  return static_cast<float>(static_cast<int>(bits >> 28) - 8) / 8;
}

std::vector<uint8_t> Elements(Input type, size_t count) {
  std::vector<uint8_t> bytes;
  const auto append = [&](auto bits) {
    const size_t at = bytes.size();
    bytes.resize(at + sizeof(bits));
    std::memcpy(&bytes[at], &bits, sizeof(bits));
  };
  for (size_t i = 0; i < count; ++i) {
    const float value = Element(i);
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    // e4m3 has the bias 7 and three bits of fraction; the values here are normal or 0.
    const uint32_t e4m3 = value == 0 ? 0 : ((bits >> 23 & 0xff) - 120) << 3 | (bits >> 20 & 7);
    if (type == Input::kF16) append(reference::FloatToHalf(value));
    if (type == Input::kBF16) append(static_cast<uint16_t>(bits >> 16));
    if (type == Input::kE4M3) append(static_cast<uint8_t>(e4m3 | (bits >> 24 & 0x80)));
  }
  return bytes;
}

TEST(DenseGemmDeviceTest, ProductsOnAGpuAreRight) {
  const absl::StatusOr<std::shared_ptr<Device>> device = Device::Open("cuda:0");
  if (!device.ok()) GTEST_SKIP() << device.status().message();
  const absl::StatusOr<std::shared_ptr<const DenseGemm>> library = DenseGemm::Open(*device);
  if (!library.ok()) GTEST_SKIP() << library.status().message();
  ASSERT_OK_AND_ASSIGN(Stream stream, (*device)->NewStream());
  const auto upload = [&](const std::vector<uint8_t>& bytes) -> absl::StatusOr<Buffer> {
    PTXSMITH_ASSIGN_OR_RETURN(Buffer buffer, (*device)->Allocate(bytes.size(), "operand"));
    PTXSMITH_RETURN_IF_ERROR(stream.CopyToDevice(buffer, bytes.data(), bytes.size()));
    PTXSMITH_RETURN_IF_ERROR(stream.Synchronize());
    return buffer;
  };
  const GemmProblem kProblems[] = {
      {.m = 1, .n = 16, .k = 32},
      {.m = 65, .n = 48, .k = 512, .output = Output::kF16},
      {.m = 33, .n = 130, .k = 96, .input = Input::kBF16, .accumulate = true},
      {.m = 128, .n = 256, .k = 4096},
      {.m = 19, .n = 64, .k = 128, .input = Input::kE4M3},
  };
  for (const GemmProblem& p : kProblems) {
    SCOPED_TRACE(p.ToString());
    const size_t outputs = size_t{p.m} * p.n;
    const size_t width = p.output == Output::kF32 ? 4 : 2;
    std::vector<float> x_scale(p.m), w_scale(p.n), before(outputs);
    for (size_t i = 0; i < p.m; ++i) x_scale[i] = 1.0f + static_cast<float>(i % 3);
    for (size_t i = 0; i < p.n; ++i) w_scale[i] = 0.5f + static_cast<float>(i % 5);
    for (size_t i = 0; i < outputs; ++i) before[i] = Element(i + 7);
    const auto bytes_of = [](const std::vector<float>& values) {
      std::vector<uint8_t> bytes(values.size() * 4);
      std::memcpy(bytes.data(), values.data(), bytes.size());
      return bytes;
    };
    ASSERT_OK_AND_ASSIGN(const Buffer x, upload(Elements(p.input, size_t{p.m} * p.k)));
    ASSERT_OK_AND_ASSIGN(const Buffer w, upload(Elements(p.input, size_t{p.n} * p.k)));
    ASSERT_OK_AND_ASSIGN(const Buffer xs, upload(bytes_of(x_scale)));
    ASSERT_OK_AND_ASSIGN(const Buffer ws, upload(bytes_of(w_scale)));
    ASSERT_OK_AND_ASSIGN(const Buffer y, upload(bytes_of(before)));
    ASSERT_OK_AND_ASSIGN(const BoundGemm gemm, (*library)->Bind(p, y, x, w, {xs, ws}));
    ASSERT_OK(Enqueue(gemm, stream));
    std::vector<uint8_t> got(outputs * width);
    ASSERT_OK(stream.CopyToHost(got.data(), y, got.size()));
    ASSERT_OK(stream.Synchronize());
    for (size_t i = 0; i < outputs; ++i) {
      const size_t row = i / p.n, column = i % p.n;
      double want = 0, magnitude = 0;
      for (size_t c = 0; c < p.k; ++c) {
        const double term = double{Element(row * p.k + c)} * Element(column * p.k + c);
        want += term;
        magnitude += std::fabs(term);
      }
      double scale = 1;
      if (p.input == Input::kE4M3) scale = double{x_scale[row]} * w_scale[column];
      if (p.accumulate) want += before[i];
      float value = 0;
      uint16_t half = 0;
      if (width == 4) std::memcpy(&value, &got[i * 4], 4);
      if (width == 2) std::memcpy(&half, &got[i * 2], 2);
      if (width == 2) value = reference::HalfToFloat(half);
      // Sums of FP8 products are kept with 14 bits or so inside the tensor cores.
      const double sum_error = p.input == Input::kE4M3 ? 0x1p-12 : 0x1p-20;
      const double bound =
          magnitude * scale * sum_error + (width == 2 ? std::fabs(want) * 0x1p-11 : 0);
      ASSERT_NEAR(value, want * scale, bound + 1e-6) << "row " << row << " column " << column;
    }
  }
}

}  // namespace
}  // namespace ptxsmith

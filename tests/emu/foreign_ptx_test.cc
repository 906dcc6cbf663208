// PTX that this project did not write: CUDA C++ compiled by nvcc runs on the emulator, with all
// checks, to the right results.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/emu/op_runner.h"

namespace ptxsmith::emu {
namespace {

namespace fs = std::filesystem;

constexpr char kSource[] = R"(
#include <cuda_fp16.h>

extern "C" __global__ void reduce(const float* x, float* y, int n) {
  __shared__ float partial[32];
  float sum = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += x[i];
  for (int o = 16; o != 0; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
  if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x < 32) {
    sum = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0;
    for (int o = 16; o != 0; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if (threadIdx.x == 0) atomicAdd(y, sum);
  }
}

extern "C" __global__ void matmul(const float* a, const float* b, float* c, int n) {
  __shared__ float ta[16][17], tb[16][17];
  const int row = blockIdx.y * 16 + threadIdx.y, column = blockIdx.x * 16 + threadIdx.x;
  float sum = 0;
  for (int k = 0; k < n; k += 16) {
    ta[threadIdx.y][threadIdx.x] = a[row * n + k + threadIdx.x];
    tb[threadIdx.y][threadIdx.x] = b[(k + threadIdx.y) * n + column];
    __syncthreads();
    for (int j = 0; j < 16; ++j) sum += ta[threadIdx.y][j] * tb[j][threadIdx.x];
    __syncthreads();
  }
  c[row * n + column] = sum;
}

__constant__ float kBias[4] = {0.5f, -1.0f, 2.0f, 0.25f};
__device__ int calls = 40;

// Library functions, local arrays with computed indices, a switch, halves, 64-bit division.
extern "C" __global__ void mixed(const float* x, float* y, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  float history[8];
  float v = x[i];
  for (int k = 0; k < 8; ++k) history[(k * 3 + i) & 7] = v * k;
  switch (i % 5) {
    case 0: v = expf(v); break;
    case 1: v = sinf(v * 3.0f); break;
    case 2: v = logf(fabsf(v) + 1.0f); break;
    case 3: v = __half2float(__hfma(__float2half(v), __float2half(2.0f), __float2half(1.0f))); break;
    default: v = (float)((1000000007ll * (i + 1)) / (i + 3) % 1000); break;
  }
  y[i] = v + history[i & 7] + kBias[i & 3] + (float)calls;
}

extern "C" __global__ void scan(const int* x, int* y, int n) {
  extern __shared__ int buffer[];
  const int t = threadIdx.x;
  buffer[t] = x[t];
  __syncthreads();
  for (int o = 1; o < n; o *= 2) {
    const int add = t >= o ? buffer[t - o] : 0;
    __syncthreads();
    buffer[t] += add;
    __syncthreads();
  }
  y[t] = buffer[t];
}
)";

// The folder of the test's files, deleted at its end.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "ptxsmith_emu_XXXXXX").string();
    path_ = mkdtemp(name.data()) != nullptr ? name : "";
  }
  ~Folder() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

class ForeignPtx : public testing::Test {
 protected:
  // Compiles once for all tests of the suite.
  static void SetUpTestSuite() {
    for (const char* candidate : {"nvcc", "/usr/local/cuda/bin/nvcc"}) {
      if (std::system(absl::StrCat(candidate, " --version >/dev/null 2>&1").c_str()) != 0) continue;
      const Folder folder;
      std::ofstream(folder.path() + "/k.cu") << kSource;
      const std::string command = absl::StrCat(candidate, " -ptx -arch=sm_80 -o ", folder.path(),
                                               "/k.ptx ", folder.path(), "/k.cu 2>&1");
      reason_ = std::system(command.c_str()) == 0 ? "" : "nvcc cannot compile here";
      std::ifstream file(folder.path() + "/k.ptx");
      std::stringstream text;
      text << file.rdbuf();
      text_ = text.str();
      return;
    }
    reason_ = "no nvcc on this machine";
  }
  void SetUp() override {
    if (!reason_.empty()) GTEST_SKIP() << reason_;
    ASSERT_OK_AND_ASSIGN(program_, ParseProgram(text_));
  }

  uint64_t Upload(const void* data, size_t bytes, const char* name) {
    const absl::StatusOr<uint64_t> address = memory_.Allocate(bytes, name);
    EXPECT_OK(address);
    if (data != nullptr) {
      EXPECT_OK(memory_.Write(*address, data, bytes));
    }
    return *address;
  }
  absl::Status Launch(const char* entry, std::array<uint32_t, 3> grid,
                      std::array<uint32_t, 3> block, std::vector<void*> params,
                      uint32_t dynamic_shared = 0) {
    LaunchConfig config;
    config.grid = grid;
    config.block = block;
    config.params = params.data();
    config.dynamic_shared = dynamic_shared;
    return emulator_.Launch(program_, entry, config, memory_).status();
  }

  static std::string text_, reason_;
  std::shared_ptr<const Program> program_;
  Memory memory_;
  Emulator emulator_{2};
};
std::string ForeignPtx::text_, ForeignPtx::reason_;

std::vector<float> Randoms(size_t n) {
  std::mt19937 random(1);
  std::vector<float> v(n);
  for (float& x : v) x = static_cast<float>(random() % 20001) / 10000 - 1;
  return v;
}

TEST_F(ForeignPtx, BlockReduction) {
  int n = 10007;
  const std::vector<float> x = Randoms(n);
  const float zero = 0;
  uint64_t in = Upload(x.data(), 4 * n, "x"), out = Upload(&zero, 4, "y");
  ASSERT_OK(Launch("reduce", {5, 1, 1}, {256, 1, 1}, {&in, &out, &n}));
  double sum = 0;
  for (float v : x) sum += v;
  float got = 0;
  ASSERT_OK(memory_.Read(out, &got, 4));
  EXPECT_NEAR(got, sum, 1e-3);
}

TEST_F(ForeignPtx, TiledMatmul) {
  int n = 48;
  const std::vector<float> a = Randoms(n * n), b(a.rbegin(), a.rend());
  uint64_t pa = Upload(a.data(), 4 * n * n, "a"), pb = Upload(b.data(), 4 * n * n, "b");
  uint64_t pc = Upload(nullptr, 4 * n * n, "c");
  ASSERT_OK(Launch("matmul", {3, 3, 1}, {16, 16, 1}, {&pa, &pb, &pc, &n}));
  std::vector<float> c(n * n);
  ASSERT_OK(memory_.Read(pc, c.data(), 4 * n * n));
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      float sum = 0;
      for (int k = 0; k < n; ++k) sum = std::fma(a[i * n + k], b[k * n + j], sum);
      ASSERT_EQ(c[i * n + j], sum) << i << " " << j;  // the same order, the same fma
    }
  }
}

TEST_F(ForeignPtx, MixedLibraryCode) {
  int n = 1000;
  const std::vector<float> x = Randoms(n);
  uint64_t in = Upload(x.data(), 4 * n, "x"), out = Upload(nullptr, 4 * n, "y");
  ASSERT_OK(Launch("mixed", {8, 1, 1}, {128, 1, 1}, {&in, &out, &n}));
  std::vector<float> y(n);
  ASSERT_OK(memory_.Read(out, y.data(), 4 * n));
  const float bias[4] = {0.5f, -1.0f, 2.0f, 0.25f};
  for (int i = 0; i < n; ++i) {
    const double v = x[i];
    const double f = i % 5 == 0   ? std::exp(v)
                     : i % 5 == 1 ? std::sin(v * 3)
                     : i % 5 == 2 ? std::log(std::abs(v) + 1)
                     : i % 5 == 3 ? 2 * v + 1
                                  : static_cast<double>(1000000007ll * (i + 1) / (i + 3) % 1000);
    double history = 0;
    for (int k = 0; k < 8; ++k) {
      if (((k * 3 + i) & 7) == (i & 7)) history = v * k;
    }
    EXPECT_NEAR(y[i], f + history + bias[i & 3] + 40, 3e-3) << i;
  }
}

TEST_F(ForeignPtx, ScanInDynamicSharedMemory) {
  int n = 256;
  std::vector<int> x(n);
  for (int i = 0; i < n; ++i) x[i] = i * i % 17;
  uint64_t in = Upload(x.data(), 4 * n, "x"), out = Upload(nullptr, 4 * n, "y");
  ASSERT_OK(Launch("scan", {1, 1, 1}, {256, 1, 1}, {&in, &out, &n}, 4 * n));
  std::vector<int> y(n);
  ASSERT_OK(memory_.Read(out, y.data(), 4 * n));
  int sum = 0;
  for (int i = 0; i < n; ++i) EXPECT_EQ(y[i], sum += x[i]);
  // Without the shared memory it asks for, the same launch is a fault.
  EXPECT_THAT(Launch("scan", {1, 1, 1}, {256, 1, 1}, {&in, &out, &n}),
              StatusIs(absl::StatusCode::kInternal, testing::HasSubstr("out-of-bounds")));
}

}  // namespace
}  // namespace ptxsmith::emu

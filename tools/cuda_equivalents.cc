#include "tools/cuda_equivalents.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace ptxsmith {
namespace {

// Sizes come as macros, because that is how a program specialises for NVRTC.
constexpr char kSource[] = R"(
typedef unsigned char u8;
typedef unsigned short u16;

__device__ float half_bits(u16 bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
  return value;
}

__device__ float warp_sum(float value) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(0xffffffffu, value, step);
  return value;
}

struct Q4K {
  u16 d, dmin;
  u8 scales[12];
  u8 qs[128];
};

struct Q6K {
  u8 ql[128];
  u8 qh[64];
  signed char scales[16];
  u16 d;
};

// The 6-bit scale and minimum of sub-block `i`.
__device__ void scale_min(const u8* s, int i, float& scale, float& minimum) {
  if (i < 4) {
    scale = s[i] & 63;
    minimum = s[i + 4] & 63;
  } else {
    scale = (s[i + 4] & 15) | ((s[i - 4] >> 6) << 4);
    minimum = (s[i + 4] >> 4) | ((s[i] >> 6) << 4);
  }
}

// Eight weights of one block by one lane.
__device__ float dot(const Q4K& block, const float* x, int lane) {
  const int group = lane / 8;
  const int at = lane % 8 * 4;
  float scale[2], minimum[2];
  scale_min(block.scales, 2 * group, scale[0], minimum[0]);
  scale_min(block.scales, 2 * group + 1, scale[1], minimum[1]);
  const float d = half_bits(block.d), dmin = half_bits(block.dmin);
  float sum = 0;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const u8 q = block.qs[32 * group + at + i];
    sum += (d * scale[0] * (q & 15) - dmin * minimum[0]) * x[64 * group + at + i];
    sum += (d * scale[1] * (q >> 4) - dmin * minimum[1]) * x[64 * group + 32 + at + i];
  }
  return sum;
}

__device__ float dot(const Q6K& block, const float* x, int lane) {
  const float d = half_bits(block.d);
  float sum = 0;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const u8* ql = block.ql + 64 * half;
    const u8 qh = block.qh[32 * half + lane];
    const signed char* scales = block.scales + 8 * half + lane / 16;
    const int q0 = ((ql[lane] & 15) | ((qh & 3) << 4)) - 32;
    const int q1 = ((ql[lane + 32] & 15) | ((qh >> 2 & 3) << 4)) - 32;
    const int q2 = ((ql[lane] >> 4) | ((qh >> 4 & 3) << 4)) - 32;
    const int q3 = ((ql[lane + 32] >> 4) | ((qh >> 6 & 3) << 4)) - 32;
    const float* part = x + 128 * half + lane;
    sum += d * scales[0] * q0 * part[0] + d * scales[2] * q1 * part[32] +
           d * scales[4] * q2 * part[64] + d * scales[6] * q3 * part[96];
  }
  return sum;
}

#ifdef BLOCK
extern "C" __global__ void __launch_bounds__(128) gemv(float* y, const BLOCK* w, const float* x) {
  const unsigned row = blockIdx.x * 4 + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (row >= N) return;
  float sum = 0;
#pragma unroll 4
  for (int b = 0; b < K / 256; ++b) sum += dot(w[row * (K / 256) + b], x + 256 * b, lane);
  sum = warp_sum(sum);
  if (lane == 0) y[row] = sum;
}
#endif

#ifdef NORM
extern "C" __global__ void __launch_bounds__(256) rms_norm(float* y, const float* x, const float* g) {
  __shared__ float sums[8];
  float sum = 0;
  for (int i = threadIdx.x; i < N; i += 256) sum += x[i] * x[i];
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
  __syncthreads();
  float total = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i) total += sums[i];
  const float scale = 1.0f / sqrtf(total / N + 1e-5f);
  for (int i = threadIdx.x; i < N; i += 256) y[i] = x[i] * scale * g[i];
}
#endif

#ifdef SWIGLU
extern "C" __global__ void __launch_bounds__(256) swiglu(float* y, const float* gate, const float* up) {
  const unsigned i = blockIdx.x * 256 + threadIdx.x;
  if (i < N) y[i] = gate[i] / (1.0f + expf(-gate[i])) * up[i];
}
#endif
)";

CudaEquivalent Make(std::string key, std::string entry, std::vector<std::string> options) {
  CudaEquivalent equivalent;
  equivalent.cuda.key = key;
  equivalent.cuda.source = kSource;
  equivalent.cuda.entry = std::move(entry);
  equivalent.cuda.options = std::move(options);
  equivalent.key = std::move(key);
  return equivalent;
}

CudaEquivalent MakeGemv(const char* quant, const char* block, uint32_t k, uint32_t n) {
  return Make(absl::StrCat("gemv:quant=", quant, ",k=", k, ",n=", n, ",unroll=4"), "gemv",
              {absl::StrCat("-DBLOCK=", block), absl::StrCat("-DK=", k), absl::StrCat("-DN=", n)});
}

}  // namespace

std::vector<CudaEquivalent> CudaEquivalents() {
  return {MakeGemv("q4_k", "Q4K", 4096, 4096),
          MakeGemv("q4_k", "Q4K", 4096, 1024),
          MakeGemv("q6_k", "Q6K", 4096, 1024),
          MakeGemv("q4_k", "Q4K", 4096, 14336),
          MakeGemv("q4_k", "Q4K", 14336, 4096),
          MakeGemv("q6_k", "Q6K", 14336, 4096),
          MakeGemv("q6_k", "Q6K", 4096, 128256),
          Make("rms_norm:n=4096", "rms_norm", {"-DNORM", "-DN=4096"}),
          Make("swiglu:n=14336", "swiglu", {"-DSWIGLU", "-DN=14336"})};
}

}  // namespace ptxsmith

// How fast the emulator is with all checks on: a mat-vec product over Q4_K weights as the project
// generates it. Prints lane operations per second and core; fails under a bound that only a broken
// fast path would miss.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/emu/op_runner.h"

namespace ptxsmith::emu {
namespace {

constexpr double kLeastLaneOpsPerSecond = 100e6;

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define PTXSMITH_SANITIZED 1
#endif
#endif
#if defined(PTXSMITH_SANITIZED) || defined(__SANITIZE_ADDRESS__) || \
    defined(__SANITIZE_THREAD__) || !defined(__OPTIMIZE__)
constexpr bool kFullSpeed = false;
#else
constexpr bool kFullSpeed = true;
#endif

TEST(Throughput, MatVecOfQuantizedWeights) {
  if (!kFullSpeed) GTEST_SKIP() << "built with a sanitizer or without optimisation";
  const std::string path =
      PTXSMITH_SOURCE_DIR "/tests/golden/gemv.quant=q4_k,k=4096,n=4096@sm_90.ptx";
  std::ifstream file(path);
  if (!file.is_open()) GTEST_SKIP() << path << " is not there";
  std::stringstream text;
  text << file.rdbuf();
  for (const Backend* backend : RunnableBackends()) {
    ASSERT_OK_AND_ASSIGN(const auto program, ParseProgram(text.str(), *backend));
    constexpr uint64_t kRows = 512, kRowBytes = 4096 / 256 * 144;
    Memory memory;
    ASSERT_OK_AND_ASSIGN(uint64_t y, memory.Allocate(kRows * 4, "y"));
    ASSERT_OK_AND_ASSIGN(uint64_t w, memory.Allocate(kRows * kRowBytes, "w"));
    ASSERT_OK_AND_ASSIGN(uint64_t x, memory.Allocate(4096 * 4, "x"));
    ASSERT_OK(memory.Fill(w, 0x11, kRows * kRowBytes));
    ASSERT_OK(memory.Fill(x, 0x3f, 4096 * 4));
    void* params[] = {&y, &w, &x};
    LaunchConfig config;
    config.grid = {kRows / 4, 1, 1};
    config.block = {128, 1, 1};
    config.params = params;
    Emulator emulator(1);
    double best = 0;
    for (int i = 0; i < 5; ++i) {
      const auto start = std::chrono::steady_clock::now();
      ASSERT_OK_AND_ASSIGN(const LaunchStats stats,
                           emulator.Launch(program, "gemv", config, memory));
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
      best = std::max(best, static_cast<double>(stats.lane_ops) / seconds.count());
    }
    std::printf("%-10s %6.0f M lane-ops/s per core\n", backend->name, best / 1e6);
    RecordProperty(backend->name, static_cast<int>(best / 1e6));
    if (backend == &BestBackend()) {
      EXPECT_GT(best, kLeastLaneOpsPerSecond);
    }
  }
}

}  // namespace
}  // namespace ptxsmith::emu

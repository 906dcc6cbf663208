#include "runtime/module_cache.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "runtime/cuda_device.h"
#include "tests/runtime/fake_driver.h"
#include "tests/runtime/test_kernels.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

KernelSpec SpecWithKey(absl::string_view key) {
  KernelSpec spec = SaxpySpec();
  spec.key = std::string(key);
  return spec;
}

class ModuleCacheTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_OK_AND_ASSIGN(device_, OpenCuda(0, fake_.api())); }

  FakeDriver fake_;
  std::shared_ptr<Device> device_;
};

TEST_F(ModuleCacheTest, BuildsOnce) {
  ModuleCache cache(device_);
  int builds = 0;
  const auto build = [&]() -> absl::StatusOr<KernelSpec> {
    ++builds;
    return SpecWithKey("a");
  };
  ASSERT_OK_AND_ASSIGN(const auto first, cache.GetOrBuild("a", build));
  ASSERT_OK_AND_ASSIGN(const auto second, cache.GetOrBuild("a", build));
  EXPECT_EQ(first, second);
  EXPECT_EQ(builds, 1);
  EXPECT_EQ(fake_.Count("cuModuleLoadDataEx"), 1u);
  EXPECT_EQ(cache.stats().builds, 1u);
  EXPECT_EQ(cache.stats().hits, 1u);
  EXPECT_EQ(cache.stats().failures, 0u);
}

TEST_F(ModuleCacheTest, FailuresAreForgotten) {
  ModuleCache cache(device_);
  EXPECT_THAT(cache.GetOrBuild("a", [] { return absl::InvalidArgumentError("k is odd"); }),
              StatusIs(absl::StatusCode::kInvalidArgument, "k is odd"));
  fake_.jit_result = CUDA_ERROR_INVALID_PTX;
  EXPECT_THAT(cache.GetOrBuild("a", [] { return SpecWithKey("a"); }),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("cuModuleLoadDataEx of a")));
  fake_.jit_result = CUDA_SUCCESS;
  EXPECT_OK(cache.GetOrBuild("a", [] { return SpecWithKey("a"); }));
  EXPECT_EQ(cache.stats().failures, 2u);
  EXPECT_EQ(cache.stats().builds, 1u);
  EXPECT_EQ(cache.stats().hits, 0u);
}

TEST_F(ModuleCacheTest, AKernelWithAnotherKeyIsABug) {
  ModuleCache cache(device_);
  EXPECT_THAT(cache.GetOrBuild("a", [] { return SpecWithKey("b"); }),
              StatusIs(absl::StatusCode::kInternal, "asked for kernel 'a' but 'b' was built"));
  EXPECT_EQ(fake_.Count("cuModuleLoadDataEx"), 0u);
}

TEST_F(ModuleCacheTest, OneBuildPerKeyUnderContention) {
  constexpr int kThreads = 16;
  constexpr int kKeys = 20;
  ModuleCache cache(device_);
  std::vector<std::atomic<int>> builds(kKeys);
  std::vector<std::vector<const Module*>> seen(kThreads, std::vector<const Module*>(kKeys));
  std::atomic<int> waiting = kThreads;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (--waiting; waiting > 0;) std::this_thread::yield();  // all start together
      for (int i = 0; i < kKeys; ++i) {
        const int k = (i + t % 3) % kKeys;
        const std::string key = absl::StrCat("key", k);
        const auto module = cache.GetOrBuild(key, [&]() -> absl::StatusOr<KernelSpec> {
          ++builds[k];
          std::this_thread::yield();  // lets others find the slot taken
          return SpecWithKey(key);
        });
        if (module.ok()) seen[t][k] = module->get();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (int k = 0; k < kKeys; ++k) {
    EXPECT_EQ(builds[k], 1) << k;
    ASSERT_NE(seen[0][k], nullptr);
    EXPECT_EQ(seen[0][k]->spec().key, absl::StrCat("key", k));
    for (int t = 1; t < kThreads; ++t) EXPECT_EQ(seen[t][k], seen[0][k]) << t << " " << k;
  }
  EXPECT_EQ(cache.stats().builds, uint64_t{kKeys});
  EXPECT_EQ(cache.stats().hits, uint64_t{kKeys * (kThreads - 1)});
}

TEST_F(ModuleCacheTest, WhoWaitsSharesTheFailure) {
  constexpr int kThreads = 8;
  ModuleCache cache(device_);
  std::atomic<int> asking = 0;
  std::atomic<int> builds = 0;
  std::vector<absl::Status> results(kThreads);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      ++asking;
      results[t] = cache
                       .GetOrBuild("a",
                                   [&]() -> absl::StatusOr<KernelSpec> {
                                     // Fails once the others ask, or nearly.
                                     while (asking < kThreads) std::this_thread::yield();
                                     std::this_thread::sleep_for(std::chrono::milliseconds(50));
                                     ++builds;
                                     return absl::InvalidArgumentError("refused");
                                   })
                       .status();
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const absl::Status& result : results) {
    EXPECT_THAT(result, StatusIs(absl::StatusCode::kInvalidArgument, "refused"));
  }
  // A thread that came after the failure was forgotten has built anew, so the exact number is open.
  EXPECT_LT(builds, kThreads);
  EXPECT_EQ(cache.stats().failures, static_cast<uint64_t>(builds));
}

TEST_F(ModuleCacheTest, ShowsAndDumpsNewKernels) {
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "ptxsmith_dump" / "new";
  std::filesystem::remove_all(folder);
  std::vector<std::string> logs;
  DebugFlags flags;
  flags.level = 4;
  flags.dump_dir = folder.string();
  flags.log = [&](absl::string_view text) { logs.emplace_back(text); };
  device_->SetDebug(flags);
  fake_.info_log = "words of the compiler";
  const std::string key = "gemv:k=4096,n/a@sm_75.ptx63";
  {
    ModuleCache cache(device_);
    ASSERT_OK(cache.GetOrBuild(key, [&] { return SpecWithKey(key); }));
    ASSERT_OK(cache.GetOrBuild(key, [&] { return SpecWithKey(key); }));
  }
  std::ifstream file(folder / "gemv:k=4096,n_a@sm_75.ptx63.ptx");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_EQ(text.str(), SaxpySpec().ptx);
  ASSERT_EQ(logs.size(), 3u);  // one text, one compilation, one summary
  EXPECT_EQ(logs[0], key + "\n" + SaxpySpec().ptx);
  EXPECT_THAT(logs[1], HasSubstr("40 registers, 16 spill bytes\nwords of the compiler"));
  EXPECT_THAT(logs[2], HasSubstr("1 answered from the cache"));
}

TEST_F(ModuleCacheTest, ADumpThatCannotBeWrittenIsOnlyLogged) {
  std::vector<std::string> logs;
  DebugFlags flags;
  flags.dump_dir = "/dev/null/folder";
  flags.log = [&](absl::string_view text) { logs.emplace_back(text); };
  device_->SetDebug(flags);
  ModuleCache cache(device_);
  EXPECT_OK(cache.GetOrBuild("a", [] { return SpecWithKey("a"); }));
  ASSERT_EQ(logs.size(), 1u);
  EXPECT_THAT(logs[0], HasSubstr("cannot write /dev/null/folder/a.ptx"));
}

}  // namespace
}  // namespace ptxsmith

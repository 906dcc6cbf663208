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
  EXPECT_THAT(logs[2], HasSubstr("1 answered from memory"));
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

// Makes what the fake driver takes for code.
class FakeCompiler : public PtxCompiler {
 public:
  FakeCompiler() : PtxCompiler(13000, "fake") {}

  absl::StatusOr<CompiledPtx> Compile(const KernelSpec& spec,
                                      absl::string_view arch) const override {
    ++compilations;
    if (!result.ok()) return result;
    return CompiledPtx{absl::StrCat("\x7f"
                                    "ELF",
                                    spec.key, arch),
                       "words of the compiler"};
  }

  mutable std::atomic<int> compilations = 0;
  absl::Status result;
};

class CompilationTest : public ModuleCacheTest {
 protected:
  void SetUp() override {
    ModuleCacheTest::SetUp();
    folder_ = testing::TempDir() + "ptxsmith_module_cache_" +
              testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    DebugFlags flags;
    flags.log = [this](absl::string_view text) { logs_.emplace_back(text); };
    device_->SetDebug(flags);
    ASSERT_OK_AND_ASSIGN(disk_, DiskCache::Open({folder_}));
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  // A cache as the next process would have it.
  ModuleCache NextProcess(bool forbid_build = false) {
    return ModuleCache(device_, {compiler_, disk_, forbid_build});
  }

  std::shared_ptr<FakeCompiler> compiler_ = std::make_shared<FakeCompiler>();
  std::shared_ptr<DiskCache> disk_;
  std::string folder_;
  std::vector<std::string> logs_;
};

TEST_F(CompilationTest, CompilesOnceForAllProcesses) {
  for (int process = 0; process < 3; ++process) {
    ModuleCache cache = NextProcess();
    ASSERT_OK(cache.GetOrBuild("a", [] { return SpecWithKey("a"); }));
    EXPECT_EQ(cache.stats().builds, 1u);
    EXPECT_EQ(cache.stats().from_disk, process == 0 ? 0u : 1u);
  }
  EXPECT_EQ(compiler_->compilations, 1);
  EXPECT_EQ(fake_.codes_loaded, 3);
  EXPECT_EQ(fake_.Count("cuModuleLoadDataEx"), 3u) << "the driver got text";
  EXPECT_EQ(fake_.jit_problem, "");
  const std::vector<DiskCache::Entry> entries = disk_->List();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].id, CubinIdOf(SpecWithKey("a"), "ptxas 13.0", "sm_90"));
}

TEST_F(CompilationTest, AnotherTextUnderTheSameKeyIsCompiledAnew) {
  ASSERT_OK(NextProcess().GetOrBuild("a", [] { return SpecWithKey("a"); }));
  KernelSpec changed = SpecWithKey("a");
  changed.ptx += "// the generator has changed\n";
  ASSERT_OK(NextProcess().GetOrBuild("a", [&] { return changed; }));
  EXPECT_EQ(compiler_->compilations, 2);
}

TEST_F(CompilationTest, WhereBuildingIsForbiddenAMissIsAnError) {
  ASSERT_OK(NextProcess().GetOrBuild("a", [] { return SpecWithKey("a"); }));
  ModuleCache cache = NextProcess(/*forbid_build=*/true);
  EXPECT_OK(cache.GetOrBuild("a", [] { return SpecWithKey("a"); }));
  EXPECT_THAT(cache.GetOrBuild("b", [] { return SpecWithKey("b"); }),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       absl::StrCat("building kernels is forbidden and b is not in the cache (",
                                    folder_, ", ptxas 13.0, sm_90)")));
  EXPECT_EQ(compiler_->compilations, 1);
  ModuleCache bare(device_, {nullptr, nullptr, true});
  EXPECT_THAT(bare.GetOrBuild("a", [] { return SpecWithKey("a"); }),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("(there is none)")));
}

TEST_F(CompilationTest, CodeThatTheDriverRefusesIsCompiledByTheDriver) {
  fake_.code_result = CUDA_ERROR_NO_BINARY_FOR_GPU;
  ModuleCache cache = NextProcess();
  EXPECT_OK(cache.GetOrBuild("a", [] { return SpecWithKey("a"); }));
  EXPECT_EQ(fake_.Count("cuModuleLoadDataEx"), 2u);
  EXPECT_TRUE(disk_->List().empty()) << "kept what does not load";
  ASSERT_EQ(logs_.size(), 1u);
  EXPECT_THAT(logs_[0], HasSubstr("cuModuleLoadDataEx of the code of a"));
}

TEST_F(CompilationTest, EntriesThatTheDriverRefusesAreReplaced) {
  ASSERT_OK(NextProcess().GetOrBuild("a", [] { return SpecWithKey("a"); }));
  fake_.code_result = CUDA_ERROR_INVALID_IMAGE;
  ModuleCache cache = NextProcess();
  EXPECT_OK(cache.GetOrBuild("a", [] { return SpecWithKey("a"); }));
  EXPECT_EQ(compiler_->compilations, 2);
  EXPECT_EQ(cache.stats().from_disk, 0u);
}

TEST_F(CompilationTest, OtherFailuresAreNotHidden) {
  fake_.code_result = CUDA_ERROR_OUT_OF_MEMORY;
  ModuleCache cache = NextProcess();
  EXPECT_THAT(cache.GetOrBuild("a", [] { return SpecWithKey("a"); }),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("of the code of a")));
  EXPECT_EQ(fake_.Count("cuModuleLoadDataEx"), 1u);
}

TEST_F(CompilationTest, ATextThatTheCompilerRefusesIsAnError) {
  compiler_->result = absl::InvalidArgumentError("line 3: no");
  ModuleCache cache = NextProcess();
  EXPECT_THAT(cache.GetOrBuild("a", [] { return SpecWithKey("a"); }),
              StatusIs(absl::StatusCode::kInvalidArgument, "line 3: no"));
  EXPECT_EQ(fake_.Count("cuModuleLoadDataEx"), 0u);
  // A GPU that the compiler does not know yet is the driver's to compile for.
  compiler_->result = absl::FailedPreconditionError("sm_130?");
  EXPECT_OK(cache.GetOrBuild("a", [] { return SpecWithKey("a"); }));
  EXPECT_EQ(fake_.Count("cuModuleLoadDataEx"), 1u);
}

TEST_F(CompilationTest, HitsOfTheDriversCacheAreToldApart) {
  ModuleCache cache(device_);
  ASSERT_OK(cache.GetOrBuild("a", [] { return SpecWithKey("a"); }));
  EXPECT_EQ(cache.stats().from_driver_cache, 0u);
  fake_.info_log = "";  // the compiler was silent: it was not there
  ASSERT_OK_AND_ASSIGN(const auto module, cache.GetOrBuild("b", [] { return SpecWithKey("b"); }));
  EXPECT_TRUE(module->info().from_driver_cache);
  EXPECT_EQ(cache.stats().from_driver_cache, 1u);
}

TEST_F(CompilationTest, PrefetchesInParallelAndTriesAll) {
  std::vector<KernelSpec> specs;
  for (int i = 0; i < 20; ++i) specs.push_back(SpecWithKey(absl::StrCat("key", i)));
  ModuleCache cache = NextProcess();
  std::vector<size_t> seen;
  ASSERT_OK(cache.Prefetch(specs, 4, [&](size_t done, size_t total) {
    EXPECT_EQ(total, 20u);
    seen.push_back(done);
  }));
  ASSERT_EQ(seen.size(), 20u);
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], i + 1);
  EXPECT_EQ(cache.stats().builds, 20u);
  EXPECT_OK(cache.GetOrBuild("key7", [] { return absl::InternalError("asked again"); }));
  EXPECT_OK(cache.Prefetch(specs, 0, [](size_t, size_t) {}));
  EXPECT_OK(cache.Prefetch({}, 0, [](size_t, size_t) {}));
  EXPECT_EQ(compiler_->compilations, 20);

  compiler_->result = absl::InvalidArgumentError("no");
  specs.push_back(SpecWithKey("bad"));
  EXPECT_THAT(cache.Prefetch(specs, 3, [](size_t, size_t) {}),
              StatusIs(absl::StatusCode::kInvalidArgument, "no"));
}

TEST_F(CompilationTest, NothingIsCompiledForTheEmulator) {
  DebugFlags flags;
  flags.cache_dir = folder_;
  flags.forbid_build = true;
  ASSERT_OK_AND_ASSIGN(const auto emulator, Device::Open("emu:sm90", flags));
  const Compilation compilation = CompilationFor(*emulator);
  EXPECT_EQ(compilation.compiler, nullptr);
  EXPECT_EQ(compilation.disk, nullptr);
  ModuleCache cache(emulator, compilation);
  EXPECT_OK(cache.GetOrBuild("a", [] { return SpecWithKey("a"); }));
  EXPECT_THAT(emulator->LoadCubin(SaxpySpec(), "code"),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("emu:sm90 runs PTX text")));
}

}  // namespace
}  // namespace ptxsmith

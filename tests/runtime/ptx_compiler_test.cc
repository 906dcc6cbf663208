// The compilers of the machine: nvJitLink where a toolkit is installed, the driver's where a driver
// is. Both are held to the same.
#include "runtime/ptx_compiler.h"

#include <algorithm>
#include <string>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "runtime/shared_library.h"
#include "tests/runtime/test_kernels.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

enum class Kind { kNvJitLink, kDriver };

class PtxCompilerTest : public testing::TestWithParam<Kind> {
 protected:
  void SetUp() override {
    auto opened = GetParam() == Kind::kDriver ? OpenDriverCompiler() : OpenNvJitLink("");
    if (absl::IsUnavailable(opened.status())) GTEST_SKIP() << opened.status().message();
    ASSERT_OK(opened);
    compiler_ = *opened;
  }

  std::shared_ptr<const PtxCompiler> compiler_;
};

TEST_P(PtxCompilerTest, MakesACubinForTheGpu) {
  EXPECT_THAT(compiler_->id(), StartsWith("ptxas 1"));
  EXPECT_GE(compiler_->release(), 11010);
  ASSERT_OK_AND_ASSIGN(const CompiledPtx code, compiler_->Compile(SaxpySpec(), "sm_90"));
  EXPECT_THAT(code.cubin, StartsWith("\x7f"
                                     "ELF"));
  EXPECT_THAT(code.cubin, HasSubstr("saxpy"));
  EXPECT_THAT(code.log, HasSubstr("registers"));
  ASSERT_OK_AND_ASSIGN(const CompiledPtx again, compiler_->Compile(SaxpySpec(), "sm_90"));
  EXPECT_EQ(code.cubin, again.cubin);
  ASSERT_OK_AND_ASSIGN(const CompiledPtx other, compiler_->Compile(SaxpySpec(), "sm_80"));
  EXPECT_NE(code.cubin, other.cubin);
}

TEST_P(PtxCompilerTest, ARefusedTextShowsTheLogWithItsSource) {
  KernelSpec spec = SaxpySpec();
  const size_t at = spec.ptx.find("fma.rn.f32");
  ASSERT_NE(at, std::string::npos);
  spec.ptx.replace(at, 10, "fma.no.f32");
  const size_t line = static_cast<size_t>(
      std::count(spec.ptx.begin(), spec.ptx.begin() + static_cast<std::ptrdiff_t>(at), '\n'));
  spec.lines.resize(line + 1);
  spec.lines[line] = {"a/saxpy.cc", 31};
  EXPECT_THAT(compiler_->Compile(spec, "sm_90"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr(compiler_->id() + " on saxpy:test@sm_75.ptx63: error "),
                             HasSubstr("fma.no.f32"), HasSubstr("// saxpy.cc:31"))));
}

TEST_P(PtxCompilerTest, AnUnknownArchitectureIsRefused) {
  const auto code = compiler_->Compile(SaxpySpec(), "sm_999");
  EXPECT_FALSE(code.ok());
  EXPECT_THAT(std::string(code.status().message()), HasSubstr("saxpy:test@sm_75.ptx63"));
}

TEST_P(PtxCompilerTest, WorksFromManyThreads) {
  ASSERT_OK_AND_ASSIGN(const CompiledPtx expected, compiler_->Compile(SaxpySpec(), "sm_90"));
  std::vector<std::string> cubins(8);
  std::vector<std::thread> threads;
  for (std::string& cubin : cubins) {
    threads.emplace_back([&] {
      auto code = compiler_->Compile(SaxpySpec(), "sm_90");
      if (code.ok()) cubin = std::move(code->cubin);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& cubin : cubins) EXPECT_EQ(cubin, expected.cubin);
}

INSTANTIATE_TEST_SUITE_P(Libraries, PtxCompilerTest,
                         testing::Values(Kind::kNvJitLink, Kind::kDriver), [](const auto& info) {
                           return info.param == Kind::kDriver ? "Driver" : "NvJitLink";
                         });

TEST(OpenPtxCompilerTest, SaysWhatIsMissing) {
  EXPECT_THAT(OpenDriverCompiler("libno-such-compiler.so.1"),
              StatusIs(absl::StatusCode::kUnavailable,
                       HasSubstr("cannot open libno-such-compiler.so.1: ")));
  // A library that is there and is none.
  EXPECT_THAT(OpenDriverCompiler("libc.so.6"),
              StatusIs(absl::StatusCode::kUnavailable, "libc.so.6 has no nvPTXCompilerCreate"));
}

// An older driver may refuse what a newer compiler makes.
TEST(OpenPtxCompilerTest, ACompilerNewerThanTheDriverIsNotUsed) {
  if (OpenDriverCompiler().ok()) GTEST_SKIP() << "the driver brings its own compiler";
  const auto any = OpenPtxCompiler({});
  if (!any.ok()) GTEST_SKIP() << any.status().message();
  EXPECT_OK(OpenPtxCompiler({.driver_version = (*any)->release()}));
  EXPECT_THAT(OpenPtxCompiler({.driver_version = (*any)->release() - 10}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("is newer than the driver")));
}

TEST(SharedLibraryTest, LooksInTheFoldersToo) {
  EXPECT_THAT(ToolkitFolders("/opt/cuda"), testing::Contains("/opt/cuda/lib64"));
  EXPECT_THAT(SharedLibrary::Open({"libno-such.so"}, {"/nowhere"}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot open libno-such.so: ")));
}

}  // namespace
}  // namespace ptxsmith

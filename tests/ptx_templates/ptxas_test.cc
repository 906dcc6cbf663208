// NVIDIA's assembler accepts every variant of every family, every candidate for a product, and
// everything that the kernel language can emit, for each generation of GPUs: without a warning, a
// spilled register or a stack frame. Each variant is compiled for two of the ten targets and of the
// candidates a sample is taken; with PTXSMITH_TEST_FULL=1 it is all of both. Skipped where ptxas is
// not installed.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "codegen/async.h"
#include "codegen/block.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"
#include "codegen/mma.h"
#include "gtest/gtest.h"
#include "ptx_templates/candidates.h"
#include "ptx_templates/decoder.h"
#include "ptx_templates/quant_type.h"
#include "ptx_templates/registry.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTargets[] = {"sm_75", "sm_80",  "sm_86",  "sm_87",  "sm_89",
                                    "sm_90", "sm_90a", "sm_100", "sm_103", "sm_120"};
constexpr size_t kSampledCandidates = 60;  // of each target
constexpr size_t kSampledVariants = 5;     // one in so many, others for each target
constexpr size_t kKernelsPerModule = 24;   // starting ptxas takes as long as a small kernel

bool Full() {
  const char* full = std::getenv("PTXSMITH_TEST_FULL");
  return full != nullptr && std::string(full) == "1";
}

// The path of ptxas, or nothing.
std::string FindPtxas() {
  const char* path = std::getenv("PATH");
  std::vector<std::string> folders = absl::StrSplit(path == nullptr ? "" : path, ':');
  folders.push_back("/usr/local/cuda/bin");
  for (const std::string& folder : folders) {
    const std::string file = absl::StrCat(folder, "/ptxas");
    if (::access(file.c_str(), X_OK) == 0) return file;
  }
  return "";
}

// Kernels of one architecture and one `.version`, as one module.
struct Module {
  std::string target;
  std::string header;  // .version, .target, .address_size, .extern .shared
  std::string text;
  std::vector<std::string> keys;
};

// Adds the kernel to the last module that fits, or to a new one.
void AddKernel(const KernelSpec& kernel, std::vector<Module>& modules) {
  const std::string& ptx = kernel.ptx;
  size_t body = ptx.find("\n\n") + 2;
  // A module declares the dynamic shared memory once.
  if (kernel.dynamic_shared > 0) body = ptx.find("\n\n", body) + 2;
  const std::string header = ptx.substr(0, body);
  if (modules.empty() || modules.back().header != header ||
      modules.back().keys.size() == kKernelsPerModule) {
    modules.push_back({kernel.target.sm_name(), header, header, {}});
  }
  Module& module = modules.back();
  // Entries of one family share a name.
  const std::string renamed = absl::StrReplaceAll(
      ptx.substr(body), {{absl::StrCat(".entry ", kernel.entry, "("),
                          absl::StrCat(".entry ", kernel.entry, "_", module.keys.size(), "(")}});
  absl::StrAppend(&module.text, renamed);
  module.keys.push_back(kernel.key);
}

// What ptxas says against the module; empty when it says nothing but good.
std::string Complaints(const std::string& ptxas, const fs::path& folder, const Module& module,
                       size_t number) {
  const std::string stem = (folder / absl::StrCat(number)).string();
  std::ofstream(stem + ".ptx") << module.text;
  const std::string command = absl::StrCat("'", ptxas, "' -Werror -v -arch ", module.target, " -o ",
                                           stem, ".cubin ", stem, ".ptx 2>&1");
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return "cannot run " + command;
  std::string log;
  char buffer[4096];
  for (size_t n; (n = std::fread(buffer, 1, sizeof(buffer), pipe)) > 0;) log.append(buffer, n);
  const int status = ::pclose(pipe);
  if (status != 0) {
    return absl::StrCat(log, "\nkernels, by number:\n", absl::StrJoin(module.keys, "\n"));
  }
  // "Function properties for gemv_7", then a line with its stack frame and spills.
  std::string complaints;
  size_t kernels = 0;
  absl::string_view name;
  for (absl::string_view line : absl::StrSplit(log, '\n')) {
    const size_t number_at = line.rfind('_');
    if (absl::StrContains(line, "Function properties for ")) name = line.substr(number_at + 1);
    if (!absl::StrContains(line, "stack frame")) continue;
    ++kernels;
    size_t index = 0;
    if (absl::StrContains(line, " 0 bytes stack frame, 0 bytes spill stores, 0 bytes spill")) {
      continue;
    }
    if (!absl::SimpleAtoi(name, &index) || index >= module.keys.size()) return log;
    absl::StrAppend(&complaints, module.keys[index], ": ", line, "\n");
  }
  return kernels == module.keys.size() ? complaints : absl::StrCat("kernels are missing:\n", log);
}

void ExpectAccepted(const std::vector<Module>& modules) {
  const std::string ptxas = FindPtxas();
  const fs::path folder = fs::path(testing::TempDir()) / absl::StrCat("ptxas_test_", ::getpid());
  fs::create_directories(folder);
  std::vector<std::string> complaints(modules.size());
  std::atomic<size_t> next = 0;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < std::max(1u, std::thread::hardware_concurrency()); ++t) {
    threads.emplace_back([&] {
      for (size_t i; (i = next++) < modules.size();) {
        complaints[i] = Complaints(ptxas, folder, modules[i], i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& complaint : complaints) EXPECT_EQ(complaint, "");
  fs::remove_all(folder);
}

#define SKIP_WITHOUT_PTXAS() \
  if (FindPtxas().empty()) GTEST_SKIP() << "ptxas is neither in PATH nor in /usr/local/cuda/bin"

class PtxasTest : public testing::TestWithParam<const char*> {};

TEST_P(PtxasTest, AcceptsVariants) {
  SKIP_WITHOUT_PTXAS();
  ASSERT_OK_AND_ASSIGN(const Target target, Target::Parse(GetParam()));
  std::vector<Module> modules;
  size_t number = static_cast<size_t>(
      std::find(std::begin(kTargets), std::end(kTargets), GetParam()) - std::begin(kTargets));
  for (const Family& family : AllFamilies()) {
    for (const std::string& fields : family.variants()) {
      if (!Full() && number++ % kSampledVariants != 0) continue;
      const absl::StatusOr<KernelSpec> kernel = family.build(fields, target);
      if (absl::IsFailedPrecondition(kernel.status())) continue;  // the target lacks something
      ASSERT_OK(kernel);
      AddKernel(*kernel, modules);
    }
  }
  ExpectAccepted(modules);
}

// The keys of all candidates for products of common and of awkward sizes.
std::vector<std::string> TuningSpace(const Target& target) {
  std::vector<std::string> keys;
  for (const QuantTypeInfo& quant : AllQuantTypes()) {
    if (!CheckHasDecoder(quant.type).ok()) continue;
    for (const uint32_t k : {256u, 2304u, 4096u}) {
      for (const uint32_t m : {1u, 2u, 4u, 8u, 16u, 32u}) {
        for (std::string& key : GemvCandidates({quant.type, k, 1531, m}, target)) {
          keys.push_back(std::move(key));
        }
      }
    }
  }
  return keys;
}

TEST_P(PtxasTest, AcceptsTheTuningSpace) {
  SKIP_WITHOUT_PTXAS();
  ASSERT_OK_AND_ASSIGN(const Target target, Target::Parse(GetParam()));
  std::vector<std::string> keys = TuningSpace(target);
  if (!Full()) {
    Rng rng(1);
    for (size_t i = 0; i < kSampledCandidates; ++i) {
      std::swap(keys[i], keys[i + rng.Below(keys.size() - i)]);
    }
    keys.resize(kSampledCandidates);
  }
  std::vector<Module> modules;
  for (const std::string& key : keys) {
    ASSERT_OK_AND_ASSIGN(const KernelSpec kernel, BuildFromKey(key, target));
    AddKernel(kernel, modules);
  }
  ExpectAccepted(modules);
}

// --- One kernel with every operation of the language, for each type it exists for. ---

template <class T>
void EveryIntegerOp(const Val<T>& a, const Val<T>& b, Var<T>& sink) {
  for (const Val<T>& v : {a + b, a - b, a * b, a / b, a % b, a & b, a | b, a ^ b, Min(a, b),
                          Max(a, b), a << 3, a >> 3, a + 70000, a * 3, 7 - a, a / 8, a % 8}) {
    sink += v;
  }
  sink -= a;
  sink *= b;
  sink |= a;
  const Pred all = (a == b || a != b) && (a < b || a <= b) && (a > b || !(a >= b));
  sink += Select(all, a, b);
  sink += Select(all, a, 5);
}

absl::StatusOr<KernelSpec> EveryOperation(const Target& target, bool dynamic_shared) {
  KernelBuilder k("isa", "isa", target);
  const auto out = k.Param<Out<F32>>("out", {.count = 64});
  const auto u32 = k.Param<In<U32>>("u32", {.count = 64, .constant = true});
  const auto bytes = k.Param<InOut<U8>>("bytes", {.count = 64});
  const Dim n = k.ParamDim("n", std::nullopt, 4);
  k.Launch({.block = {64, 1, 1}, .grid = {n.size(), 1, 1}});
  const Val<U32> i = k.GlobalThread();
  const Val<U32> a = u32.Load(i);
  const Val<U32> b = u32.Load<2>(i * 2)[1] + u32.Load<4>(i * 4)[3] + k.CtaY() + k.Warp();
  const Val<F32> f = u32.As<F32>().Load(i);
  const Val<F32> g = u32.As<F32>().Load<4>(i * 4)[2];

  Var<U32> u = k.NewVar<U32>(0);
  EveryIntegerOp(a, b, u);
  u += a << b;
  u += a >> b;
  u += Bits(a, b, 6) + Bits(a, 3, 6) + Permute(a, b, 0x5410) + Permute(0x4b000000, a, b);
  u += ShuffleXor(a, 1) + Broadcast(b, 31);
  u += Bitcast<U32>(Dp4a(a, b, 3)) + PackHalf2(f, g) + PackBF16x2(f, g);
  u += Select(a < b, u32, u32.At(a)).Load(1);
  MmaTile matrix(k);
  matrix.MultiplyAdd16(Vec<U32, 4>({a, b, a, b}), Vec<U32, 2>({b, a}));
  u += Bitcast<U32>(matrix.Element(0));
  const Shared<U8> copied = k.SharedArray<U8>("copied", 1024);
  CopyAsync16(copied.At(k.ThreadX(), 16), u32.As<U8>());
  CommitCopies(k);
  WaitForCopies(k, 0);
  k.Barrier();
  const InOut<F16> matrix_row = copied.At(k.Lane(), 16).As<F16>();
  u += LoadMatrices(matrix_row, false)[3] + LoadMatrices(matrix_row, true)[0];
  Var<S32> s = k.NewVar<S32>(-1);
  EveryIntegerOp(Bitcast<S32>(a), Bitcast<S32>(b), s);
  s += Bitcast<S32>(a) >> Bitcast<S32>(b);
  s += bytes.As<S8>().Load(i);
  const auto wide = bytes.As<U64>();
  Var<U64> w = k.NewVar<U64>(1);
  EveryIntegerOp(wide.Load(i), wide.Load<2>(i * 2)[1], w);
  wide.Store(i, w);

  Var<F32> x = k.NewVar<F32>(1.0f);
  for (const Val<F32>& v : {f + g,
                            f - g,
                            f * g,
                            f / g,
                            Min(f, g),
                            Max(f, g),
                            f + 0.1f,
                            2.0f / f,
                            Fma(f, g, 1.0f),
                            Fma(2.0f, f, 1.0f),
                            Neg(f),
                            Abs(f),
                            Sqrt(f),
                            ToF32(a),
                            ToF32(Bitcast<S32>(a)),
                            ToF32(ToF16(f)),
                            Bitcast<F32>(a),
                            Exp(f),
                            WarpSum(f),
                            WarpMax(g),
                            ShuffleXor(f, 2),
                            Exp2Approx(f)}) {
    x += v;
  }
  x -= f;
  x *= g;
  x.Fma(f, g);
  const Pred all = (f == g || f != g) && (f < g || f <= g) && (f > g || !(f >= g));
  x += Select(all, f, g) + Select<F32>(all, 1.0f, g);
  x += Sum(BytesToF32(a, 32)) + Sum(UnpackHalf2(b)) + Sum(CosSinTurns(f));
  x += FractionOfTurns(f, g, k.Const<F32>(0.25f));
  x += ToF32(u32.As<F16>().Load(i)) + ToF32(u32.As<F16>().Load<2>(i * 2)[1]);

  // Constants where a register is usual.
  const Val<U32> c = k.Const<U32>(77);
  x += ToF32(c) + Bitcast<F32>(c) + Sum(UnpackHalf2(c)) + Neg(k.Const<F32>(2.0f));
  u += Bits(c, 2, 3) + Bitcast<U32>(k.Const<F32>(2.0f));
  u += Broadcast(c, 0) + Select(all, c, 6) + u32.At(0x7fffffff).Load(c);

  const Shared<F32> tile = k.SharedArray<F32>("tile", dynamic_shared ? 16000 : 256);
  tile.Store(k.ThreadX(), x);
  k.Barrier();
  x += tile.Load(63 - k.ThreadX()) + BlockSum(k, x, 2, "sums");
  tile.Store<4>(k.Lane() * 4, tile.Load<4>(0));
  tile.Store<2>(0, Vec<F32, 2>({k.Const<F32>(1.0f), k.Const<F32>(2.0f)}));
  k.If(
      a < b, [&] { x += 1.0f; }, [&] { k.If(b < 9, [&] { x += 2.0f; }); });
  k.For(a, n, {.step = 3, .unroll = 4}, [&](const Val<U32>& j) { x += ToF32(j); });
  k.For(0, 103, {.unroll = 10}, [&](const Val<U32>& j) { u += u32.Load(j); });
  bytes.Store(i, u);
  bytes.As<U16>().Store(i, u);
  bytes.As<U16>().Store(1, bytes.As<BF16>().Load(i) + bytes.As<U16>().Load<4>(i * 4)[3]);
  bytes.As<F16>().Store(2, ToF16(x));
  bytes.As<S32>().Store(3, s);
  bytes.Store<4>(0, Vec<U32, 4>({a, b, a, b}));
  out.Store(i, x);
  return std::move(k).Finish();
}

TEST_P(PtxasTest, AcceptsEveryOperation) {
  SKIP_WITHOUT_PTXAS();
  ASSERT_OK_AND_ASSIGN(const Target target, Target::Parse(GetParam()));
  std::vector<Module> modules;
  for (const bool dynamic_shared : {false, true}) {
    ASSERT_OK_AND_ASSIGN(const KernelSpec kernel, EveryOperation(target, dynamic_shared));
    AddKernel(kernel, modules);
  }
  ExpectAccepted(modules);
}

INSTANTIATE_TEST_SUITE_P(Targets, PtxasTest, testing::ValuesIn(kTargets),
                         [](const testing::TestParamInfo<const char*>& info) {
                           return std::string(info.param);
                         });

TEST(PtxasTest, RefusesWhatItShould) {  // else the tests above prove nothing
  SKIP_WITHOUT_PTXAS();
  const fs::path folder = testing::TempDir();
  const Module broken = {
      "sm_80", "", ".version 7.0\n.target sm_80\n.address_size 64\nnonsense;\n", {}};
  EXPECT_NE(Complaints(FindPtxas(), folder, broken, 0), "");
}

}  // namespace
}  // namespace ptxsmith

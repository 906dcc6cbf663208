// Each mistake that is found while recording has a kernel here that makes it. The message names the
// C++ line of the mistake.
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/codegen/kernels.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::StartsWith;

// The line on which a body says that its mistake is.
class Line {
 public:
  void Here(uint32_t line = __builtin_LINE()) { line_ = line; }
  std::string prefix() const { return absl::StrCat("errors_test.cc:", line_, ": "); }

 private:
  uint32_t line_ = 0;
};

// Builds `body` with a used output `y` and an input `x`, and expects `message` at the marked line.
template <class F>
void ExpectError(F&& body, const std::string& message) {
  Line line;
  const absl::StatusOr<KernelSpec> spec = Build([&](KernelBuilder& k) {
    const auto y = k.Param<Out<U32>>("y", {.count = 64});
    const auto x = k.Param<In<U32>>("x", {.count = 64});
    y.Store(0, x.Load(0));
    body(k, y, x, line);
  });
  EXPECT_THAT(spec, StatusIs(absl::StatusCode::kInvalidArgument,
                             "test@sm_80.ptx70: " + line.prefix() + message));
}

TEST(ErrorsTest, ValueEscapesItsScope) {
  ExpectError(
      [](KernelBuilder& k, auto& y, auto& x, Line& line) {
        std::optional<Val<U32>> escaped;
        k.If(x.Load(0) < 3, [&] { escaped.emplace(x.Load(1)); });
        line.Here(), y.Store(0, *escaped);
      },
      "a value is used outside the If or For it was made in");
}

TEST(ErrorsTest, LoopVariableEscapes) {
  ExpectError(
      [](KernelBuilder& k, auto& y, auto&, Line& line) {
        std::optional<Val<U32>> escaped;
        k.For(0, 4, {}, [&](const Val<U32>& i) { escaped.emplace(i); });
        line.Here(), y.Store(*escaped, 1);
      },
      "a value is used outside the If or For it was made in");
}

TEST(ErrorsTest, ValueOfThenIsUsedInElse) {
  ExpectError(
      [](KernelBuilder& k, auto& y, auto& x, Line& line) {
        std::optional<Val<U32>> escaped;
        k.If(
            x.Load(0) < 3, [&] { escaped.emplace(x.Load(1)); },
            [&] { line.Here(), y.Store(0, *escaped); });
      },
      "a value is used outside the If or For it was made in");
}

TEST(ErrorsTest, KernelsAreMixedInEveryKindOfOperation) {
  KernelBuilder other("other", "other", Sm(80));
  const Val<U32> u = other.ThreadX();
  const Val<F32> f = ToF32(u);
  const Pred p = u < 3;
  const std::string message = "values of two kernels are mixed";
  ExpectError(
      [&](KernelBuilder& k, auto&, auto&, Line& line) { line.Here(), (void)(k.ThreadX() + u); },
      message);
  ExpectError(
      [&](KernelBuilder& k, auto&, auto&, Line& line) { line.Here(), (void)(k.ThreadX() < u); },
      message);
  ExpectError([&](KernelBuilder& k, auto&, auto&,
                  Line& line) { line.Here(), Fma(k.Const<F32>(1.0f), 2.0f, f); },
              message);
  ExpectError([&](KernelBuilder&, auto&, auto& x, Line& line) { line.Here(), x.Load(u); }, message);
  ExpectError([&](KernelBuilder&, auto& y, auto&, Line& line) { line.Here(), y.Store(0, u); },
              message);
  ExpectError(
      [&](KernelBuilder& k, auto&, auto&, Line& line) {
        Var<U32> var = k.NewVar<U32>(0);
        line.Here(), var = u;
      },
      message);
  ExpectError([&](KernelBuilder& k, auto&, auto&, Line& line) { line.Here(), k.If(p, [] {}); },
              message);
  ExpectError([&](KernelBuilder& k, auto&, auto&,
                  Line& line) { line.Here(), k.For(0, u, {}, [](const Val<U32>&) {}); },
              message);
}

TEST(ErrorsTest, MisalignedVectors) {
  ExpectError(
      [](KernelBuilder&, auto&, auto& x, Line& line) { line.Here(), x.template Load<4>(1); },
      "access of 16 bytes to 'x' whose address is only known to be a multiple of 4");
  ExpectError(
      [](KernelBuilder& k, auto&, auto& x, Line& line) {
        const Val<U32> i = k.ThreadX() * 2;
        line.Here(), x.template Load<4>(i);
      },
      "access of 16 bytes to 'x' whose address is only known to be a multiple of 8");
  ExpectError(
      [](KernelBuilder& k, auto& y, auto&, Line& line) {
        const Vec<U32, 2> two({k.Const<U32>(1), k.Const<U32>(2)});
        line.Here(), y.template Store<2>(k.ThreadX(), two);
      },
      "access of 8 bytes to 'y' whose address is only known to be a multiple of 4");
  ExpectError(
      [](KernelBuilder& k, auto&, auto& x, Line& line) {
        const auto row = x.template As<U8>().At(k.ThreadX(), 34);  // blocks of 34 bytes
        line.Here(), row.template As<U32>().Load(0);
      },
      "access of 4 bytes to 'x' whose address is only known to be a multiple of 2");
  ExpectError(
      [](KernelBuilder& k, auto&, auto&, Line& line) {
        const auto s = k.SharedArray<F32>("s", 64);
        line.Here(), s.template Load<4>(k.Lane());
      },
      "access of 16 bytes to 's' whose address is only known to be a multiple of 4");
}

TEST(AlignmentTest, KnownMultiplesAreAccepted) {
  EXPECT_OK(Build([](KernelBuilder& k) {
    const auto y = k.Param<Out<U32>>("y", {.count = 64});
    const auto x = k.Param<In<U32>>("x", {.count = 64});
    const Dim n = k.ParamDim("n", std::nullopt, 4);
    const Val<U32> i = k.ThreadX();
    const Val<U32> sum = x.Load<4>(i * 4)[0] + x.Load<4>(n)[1] + x.Load<2>(i * 6)[1] +
                         x.At(i * 8).Load<4>(4)[2] + x.Load<4>(0)[3] +
                         x.As<U8>().At(i, 144).As<U32>().Load<4>(0)[0] + x.Load<4>(i & ~3u)[0];
    k.For(0, n, {.step = 4, .unroll = 2},
          [&](const Val<U32>& j) { y.Store<4>(j, x.Load<4>(j + 8)); });
    y.Store(0, sum);
  }));
}

TEST(ErrorsTest, AlignmentOfAParameter) {
  for (const uint32_t alignment : {2u, 12u, 0u}) {
    KernelBuilder k("test", "test", Sm(80));
    k.Launch({.block = {32, 1, 1}});
    k.Param<In<U32>>("x", {.count = 1, .alignment = alignment}).Load(0);
    EXPECT_THAT(std::move(k).Finish(),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr(absl::StrCat("alignment ", alignment,
                                                " of parameter 'x' is not "
                                                "a power of two that fits its elements"))));
  }
}

TEST(ErrorsTest, Signature) {
  ExpectError([](KernelBuilder& k, auto&, auto&,
                 Line& line) { line.Here(), k.Param<In<F32>>("unused", {.count = 1}); },
              "parameter 'unused' is never used");
  ExpectError([](KernelBuilder& k, auto&, auto&,
                 Line& line) { line.Here(), k.ParamDim("unused", std::nullopt); },
              "parameter 'unused' is never used");
  ExpectError([](KernelBuilder& k, auto&, auto&,
                 Line& line) { line.Here(), k.Param<In<F32>>("x", {.count = 1}); },
              "two parameters are named 'x'");
  ExpectError([](KernelBuilder& k, auto&, auto&,
                 Line& line) { line.Here(), k.ParamDim("x", std::nullopt); },
              "two parameters are named 'x'");
  ExpectError(
      [](KernelBuilder& k, auto&, auto&, Line& line) { line.Here(), k.ParamDim("k", 100, 32); },
      "k=100 is not a multiple of 32");
  ExpectError([](KernelBuilder& k, auto&, auto&,
                 Line& line) { line.Here(), k.ParamDim("k", std::nullopt, 0); },
              "k must be a multiple of 0");
}

TEST(ErrorsTest, ASizeOfTheGridAloneIsUsed) {
  KernelBuilder k("test", "test", Sm(80));
  const Dim rows = k.ParamDim("rows", std::nullopt);
  k.Launch({.block = {32, 1, 1}, .grid = {1, CeilDiv(rows.size(), 4), 1}});
  EXPECT_OK(std::move(k).Finish());
}

TEST(ErrorsTest, SharedArrays) {
  ExpectError(
      [](KernelBuilder& k, auto&, auto&, Line& line) {
        k.SharedArray<F32>("s", 4);
        line.Here(), k.SharedArray<F32>("s", 4);
      },
      "two shared arrays are named 's'");
  ExpectError([](KernelBuilder& k, auto&, auto&,
                 Line& line) { line.Here(), k.SharedArray<F32>("s", 163 * 256 + 1); },
              "shared array 's' of 166916 bytes: sm_80 has 166912 per block");
  ExpectError([](KernelBuilder& k, auto&, auto&,
                 Line& line) { line.Here(), k.SharedArray<U64>("s", 0x20000001); },
              "shared array 's' of 4294967304 bytes: sm_80 has 166912 per block");
  ExpectError(
      [](KernelBuilder& k, auto&, auto&, Line& line) { line.Here(), k.SharedArray<F32>("s", 0); },
      "shared array 's' of 0 bytes: sm_80 has 166912 per block");
}

TEST(ErrorsTest, Arithmetic) {
  ExpectError(
      [](KernelBuilder& k, auto&, auto&, Line& line) { line.Here(), (void)(k.ThreadX() / 0); },
      "division by the constant zero");
  ExpectError(
      [](KernelBuilder& k, auto&, auto&, Line& line) { line.Here(), (void)(k.ThreadX() % 0); },
      "division by the constant zero");
  ExpectError([](KernelBuilder& k, auto&, auto&,
                 Line& line) { line.Here(), k.For(0, 4, {.step = 0}, [](const Val<U32>&) {}); },
              "For with step 0");
}

TEST(ErrorsTest, Launch) {
  const auto launched = [](std::initializer_list<LaunchRule> rules) {
    KernelBuilder k("test", "test", Sm(80));
    for (const LaunchRule& rule : rules) k.Launch(rule);
    return std::move(k).Finish();
  };
  const auto refused = [](const std::string& message) {
    return StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(message));
  };
  const std::string rule = " threads: must be a multiple of 32 along x, at most 1024";
  EXPECT_OK(launched({{.block = {32, 1, 1}}}));
  EXPECT_OK(launched({{.block = {32, 32, 1}}}));
  EXPECT_THAT(launched({}), refused("Launch was not called"));
  EXPECT_THAT(launched({{.block = {32, 1, 1}}, {.block = {32, 1, 1}}}),
              refused("Launch is called twice"));
  EXPECT_THAT(launched({{.block = {33, 1, 1}}}), refused("a block of 33 x 1 x 1" + rule));
  EXPECT_THAT(launched({{.block = {16, 2, 1}}}), refused("a block of 16 x 2 x 1" + rule));
  EXPECT_THAT(launched({{.block = {0, 1, 1}}}), refused("a block of 0 x 1 x 1" + rule));
  EXPECT_THAT(launched({{.block = {1024, 2, 1}}}), refused("a block of 1024 x 2 x 1" + rule));
}

TEST(ErrorsTest, GlobalThreadNeedsLaunch) {
  KernelBuilder k("test", "test", Sm(80));
  k.GlobalThread();
  EXPECT_THAT(std::move(k).Finish(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       HasSubstr("GlobalThread needs the block size: call Launch first")));
}

TEST(ErrorsTest, TheFirstErrorStays) {
  ExpectError(
      [](KernelBuilder& k, auto& y, auto& x, Line& line) {
        line.Here(), x.template Load<4>(1);
        x.template Load<2>(1);
        k.SharedArray<F32>("s", 0);
        y.Store(0, k.ThreadX() / 0);
      },
      "access of 16 bytes to 'x' whose address is only known to be a multiple of 4");
}

TEST(ErrorsTest, OperatorsWithoutAPlaceNameTheLineBefore) {
  ExpectError(
      [](KernelBuilder& k, auto&, auto& x, Line& line) {
        std::optional<Pred> escaped;
        k.If(x.Load(0) < 3, [&] { escaped.emplace(x.Load(1) < 2); });
        line.Here(), x.Load(5);
        (void)!*escaped;
      },
      "a value is used outside the If or For it was made in");
}

}  // namespace
}  // namespace ptxsmith

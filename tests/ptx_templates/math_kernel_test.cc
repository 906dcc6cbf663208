// The elementary functions of codegen/math.h, measured against long double on every device: the
// errors that the header states, the ends of the ranges, and NaN.

#include "codegen/math.h"

#include <bit>
#include <cmath>
#include <iostream>
#include <limits>
#include <numbers>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/kernel_builder.h"
#include "gtest/gtest.h"
#include "tests/util/expect_close.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/kernel_runner.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// A kernel of one thread per element: outputs = f(inputs), each an array of n floats.
template <size_t kOutputs, size_t kInputs, class F>
absl::StatusOr<KernelSpec> BuildMap(const std::string& key, const Target& target, const F& f) {
  KernelBuilder k(key, "map", target);
  const SizeExpr count = SizeExpr::Param(kOutputs + kInputs);
  std::vector<Out<F32>> outputs;
  std::vector<In<F32>> inputs;
  for (size_t i = 0; i < kOutputs; ++i) {
    outputs.push_back(k.Param<Out<F32>>(absl::StrCat("y", i), {.count = count}));
  }
  for (size_t i = 0; i < kInputs; ++i) {
    inputs.push_back(k.Param<In<F32>>(absl::StrCat("x", i), {.count = count}));
  }
  const Dim n = k.ParamDim("n", std::nullopt);
  k.Launch({.block = {256, 1, 1}, .grid = {CeilDiv(n.size(), 256), 1, 1}});
  const Val<U32> thread = k.GlobalThread();
  k.If(thread < n, [&] {
    std::vector<Val<F32>> x;
    for (const In<F32>& input : inputs) x.push_back(input.Load(thread));
    const Vec<F32, kOutputs> y = f(x);
    for (size_t i = 0; i < kOutputs; ++i) outputs[i].Store(thread, y[i]);
  });
  return std::move(k).Finish();
}

class MathTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    absl::StatusOr<KernelRunner> runner = KernelRunner::Open(GetParam());
    if (absl::IsUnavailable(runner.status())) GTEST_SKIP() << runner.status().message();
    ASSERT_OK(runner);
    runner_ = std::make_unique<KernelRunner>(*std::move(runner));
  }

  // The outputs of f for each element of the inputs.
  template <size_t kOutputs, class F, size_t kInputs>
  absl::StatusOr<std::array<std::vector<float>, kOutputs>> Map(
      const std::string& name, const F& f, const std::array<std::vector<float>, kInputs>& inputs) {
    KernelCase test;
    test.key = [&](const Target& target) { return absl::StrCat(name, "@", target.ToString()); };
    test.build = [&](const Target& target) {
      return BuildMap<kOutputs, kInputs>(test.key(target), target, f);
    };
    for (size_t i = 0; i < kOutputs; ++i) test.args.emplace_back(Bytes(4 * inputs[0].size()));
    for (const std::vector<float>& input : inputs) test.args.emplace_back(ToBytes(input));
    test.args.emplace_back(static_cast<uint32_t>(inputs[0].size()));
    PTXSMITH_ASSIGN_OR_RETURN(const std::vector<Bytes> after, runner_->Run(test));
    std::array<std::vector<float>, kOutputs> outputs;
    for (size_t i = 0; i < kOutputs; ++i) outputs[i] = FromBytes<float>(after[i]);
    return outputs;
  }

  absl::StatusOr<std::vector<float>> ExpOf(const std::vector<float>& x) {
    PTXSMITH_ASSIGN_OR_RETURN(
        auto y, (Map<1>(
                    "exp", [](const std::vector<Val<F32>>& v) { return Vec<F32, 1>({Exp(v[0])}); },
                    std::array{x})));
    return y[0];
  }

  std::unique_ptr<KernelRunner> runner_;
};

// `count` numbers evenly from `low` to `high` and as many random ones between.
std::vector<float> DenseAndRandom(double low, double high, int count) {
  Rng rng(5);
  std::vector<float> values;
  for (int i = 0; i <= count; ++i) {
    values.push_back(static_cast<float>(low + (high - low) * i / count));
    values.push_back(static_cast<float>(low + (high - low) * rng.Uniform()));
  }
  return values;
}

TEST_P(MathTest, ExpIsAsAccurateAsStated) {
  std::vector<float> x = DenseAndRandom(-87.3, 88.3, 500'000);
  // Random small numbers of every magnitude, where e^x is near 1.
  Rng rng(6);
  for (int i = 0; i < 100'000; ++i) {
    x.push_back(static_cast<float>((rng.Below(2) == 0 ? -1 : 1) * std::exp2(-40 * rng.Uniform())));
  }
  ASSERT_OK_AND_ASSIGN(const std::vector<float> y, ExpOf(x));
  long double worst = 0;
  float at = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const long double want = std::exp(static_cast<long double>(x[i]));
    const long double error = std::fabs(y[i] - want) / want;
    if (!(error <= worst)) worst = error, at = x[i];
  }
  std::cout << "Exp: relative error " << worst << " at " << at << "\n";
  EXPECT_LT(worst, 1.5e-7L) << "at " << at;
}

TEST_P(MathTest, ExpAtTheEndsOfItsRange) {
  const std::vector<float> x = {-kInfinity, -1e30f, -88.0f,    -87.4f, 0.0f, -0.0f,
                                88.4f,      1e30f,  kInfinity, kNan,   -kNan};
  ASSERT_OK_AND_ASSIGN(const std::vector<float> y, ExpOf(x));
  EXPECT_TRUE(SameBits(absl::MakeConstSpan(y).first(9),
                       {0, 0, 0, 0, 1, 1, kInfinity, kInfinity, kInfinity}));
  EXPECT_TRUE(std::isnan(y[9]));
  EXPECT_TRUE(std::isnan(y[10]));
}

// Both are odd, and measured over the same arguments: dense around the change of formula, of every
// small magnitude, and beyond the place where the result becomes 1.
struct OddFunction {
  const char* name;
  Val<F32> (*kernel)(const Val<F32>&);
  long double (*exact)(long double);
};

TEST_P(MathTest, TanhAndErfAreAsAccurateAsStated) {
  std::vector<float> x = DenseAndRandom(-2, 2, 300'000);
  for (float v : DenseAndRandom(-12, 12, 100'000)) x.push_back(v);
  Rng rng(8);
  for (int i = 0; i < 50'000; ++i) {
    x.push_back(static_cast<float>((rng.Below(2) == 0 ? -1 : 1) * std::exp2(-30 * rng.Uniform())));
  }
  for (const OddFunction& f : {OddFunction{"Tanh", Tanh, std::tanh}, {"Erf", Erf, std::erf}}) {
    ASSERT_OK_AND_ASSIGN(
        const auto y,
        (Map<1>(
            f.name, [&](const std::vector<Val<F32>>& v) { return Vec<F32, 1>({f.kernel(v[0])}); },
            std::array{x})));
    long double worst = 0;
    float at = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      if (x[i] == 0) continue;
      const long double want = f.exact(x[i]);
      const long double error = std::fabs((y[0][i] - want) / want);
      if (!(error <= worst)) worst = error, at = x[i];
    }
    std::cout << f.name << ": relative error " << worst << " at " << at << "\n";
    EXPECT_LT(worst, 1.5e-7L) << f.name << " at " << at;
  }
}

TEST_P(MathTest, TanhAndErfAtTheEndsOfTheirRange) {
  const std::vector<float> x = {-kInfinity, -1e30f, -20.0f,    -0.0f, 0.0f,
                                20.0f,      1e30f,  kInfinity, kNan};
  for (const OddFunction& f : {OddFunction{"Tanh", Tanh, std::tanh}, {"Erf", Erf, std::erf}}) {
    ASSERT_OK_AND_ASSIGN(
        const auto y,
        (Map<1>(
            f.name, [&](const std::vector<Val<F32>>& v) { return Vec<F32, 1>({f.kernel(v[0])}); },
            std::array{x})));
    EXPECT_TRUE(SameBits(absl::MakeConstSpan(y[0]).first(8), {-1, -1, -1, -0.0f, 0, 1, 1, 1}))
        << f.name;
    EXPECT_TRUE(std::isnan(y[0][8])) << f.name;
  }
}

TEST_P(MathTest, CosSinTurnsIsAsAccurateAsStated) {
  std::vector<float> t = DenseAndRandom(-0.5, 0.5, 300'000);
  for (float special : {0.0f, 0.25f, -0.25f, 0.125f, 0x1p-149f, 0x1p-30f}) t.push_back(special);
  ASSERT_OK_AND_ASSIGN(
      const auto y, (Map<2>(
                        "cos_sin", [](const std::vector<Val<F32>>& v) { return CosSinTurns(v[0]); },
                        std::array{t})));
  long double worst = 0;
  float at = 0;
  for (size_t i = 0; i < t.size(); ++i) {
    const long double angle = 2 * std::numbers::pi_v<long double> * t[i];
    const long double error =
        std::max(std::fabs(y[0][i] - std::cos(angle)), std::fabs(y[1][i] - std::sin(angle)));
    if (!(error <= worst)) worst = error, at = t[i];
  }
  std::cout << "CosSinTurns: absolute error " << worst << " at " << at << "\n";
  EXPECT_LT(worst, 2.5e-7L) << "at " << at;
}

TEST_P(MathTest, FractionOfTurnsIsAsAccurateAsStated) {
  Rng rng(7);
  std::array<std::vector<float>, 3> inputs;
  auto& [position, hi, lo] = inputs;
  for (int i = 0; i < 400'000; ++i) {
    const double rate = i % 4 == 0 ? 0.5 / std::numbers::pi : rng.Uniform() / 6;
    position.push_back(static_cast<float>(i % 2 == 0 ? rng.Below(1u << 24) : rng.Below(1u << 12)));
    hi.push_back(static_cast<float>(rate));
    lo.push_back(static_cast<float>(rate - hi.back()));
  }
  ASSERT_OK_AND_ASSIGN(const auto y, (Map<1>(
                                         "fraction",
                                         [](const std::vector<Val<F32>>& v) {
                                           return Vec<F32, 1>({FractionOfTurns(v[0], v[1], v[2])});
                                         },
                                         inputs)));
  long double worst = 0;
  size_t at = 0;
  for (size_t i = 0; i < position.size(); ++i) {
    // Both products fit into 64 bits, so the fraction of a turn is exact but for 2^-64.
    const long double high = static_cast<long double>(position[i]) * hi[i];
    const long double turns =
        (high - std::nearbyint(high)) + static_cast<long double>(position[i]) * lo[i];
    const long double difference = y[0][i] - turns;
    const long double error = std::fabs(difference - std::nearbyint(difference));
    if (!(error <= worst)) worst = error, at = i;
    ASSERT_LE(std::fabs(y[0][i]), 0.5f) << "position " << position[i] << " rate " << hi[i];
  }
  std::cout << "FractionOfTurns: absolute error " << worst << " at position " << position[at]
            << " rate " << hi[at] << "\n";
  EXPECT_LT(worst, 0x1p-24L) << "at position " << position[at] << " rate " << hi[at];
}

INSTANTIATE_TEST_SUITE_P(Devices, MathTest, testing::Values("emu:sm90", "cuda:0"),
                         [](const auto& info) {
                           return std::string(info.param) == "cuda:0" ? "Cuda" : "Emulator";
                         });

}  // namespace
}  // namespace ptxsmith

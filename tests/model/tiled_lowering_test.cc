// The tiled lowering against the plain one, on the bundled model: near logits, the same tokens, the
// same bits twice.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/transformer.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

// ||tiled - plain|| / ||plain||: activations of 15 bits, f16 between matrices.
constexpr double kLogitTolerance = 5e-3;
constexpr double kLogitToleranceOf8Bits = 5e-2;

// The largest difference, as a part of the largest logit.
double Distance(absl::Span<const float> got, const std::vector<double>& want) {
  double worst = 0, scale = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    worst = std::max(worst, std::fabs(got[i] - want[i]));
    scale = std::max(scale, std::fabs(want[i]));
  }
  return worst / scale;
}

double Quantile(std::vector<double> values, double q) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

class TiledLoweringTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Device>> device = Device::Open(GetParam());
    if (absl::IsUnavailable(device.status())) GTEST_SKIP() << device.status().message();
    ASSERT_OK(device);
    if ((*device)->profile().target.sm < 90) GTEST_SKIP() << "needs sm_90";
    cache_ = std::make_unique<ModuleCache>(*device);
  }

  absl::StatusOr<std::unique_ptr<Transformer>> Load(LoweringChoice lowering,
                                                    Activations activations = Activations::kF32) {
    PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
    return Transformer::Load(file, *cache_,
                             {.context = 64, .activations = activations, .lowering = lowering});
  }
  // ||tiled - plain|| / ||plain|| of the logits, at the worst of some positions.
  absl::StatusOr<double> WorstError(Activations activations);

  std::unique_ptr<ModuleCache> cache_;
};

absl::StatusOr<double> TiledLoweringTest::WorstError(Activations activations) {
  PTXSMITH_ASSIGN_OR_RETURN(const auto plain, Load(LoweringChoice::kPlain));
  PTXSMITH_ASSIGN_OR_RETURN(const auto tiled, Load(LoweringChoice::kTiled, activations));
  EXPECT_EQ(tiled->lowering().name(), "tiled");
  EXPECT_EQ(tiled->decode_step().kernels().size(), 1u);
  double worst = 0;
  for (const TokenId token : {17u, 300u, 4000u, 5u, 5u, 123u}) {
    PTXSMITH_RETURN_IF_ERROR(plain->Step(token, /*want_logits=*/true));
    PTXSMITH_RETURN_IF_ERROR(tiled->Step(token, /*want_logits=*/true));
    PTXSMITH_ASSIGN_OR_RETURN(const auto want, plain->Logits());
    PTXSMITH_ASSIGN_OR_RETURN(const auto got, tiled->Logits());
    double error = 0, norm = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      error += std::pow(double{got[i]} - want[i], 2);
      norm += std::pow(double{want[i]}, 2);
    }
    worst = std::max(worst, std::sqrt(error / norm));
  }
  return worst;
}

TEST_P(TiledLoweringTest, LogitsAreThoseOfThePlainOne) {
  ASSERT_OK_AND_ASSIGN(const double worst, WorstError(Activations::kF32));
  EXPECT_LE(worst, kLogitTolerance);
}

TEST_P(TiledLoweringTest, EightBitsOfActivationsAreLess) {
  ASSERT_OK_AND_ASSIGN(const double worst, WorstError(Activations::kInt8));
  EXPECT_GT(worst, kLogitTolerance);
  EXPECT_LE(worst, kLogitToleranceOf8Bits);
}

// Biases, and pairs of elements that rotate half a head apart.
TEST_P(TiledLoweringTest, Qwen2IsThatOfThePlainOne) {
  const std::string bytes = Write(Qwen2Model()).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(const auto plain,
                       Transformer::Load(file, *cache_, {.lowering = LoweringChoice::kPlain}));
  ASSERT_OK_AND_ASSIGN(const auto tiled,
                       Transformer::Load(file, *cache_, {.lowering = LoweringChoice::kTiled}));
  for (const TokenId token : {17u, 200u, 4u, 5u, 5u}) {
    ASSERT_OK(plain->Step(token, /*want_logits=*/true));
    ASSERT_OK(tiled->Step(token, /*want_logits=*/true));
    ASSERT_OK_AND_ASSIGN(const auto want, plain->Logits());
    ASSERT_OK_AND_ASSIGN(const auto got, tiled->Logits());
    double error = 0, norm = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      error += std::pow(double{got[i]} - want[i], 2);
      norm += std::pow(double{want[i]}, 2);
    }
    ASSERT_LE(std::sqrt(error / norm), kLogitTolerance) << "at " << plain->length() - 1;
  }
}

// At the positions where kernels change their ways, against the reference in double precision and
// against the one that rounds what passes between matrices as the kernel does. The weights are
// large: inputs of matrices reach 1.5e5, more than f16 holds.
TEST_P(TiledLoweringTest, DiffersFromTheReferenceByWhatItRounds) {
  const bool emulated = cache_->device()->profile().emulated;
  const bool full = !emulated || std::getenv(kFullVariable) != nullptr;
  RandomModel shape = Qwen2Model();
  shape.context = full ? 1026 : 130;
  if (full) shape.blocks = 1;  // the references take their time
  const std::string bytes = Write(shape).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(const reference::Model exact, ReferenceModel(file));
  reference::Model rounding = exact;
  rounding.tiled = true;
  ASSERT_OK_AND_ASSIGN(const auto model,
                       Transformer::Load(file, *cache_, {.lowering = LoweringChoice::kTiled}));
  reference::Forward want(exact), rounded(rounding);
  Rng rng(5);
  std::vector<double> from_exact, from_rounded;
  for (uint32_t position = 0; position < shape.context; ++position) {
    const uint32_t token = rng.Below(kTinyVocab);
    ASSERT_OK(model->Step(token, /*want_logits=*/true));
    ASSERT_OK_AND_ASSIGN(const auto got, model->Logits());
    from_exact.push_back(Distance(got, want.Step(token)));
    from_rounded.push_back(Distance(got, rounded.Step(token)));
  }
  // Scores are in the hundreds: where two positions nearly tie, 2^-12 of an activation decides
  // which of them attention takes. That happens at a few positions; all the others say something.
  EXPECT_LE(Quantile(from_exact, 0.5), 3e-3);
  EXPECT_LE(Quantile(from_exact, 0.9), 1e-2);
  EXPECT_LE(Quantile(from_rounded, 0.5), 1e-3);
  EXPECT_LE(Quantile(from_rounded, 0.9), 3e-3);
}

TEST_P(TiledLoweringTest, DecodesTheSameTokensTwice) {
  const std::vector<TokenId> prompt = {17, 300, 4000};
  const auto decode = [&](LoweringChoice lowering) -> absl::StatusOr<std::vector<TokenId>> {
    PTXSMITH_ASSIGN_OR_RETURN(const auto model, Load(lowering));
    PTXSMITH_RETURN_IF_ERROR(model->Prompt(prompt, /*want_logits=*/true));
    std::vector<TokenId> tokens;
    for (int i = 0; i < 8; ++i) {
      PTXSMITH_RETURN_IF_ERROR(model->StepGreedy());
      PTXSMITH_ASSIGN_OR_RETURN(const TokenId token, model->NextGreedy());
      tokens.push_back(token);
    }
    PTXSMITH_ASSIGN_OR_RETURN(const auto logits, model->Logits());
    for (const float logit : logits) {  // their bits
      tokens.push_back(static_cast<TokenId>(std::bit_cast<uint32_t>(logit)));
    }
    return tokens;
  };
  ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> first, decode(LoweringChoice::kTiled));
  ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> second, decode(LoweringChoice::kTiled));
  EXPECT_EQ(first, second);
  ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> plain, decode(LoweringChoice::kPlain));
  EXPECT_EQ(std::vector<TokenId>(first.begin(), first.begin() + 8),
            std::vector<TokenId>(plain.begin(), plain.begin() + 8));
}

INSTANTIATE_TEST_SUITE_P(Devices, TiledLoweringTest, testing::Values("emu:sm90", "cuda:0"),
                         [](const auto& info) {
                           return std::string(info.param[0] == 'e' ? "emulator" : "cuda");
                         });

TEST(TiledLoweringChoiceTest, SaysWhyNotAndFallsBack) {
  ASSERT_OK_AND_ASSIGN(const auto device, Device::Open("emu:sm90"));
  ModuleCache cache(device);
  const std::string bytes = Write(RandomModel{.width = 64}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  EXPECT_THAT(Transformer::Load(file, cache, {.lowering = LoweringChoice::kTiled}).status(),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("heads of 32 elements")));
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, cache, {}));
  EXPECT_EQ(model->lowering().name(), "plain");
}

}  // namespace
}  // namespace ptxsmith

// Sampling on the device makes the choices of the host's sampler, token for token.
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "gtest/gtest.h"
#include "model/transformer.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

constexpr uint32_t kTokens = 150;  // more than the numbers that travel at once
const std::vector<TokenId> kPrompt = {5, 9, 9, 200, 17};

class DeviceSamplerTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Device>> device = Device::Open(GetParam());
    if (absl::IsUnavailable(device.status())) GTEST_SKIP() << device.status().message();
    ASSERT_OK(device);
    cache_ = std::make_unique<ModuleCache>(*device);
    const std::string bytes = Write(RandomModel{.context = kTokens + 20}).Build();
    ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
    ASSERT_OK_AND_ASSIGN(model_, Transformer::Load(file, *cache_, {}));
  }

  // By the device, up to two steps ahead of what is looked at.
  absl::StatusOr<std::vector<TokenId>> OnDevice(const SamplerOptions& options) {
    model_->Reset();
    PTXSMITH_RETURN_IF_ERROR(model_->SetSampling(options, kPrompt));
    PTXSMITH_RETURN_IF_ERROR(model_->Prompt(kPrompt, /*want_logits=*/true));
    std::vector<TokenId> tokens;
    PTXSMITH_ASSIGN_OR_RETURN(TokenId token, model_->Greedy());
    tokens.push_back(token);
    PTXSMITH_RETURN_IF_ERROR(model_->StepGreedy());
    while (tokens.size() < kTokens) {
      PTXSMITH_RETURN_IF_ERROR(model_->StepGreedy());
      PTXSMITH_ASSIGN_OR_RETURN(token, model_->NextGreedy());
      tokens.push_back(token);
    }
    return tokens;
  }

  absl::StatusOr<std::vector<TokenId>> OnHost(const SamplerOptions& options) {
    model_->Reset();
    PTXSMITH_RETURN_IF_ERROR(model_->SetSampling({}, {}));
    PTXSMITH_ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(options));
    for (const TokenId token : kPrompt) sampler.Remember(token);
    PTXSMITH_RETURN_IF_ERROR(model_->Prompt(kPrompt, /*want_logits=*/true));
    std::vector<TokenId> tokens;
    for (;;) {
      PTXSMITH_ASSIGN_OR_RETURN(const absl::Span<const float> logits, model_->Logits());
      PTXSMITH_ASSIGN_OR_RETURN(const TokenId token, sampler.Sample(logits));
      tokens.push_back(token);
      if (tokens.size() == kTokens) return tokens;
      PTXSMITH_RETURN_IF_ERROR(model_->Step(token, /*want_logits=*/true));
    }
  }

  std::unique_ptr<ModuleCache> cache_;
  std::unique_ptr<Transformer> model_;
};

TEST_P(DeviceSamplerTest, ChoosesWhatTheHostDoes) {
  // Logits of random models differ by far more than those of real ones.
  for (const SamplerOptions& options :
       {SamplerOptions{.temperature = 20, .seed = 1},
        SamplerOptions{.temperature = 100, .top_k = 64, .top_p = 1, .min_p = 0, .seed = 2},
        SamplerOptions{.temperature = 30, .top_k = 50, .top_p = 1, .penalty = 1.5f, .seed = 3},
        SamplerOptions{.temperature = 50, .top_k = 64, .top_p = 1, .min_p = 1e-12f, .seed = 4},
        SamplerOptions{.temperature = 1, .top_k = 1, .seed = 5},
        SamplerOptions{.penalty = 1.5f, .seed = 6}}) {
    SCOPED_TRACE(options.seed);
    ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> device, OnDevice(options));
    ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> host, OnHost(options));
    EXPECT_EQ(device, host);
  }
}

TEST_P(DeviceSamplerTest, TheSeedDecidesAndTemperatureZeroIsGreedyAgain) {
  const SamplerOptions options{.temperature = 100, .top_k = 64, .top_p = 1, .seed = 2};
  SamplerOptions other = options;
  other.seed = 3;
  ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> greedy, OnDevice({}));
  ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> first, OnDevice(options));
  ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> second, OnDevice(other));
  EXPECT_NE(first, second);
  EXPECT_NE(first, greedy);
  EXPECT_THAT(OnDevice(options), IsOkAndHolds(first));
  EXPECT_THAT(OnDevice({}), IsOkAndHolds(greedy));
}

// Each sequence of a batch by its own options, as if it were alone; one of them is greedy.
TEST_P(DeviceSamplerTest, SequencesOfABatchSampleIndependently) {
  const SamplerOptions options[] = {{.temperature = 20, .seed = 1},
                                    {},
                                    {.temperature = 30, .top_k = 50, .penalty = 1.5f, .seed = 3}};
  const std::string bytes = Write(RandomModel{.context = kTokens + 20}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(model_,
                       Transformer::Load(file, *cache_, {.slots = 3, .exact_batches = true}));
  std::vector<std::vector<TokenId>> alone(3), together(3);
  for (uint32_t slot = 0; slot < 3; ++slot) {
    ASSERT_OK(model_->Select(slot));
    ASSERT_OK_AND_ASSIGN(alone[slot], OnHost(options[slot]));
  }
  std::vector<SlotToken> rows;
  for (uint32_t slot : {2, 0, 1}) {
    ASSERT_OK(model_->Select(slot));
    model_->Reset();
    ASSERT_OK(model_->SetSampling(options[slot], kPrompt));
    ASSERT_OK(model_->Prompt(kPrompt, /*want_logits=*/true));
    ASSERT_OK_AND_ASSIGN(const TokenId first, model_->Greedy());
    together[slot].push_back(first);
    rows.push_back({slot, first});
  }
  ASSERT_OK(model_->StepBatch(rows));
  for (uint32_t i = 1; i < kTokens; ++i) {
    if (i + 1 < kTokens) {
      ASSERT_OK(model_->StepBatchGreedy());
    }
    ASSERT_OK_AND_ASSIGN(const absl::Span<const TokenId> chosen, model_->NextBatch());
    for (size_t r = 0; r < rows.size(); ++r) together[rows[r].slot].push_back(chosen[r]);
  }
  EXPECT_EQ(together, alone);

  ASSERT_OK(model_->SetSampling({}, {}));
  EXPECT_THAT(model_->StepBatchGreedy(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

TEST_P(DeviceSamplerTest, RefusesWhatItCannot) {
  EXPECT_THAT(model_->SetSampling({.temperature = -1}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("temperature")));
  EXPECT_THAT(model_->SetSampling({.temperature = 1, .top_k = 0}, {}),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("top_k is 0")));
  EXPECT_THAT(model_->SetSampling({.temperature = 1, .top_k = 65}, {}),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("top_k is 65")));
}

INSTANTIATE_TEST_SUITE_P(, DeviceSamplerTest, testing::Values("emu:sm90", "cuda:0"),
                         [](const auto& info) {
                           return std::string(info.param[0] == 'e' ? "emulator" : "cuda");
                         });

}  // namespace
}  // namespace ptxsmith

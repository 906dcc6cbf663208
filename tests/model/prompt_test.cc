// Prompts run many tokens at once: the same model through every way to multiply its matrices, on
// the emulator and a GPU, against single steps and llama.cpp.
#include <algorithm>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/perplexity.h"
#include "model/tokenizer.h"
#include "model/transformer.h"
#include "tests/model/models.h"
#include "tests/util/files.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

using Json = nlohmann::json;
using testing::HasSubstr;

// Activations are rounded to f16, 11 bits, before each product, where single steps keep f32.
constexpr double kTolerance = 1e-2;      // of the largest logit; measured: at most 2e-3
constexpr double kNllTolerance = 3e-3;   // of a token's negative log-likelihood, in the mean
constexpr double kLogProbability = 0.1;  // against llama.cpp: see oracle_test.cc
constexpr double kTie = 0.05;
constexpr double kPerplexity = 0.003;     // of llama.cpp's, relative: see oracle_test.cc
constexpr double kE4M3Divergence = 0.02;  // mean, in nats; 0.0026 over all of the text
constexpr double kE4M3Tolerance = 0.2;    // of the largest logit: four bits instead of eleven

class PromptTest : public testing::TestWithParam<std::tuple<Products, std::string>> {
 protected:
  void SetUp() override {
    absl::StatusOr<std::shared_ptr<Device>> device = Device::Open(std::get<1>(GetParam()));
    if (absl::IsUnavailable(device.status())) GTEST_SKIP() << device.status().message();
    ASSERT_OK(device);
    cache_ = std::make_unique<ModuleCache>(*device);
  }

  // With every prompt of more than one token through the way under test. Null where that does not
  // exist: the test is then skipped.
  std::unique_ptr<Transformer> Load(const GgufFile& file, uint32_t context, uint32_t batch) {
    absl::StatusOr<std::unique_ptr<Transformer>> model =
        Transformer::Load(file, *cache_,
                          {.context = context,
                           .batch = batch,
                           .products = std::get<0>(GetParam()),
                           .dense_rows = 2,
                           .prompt_weights = weights_});
    EXPECT_TRUE(model.ok() || absl::IsUnavailable(model.status())) << model.status();
    reason_ = model.status().ToString();
    return model.ok() ? *std::move(model) : nullptr;
  }

  PromptWeights weights_ = PromptWeights::kExpanded;
  std::unique_ptr<ModuleCache> cache_;
  std::string reason_;
};

std::vector<float> Copy(const absl::StatusOr<absl::Span<const float>>& logits) {
  EXPECT_OK(logits);
  return logits.ok() ? std::vector<float>(logits->begin(), logits->end()) : std::vector<float>();
}

// The largest difference as a share of the largest logit.
double Difference(const std::vector<float>& a, const std::vector<float>& b) {
  EXPECT_EQ(a.size(), b.size());
  double worst = 0, scale = 0;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    EXPECT_TRUE(std::isfinite(a[i])) << i;
    worst = std::max<double>(worst, std::fabs(a[i] - b[i]));
    scale = std::max<double>(scale, std::fabs(b[i]));
  }
  return worst / scale;
}

TEST_P(PromptTest, GivesTheLogitsOfStepsForModelsOfManyShapes) {
  const RandomModel kModels[] = {
      {},
      {.type = QuantType::kQ4_0,
       .width = 96,
       .hidden = 160,
       .heads = 3,
       .kv_heads = 1,
       .head_dim = 32,
       .rope_dim = 20},
      {.type = QuantType::kF16,
       .width = 64,
       .heads = 2,
       .kv_heads = 2,
       .head_dim = 80,
       .rope_dim = 80,
       .rope_factors = true},
      {.type = QuantType::kQ4K,
       .context = 90,
       .width = 256,
       .hidden = 512,
       .heads = 8,
       .kv_heads = 2,
       .head_dim = 32,
       .tied = true},
  };
  double worst = 0;
  for (const RandomModel& random : kModels) {
    SCOPED_TRACE(absl::StrCat("width ", random.width, ", heads of ", random.head_dim));
    const std::string bytes = Write(random).Build();
    ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
    // Pieces of 17 tokens: the second one finds positions in the cache.
    const std::unique_ptr<Transformer> model = Load(file, random.context, 17);
    if (model == nullptr) GTEST_SKIP() << reason_;
    Rng rng(5);
    std::vector<TokenId> tokens;
    for (uint32_t i = 0; i + 2 < random.context; ++i) {
      tokens.push_back(rng.Below(model->config().vocab_size));
    }
    for (const TokenId token : tokens) ASSERT_OK(model->Step(token, /*want_logits=*/true));
    const std::vector<float> steps = Copy(model->Logits());
    model->Reset();
    ASSERT_OK(model->Prompt(tokens, /*want_logits=*/true));
    EXPECT_EQ(model->length(), tokens.size());
    const double difference = Difference(Copy(model->Logits()), steps);
    EXPECT_LE(difference, kTolerance);
    worst = std::max(worst, difference);
    // And the steps after it see the cache it filled.
    ASSERT_OK(model->Step(1, /*want_logits=*/true));
    const std::vector<float> after = Copy(model->Logits());
    model->Reset();
    for (const TokenId token : tokens) ASSERT_OK(model->Step(token, /*want_logits=*/false));
    ASSERT_OK(model->Step(1, /*want_logits=*/true));
    EXPECT_LE(Difference(after, Copy(model->Logits())), kTolerance);
  }
  RecordProperty("worst_difference", absl::StrCat(worst));
}

TEST_P(PromptTest, ContinuesPromptsAsLlamaCppDoes) {
  const Json oracle = Json::parse(ReadTestFile("data/oracle.json"))["q4_k_m"];
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
  const std::unique_ptr<Transformer> model = Load(file, 256, 256);
  if (model == nullptr) GTEST_SKIP() << reason_;
  const bool emulated = cache_->device()->profile().emulated;
  for (const Json& run : oracle["greedy"]) {
    SCOPED_TRACE(run["prompt"].get<std::string>());
    std::vector<TokenId> tokens = run["prompt_tokens"];
    const std::vector<TokenId> continuation = run["tokens"];
    // Every prefix of the continuation as a prompt; on the emulator a few.
    for (size_t i = 0; i < continuation.size(); i += emulated ? 20 : 1) {
      SCOPED_TRACE(i);
      std::vector<TokenId> prompt = tokens;
      prompt.insert(prompt.end(), continuation.begin(), continuation.begin() + i);
      model->Reset();
      ASSERT_OK(model->Prompt(prompt, /*want_logits=*/true));
      ASSERT_OK_AND_ASSIGN(const TokenId choice, model->Greedy());
      const Json& best = run["top2"][i][0];
      const Json& second = run["top2"][i][1];
      const bool tie = best[1].get<double>() - second[1].get<double>() < kTie;
      EXPECT_TRUE(choice == continuation[i] || (tie && choice == second[0].get<TokenId>()))
          << "chose " << choice << ", the oracle " << best << " before " << second;
      ASSERT_OK_AND_ASSIGN(const auto logits, model->Logits());
      EXPECT_NEAR(-NegativeLogLikelihood(logits, continuation[i]), best[1].get<double>(),
                  kLogProbability);
    }
    if (emulated) break;
  }
}

// How well a text is predicted when each window of it is a prompt; on a GPU also by llama.cpp.
TEST_P(PromptTest, PredictsATextAsStepsDo) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
  const std::unique_ptr<Transformer> model = Load(file, 256, 256);
  if (model == nullptr) GTEST_SKIP() << reason_;
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Tokenizer::Create(file));
  ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> text,
                       tokenizer.Encode(ReadTestFile("data/eval.txt"), {.add_bos = false}));
  const Json want = Json::parse(ReadTestFile("data/oracle.json"))["q4_k_m"]["perplexity"];
  PerplexityOptions options{.window = want["window"], .windows = want["windows"]};
  const bool emulated = cache_->device()->profile().emulated;
  if (emulated) options = {.window = 100, .windows = 1};
  ASSERT_OK_AND_ASSIGN(const PerplexityResult steps, Perplexity(*model, text, options, nullptr));
  options.prompts = true;
  ASSERT_OK_AND_ASSIGN(const PerplexityResult prompts, Perplexity(*model, text, options, nullptr));
  EXPECT_EQ(prompts.tokens, steps.tokens);
  EXPECT_NEAR(prompts.nll, steps.nll, kNllTolerance);
  RecordProperty("nll_difference", absl::StrCat(prompts.nll - steps.nll));
  if (emulated) return;
  EXPECT_NEAR(prompts.perplexity / want["ppl"].get<double>(), 1, kPerplexity);
}

// The mean over tokens of the Kullback-Leibler divergence of `q` from `p`.
double MeanDivergence(const std::vector<std::vector<float>>& p,
                      const std::vector<std::vector<float>>& q) {
  double sum = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    const double p_scale = NegativeLogLikelihood(p[i], 0) + p[i][0];  // log of the sum of e^logit
    const double q_scale = NegativeLogLikelihood(q[i], 0) + q[i][0];
    for (size_t token = 0; token < p[i].size(); ++token) {
      const double log_p = p[i][token] - p_scale;
      sum += std::exp(log_p) * (log_p - (q[i][token] - q_scale));
    }
  }
  return sum / static_cast<double>(p.size());
}

TEST_P(PromptTest, Fp8ChangesTheDistributionsLittle) {
  if (std::get<0>(GetParam()) != Products::kLibrary) GTEST_SKIP() << "by the library only";
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Tokenizer::Create(file));
  ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> text,
                       tokenizer.Encode(ReadTestFile("data/eval.txt"), {.add_bos = false}));
  std::vector<std::vector<float>> logits[2];
  for (const PromptWeights weights : {PromptWeights::kExpanded, PromptWeights::kE4M3}) {
    weights_ = weights;
    const std::unique_ptr<Transformer> model = Load(file, 256, 256);
    if (model == nullptr) GTEST_SKIP() << reason_;
    ASSERT_OK(
        model->PromptLogits(absl::MakeConstSpan(text).first(64), [&](absl::Span<const float> row) {
          logits[weights == PromptWeights::kE4M3].emplace_back(row.begin(), row.end());
          return absl::OkStatus();
        }));
  }
  const double divergence = MeanDivergence(logits[0], logits[1]);
  EXPECT_GT(divergence, 0);
  EXPECT_LE(divergence, kE4M3Divergence);
  RecordProperty("divergence", absl::StrCat(divergence));
}

TEST_P(PromptTest, ShowsLogitsOfEveryTokenUntilTheSinkHasEnough) {
  const std::string bytes = Write(RandomModel{}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  const std::unique_ptr<Transformer> model = Load(file, 0, 5);
  if (model == nullptr) GTEST_SKIP() << reason_;
  const std::vector<TokenId> tokens = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5};
  std::vector<std::vector<float>> steps, prompts;
  for (const TokenId token : tokens) {
    ASSERT_OK(model->Step(token, /*want_logits=*/true));
    steps.push_back(Copy(model->Logits()));
  }
  model->Reset();
  ASSERT_OK(model->PromptLogits(tokens, [&](absl::Span<const float> row) {
    prompts.emplace_back(row.begin(), row.end());
    return absl::OkStatus();
  }));
  ASSERT_EQ(prompts.size(), steps.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    EXPECT_LE(Difference(prompts[i], steps[i]), kTolerance) << i;
  }
  EXPECT_THAT(model->Logits(), StatusIs(absl::StatusCode::kFailedPrecondition));
  model->Reset();
  int rows = 0;
  EXPECT_THAT(model->PromptLogits(tokens,
                                  [&](absl::Span<const float>) {
                                    return ++rows < 7 ? absl::OkStatus()
                                                      : absl::CancelledError("enough");
                                  }),
              StatusIs(absl::StatusCode::kCancelled, "enough"));
  EXPECT_EQ(rows, 7);
  EXPECT_EQ(model->length(), 10u);  // whole pieces
}

TEST_P(PromptTest, ChoosesTheLoweringAsked) {
  const std::string bytes = Write(RandomModel{}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  const std::unique_ptr<Transformer> model = Load(file, 0, 8);
  if (model == nullptr) GTEST_SKIP() << reason_;
  const absl::string_view name = model->prompt_lowering().name();
  switch (std::get<0>(GetParam())) {
    case Products::kPlain:
      EXPECT_EQ(name, "plain");
      break;
    case Products::kGenerated:
      EXPECT_EQ(name, "dense");
      break;
    default:
      EXPECT_EQ(name, "cublaslt");
  }
}

// Kept f16 copies are what would be expanded; FP8 copies are coarser, and by the library only.
TEST_P(PromptTest, KeptWeightsGiveTheSameOrNearlyTheSameLogits) {
  if (std::get<0>(GetParam()) == Products::kPlain) GTEST_SKIP() << "keeps nothing";
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(*SamplePath("q4_k_m")));
  std::vector<TokenId> tokens;
  Rng rng(5);
  for (int i = 0; i < 40; ++i) tokens.push_back(rng.Below(1000));
  std::vector<float> expanded;
  for (const PromptWeights weights :
       {PromptWeights::kExpanded, PromptWeights::kHalf, PromptWeights::kE4M3}) {
    const absl::StatusOr<std::unique_ptr<Transformer>> model =
        Transformer::Load(file, *cache_,
                          {.context = 64,
                           .products = std::get<0>(GetParam()),
                           .dense_rows = 2,
                           .prompt_weights = weights});
    if (absl::IsUnavailable(model.status())) GTEST_SKIP() << model.status().message();
    if (weights == PromptWeights::kE4M3 && std::get<0>(GetParam()) == Products::kGenerated) {
      EXPECT_THAT(model, StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("FP8")));
      continue;
    }
    ASSERT_OK(model);
    ASSERT_OK((*model)->Prompt(tokens, /*want_logits=*/true));
    const std::vector<float> logits = Copy((*model)->Logits());
    if (weights == PromptWeights::kExpanded) expanded = logits;
    const double difference = Difference(logits, expanded);
    EXPECT_LE(difference, weights == PromptWeights::kE4M3 ? kE4M3Tolerance : 0);
    if (weights == PromptWeights::kE4M3) RecordProperty("e4m3", absl::StrCat(difference));
  }
}

std::string NameOf(const testing::TestParamInfo<std::tuple<Products, std::string>>& info) {
  const Products products = std::get<0>(info.param);
  return absl::StrCat(products == Products::kPlain       ? "Plain"
                      : products == Products::kGenerated ? "Generated"
                                                         : "Library",
                      std::get<1>(info.param) == "cuda:0" ? "_Cuda" : "_Emulator");
}

INSTANTIATE_TEST_SUITE_P(, PromptTest,
                         testing::Combine(testing::Values(Products::kPlain, Products::kGenerated,
                                                          Products::kLibrary),
                                          testing::Values("emu:sm90", "cuda:0")),
                         NameOf);

TEST(PromptOptionsTest, TheLibraryIsRefusedWhereThereIsNone) {
  ASSERT_OK_AND_ASSIGN(const auto device, Device::Open("emu:sm90"));
  ModuleCache cache(device);
  const std::string bytes = Write(RandomModel{}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  EXPECT_THAT(Transformer::Load(file, cache, {.products = Products::kLibrary}),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("has no CUDA context")));
  EXPECT_OK(Transformer::Load(file, cache, {.products = Products::kAuto}));
}

TEST(PromptOptionsTest, ACacheThatDenseAttentionCannotReadGoesThroughPlainKernels) {
  ASSERT_OK_AND_ASSIGN(const auto device, Device::Open("emu:sm90"));
  ModuleCache cache(device);
  const std::string bytes = Write(RandomModel{}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  TransformerOptions options{.kv_type = QuantType::kQ8_0};
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, cache, options));
  EXPECT_EQ(model->prompt_lowering().name(), "plain");
  options.products = Products::kGenerated;
  EXPECT_THAT(Transformer::Load(file, cache, options),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("other than f16")));
}

}  // namespace
}  // namespace ptxsmith

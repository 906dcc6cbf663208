// Every architecture against the reference, with random weights: shapes that real models have
// (heads of 64 to 256 elements, rows that are no multiple of 256, groups of heads, tied heads), at
// positions where kernels change their ways.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/transformer.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

struct Shape {
  const char* name;
  RandomModel model;
};

const Shape kShapes[] = {
    {"Llama",
     {.width = 96,
      .hidden = 160,
      .heads = 3,
      .kv_heads = 1,
      .head_dim = 64,
      .rope_dim = 64,
      .rope_factors = true}},
    {"Mistral", {.width = 128, .heads = 4, .kv_heads = 2, .head_dim = 128, .rope_dim = 128}},
    {"LlamaFusedQkv", {.fused_qkv = true}},
    {"LlamaSlidingWindow", {.window = 5}},
    {"LlamaYarn", {.yarn = true}},
    {"LlamaLongrope", {.longrope = true}},
    {"Qwen2",
     {.architecture = "qwen2",
      .width = 160,
      .hidden = 224,
      .heads = 5,
      .kv_heads = 1,
      .head_dim = 64,
      .rope_dim = 64,
      .tied = true,
      .seed = 2}},
    {"Qwen2Mixed", Qwen2Model()},
    {"Qwen3",
     {.architecture = "qwen3",
      .width = 64,
      .heads = 4,
      .kv_heads = 2,
      .head_dim = 128,
      .rope_dim = 128,
      .seed = 4}},
    {"Phi2",
     {.architecture = "phi2",
      .width = 160,
      .hidden = 192,
      .heads = 2,
      .kv_heads = 2,
      .head_dim = 80,
      .rope_dim = 32,
      .seed = 5}},
    {"Phi2FusedQkv",
     {.architecture = "phi2",
      .width = 192,
      .heads = 2,
      .kv_heads = 2,
      .head_dim = 96,
      .rope_dim = 32,
      .fused_qkv = true,
      .seed = 6}},
    {"Gemma2",
     {.architecture = "gemma2",
      .blocks = 3,
      .width = 96,
      .heads = 2,
      .kv_heads = 1,
      .head_dim = 256,
      .rope_dim = 256,
      .tied = true,
      .window = 4,
      .attention_softcap = 2,
      .logit_softcap = 3,
      .seed = 7}},
};

class ArchitectureTest : public testing::TestWithParam<std::tuple<Shape, const char*>> {
 protected:
  void SetUp() override {
    const absl::StatusOr<std::shared_ptr<Device>> device = Device::Open(std::get<1>(GetParam()));
    if (absl::IsUnavailable(device.status())) GTEST_SKIP() << device.status().message();
    ASSERT_OK(device);
    cache_ = std::make_unique<ModuleCache>(*device);
  }

  bool emulated() const { return cache_->device()->profile().emulated; }
  static RandomModel model() { return std::get<0>(GetParam()).model; }

  // Runs up to the last of `positions`, which ascend, and compares the logits at each of them.
  void Compare(RandomModel shape, const std::vector<uint32_t>& positions) {
    shape.context = positions.back() + 1;
    const std::string bytes = Write(shape).Build();
    ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
    ASSERT_OK_AND_ASSIGN(const reference::Model want, ReferenceModel(file));
    // Other lowerings round activations, which random weights make much of: they have their own
    // tests.
    ASSERT_OK_AND_ASSIGN(const auto model,
                         Transformer::Load(file, *cache_, {.lowering = LoweringChoice::kPlain}));
    reference::Forward forward(want);
    Rng rng(5);
    auto next = positions.begin();
    for (uint32_t position = 0; next != positions.end(); ++position) {
      const uint32_t token = rng.Below(kTinyVocab);
      const bool compared = position == *next;
      ASSERT_OK(model->Step(token, compared));
      const std::vector<double> expected = forward.Step(token);
      if (!compared) continue;
      ++next;
      ASSERT_OK_AND_ASSIGN(const absl::Span<const float> got, model->Logits());
      SCOPED_TRACE(absl::StrCat("position ", position));
      ExpectClose(got, expected, kTolerance);
    }
  }

  static void ExpectClose(absl::Span<const float> got, const std::vector<double>& expected,
                          double tolerance) {
    ASSERT_EQ(got.size(), expected.size());
    double scale = 0, worst = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_TRUE(std::isfinite(got[i])) << "logit " << i;
      scale = std::max(scale, std::fabs(expected[i]));
      worst = std::max(worst, std::fabs(got[i] - expected[i]));
    }
    EXPECT_LE(worst, tolerance * scale);
  }

  // Of the largest logit. Both sides round keys and values to f16; the few that fall on different
  // sides differ by 2^-11 of themselves.
  static constexpr double kTolerance = 1e-3;
  // Activations are rounded to f16 before every product. Measured: at most 1.6e-2.
  static constexpr double kPromptTolerance = 3e-2;

  std::unique_ptr<ModuleCache> cache_;
};

TEST_P(ArchitectureTest, FirstPositions) { Compare(model(), {0, 1, 2, 7, 11}); }

TEST_P(ArchitectureTest, AroundPosition128) { Compare(model(), {127, 128, 129}); }

TEST_P(ArchitectureTest, Position1025) {
  if (emulated() && std::getenv(kFullVariable) == nullptr) {
    GTEST_SKIP() << "ten seconds each on the emulator: set " << kFullVariable;
  }
  RandomModel shape = model();
  shape.blocks = 1;
  Compare(shape, {1025});
}

// Prompts go through other kernels, which round activations to f16; long ones through yet others.
TEST_P(ArchitectureTest, Prompts) {
  RandomModel shape = model();
  shape.context = 72;
  const std::string bytes = Write(shape).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(const reference::Model want, ReferenceModel(file));
  ASSERT_OK_AND_ASSIGN(const auto model, Transformer::Load(file, *cache_, {}));
  Rng rng(6);
  for (const uint32_t length : {5, 70}) {
    reference::Forward forward(want);
    std::vector<TokenId> tokens(length);
    std::vector<double> expected;
    for (TokenId& token : tokens) {
      token = rng.Below(kTinyVocab);
      expected = forward.Step(token);
    }
    model->Reset();
    ASSERT_OK(model->Prompt(tokens, /*want_logits=*/true));
    ASSERT_OK_AND_ASSIGN(const absl::Span<const float> got, model->Logits());
    SCOPED_TRACE(absl::StrCat(length, " tokens"));
    ExpectClose(got, expected, kPromptTolerance);
  }
}

INSTANTIATE_TEST_SUITE_P(, ArchitectureTest,
                         testing::Combine(testing::ValuesIn(kShapes),
                                          testing::Values("emu:sm90", "cuda:0")),
                         [](const auto& info) {
                           const bool gpu = absl::StartsWith(std::get<1>(info.param), "cuda");
                           return absl::StrCat(std::get<0>(info.param).name, gpu ? "Gpu" : "");
                         });

}  // namespace
}  // namespace ptxsmith

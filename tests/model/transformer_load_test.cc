// What Transformer::Load refuses, by name, and how it tells how far it is.
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/transformer.h"
#include "tests/model/emulator_test.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

using TransformerLoadTest = EmulatorTest;

TEST_F(TransformerLoadTest, RefusesContextsBeyondTheModelAndTheKernels) {
  EXPECT_THAT(Load(Write({}), {.context = 25}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "a context of 25 positions; the model was trained for 24"));
  EXPECT_THAT(Load(Write({.context = (1u << 24) + 1})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "a context of 16777217 positions; kernels support 16777216"));
}

TEST_F(TransformerLoadTest, NamesAMissingTensor) {
  GgufWriter file = Write({});
  file.Find("blk.1.ffn_up.weight").name = "blk.1.ffn_xx.weight";
  EXPECT_THAT(Load(file),
              StatusIs(absl::StatusCode::kNotFound, "tensor blk.1.ffn_up.weight is missing"));
}

// What nobody reads might change the result.
TEST_F(TransformerLoadTest, NamesATensorThatTheArchitectureDoesNotHave) {
  GgufWriter file = Write({});
  file.AddTensor("blk.0.attn_q.bias", {128}, 0, std::string(512, '\0'));
  EXPECT_THAT(Load(file), StatusIs(absl::StatusCode::kUnimplemented,
                                   HasSubstr("tensor blk.0.attn_q.bias is no part of")));
}

TEST_F(TransformerLoadTest, NamesTheMissingTensorsOfAnArchitecture) {
  const std::pair<const char*, std::vector<const char*>> rows[] = {
      {"qwen2", {"attn_q.bias", "attn_v.bias"}},
      {"qwen3", {"attn_q_norm.weight", "attn_k_norm.weight"}},
      {"phi2", {"attn_norm.bias", "ffn_up.bias", "ffn_down.bias", "attn_output.bias"}},
      {"gemma2", {"post_attention_norm.weight", "post_ffw_norm.weight"}}};
  for (const auto& [architecture, parts] : rows) {
    for (const char* part : parts) {
      GgufWriter file = Write({.architecture = architecture});
      const std::string name = absl::StrCat("blk.1.", part);
      file.Find(name).name = "blk.1.other";
      EXPECT_THAT(Load(file), StatusIs(absl::StatusCode::kNotFound,
                                       absl::StrCat("tensor ", name, " is missing")));
    }
  }
}

TEST_F(TransformerLoadTest, NamesAWrongShape) {
  GgufWriter file = Write({});
  file.Find("blk.0.attn_k.weight").dims = {64, 32};
  EXPECT_THAT(Load(file),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "tensor blk.0.attn_k.weight has shape [64, 32]; the model needs [64, 64]"));
  file = Write({});
  file.Find("output_norm.weight").dims = {32, 2};
  EXPECT_THAT(Load(file), StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr("tensor output_norm.weight has shape [32, 2]")));
  file = Write({});
  file.Find("blk.0.attn_q.weight").dims = {64, 64, 2};
  EXPECT_THAT(Load(file), StatusIs(absl::StatusCode::kInvalidArgument,
                                   HasSubstr("tensor blk.0.attn_q.weight has shape [64, 64")));
}

TEST_F(TransformerLoadTest, NamesATypeNoKernelReads) {
  GgufWriter file = Write({});
  GgufWriter::Tensor& tensor = file.Find("blk.1.ffn_down.weight");
  tensor.type = static_cast<uint32_t>(QuantType::kI8);
  EXPECT_THAT(Load(file), StatusIs(absl::StatusCode::kUnimplemented,
                                   testing::AllOf(HasSubstr("tensor blk.1.ffn_down.weight"),
                                                  HasSubstr("i8"), HasSubstr("q4_k"))));
  file = Write({});
  file.Find("blk.0.attn_norm.weight").type = static_cast<uint32_t>(QuantType::kF16);
  EXPECT_THAT(Load(file), StatusIs(absl::StatusCode::kUnimplemented,
                                   "tensor blk.0.attn_norm.weight is of type f16; expected f32"));
}

TEST_F(TransformerLoadTest, RefusesHeadsNoKernelReads) {
  EXPECT_THAT(Load(Write({.head_dim = 40, .rope_dim = 40})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("head_dim=40")));
  GgufWriter file = Write({});
  file.Set("llama.attention.value_length", U32(64));
  EXPECT_THAT(Load(file), StatusIs(absl::StatusCode::kUnimplemented,
                                   "heads with keys of 32 and values of 64 elements"));
}

TEST_F(TransformerLoadTest, RefusesBrokenRopeFactors) {
  GgufWriter file = Write({.rope_factors = true});
  file.Find("rope_freqs.weight").dims = {15};
  EXPECT_THAT(Load(file),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "tensor rope_freqs.weight has 15 elements of type f32; expected 16 of f32"));
  file = Write({.rope_factors = true});
  const float bad = -1;
  std::memcpy(file.data.data() + file.Find("rope_freqs.weight").offset, &bad, sizeof bad);
  EXPECT_THAT(Load(file), StatusIs(absl::StatusCode::kDataLoss, "rope_freqs.weight holds -1"));
}

// The factors that hold are those of the context, as a file would rotate that has no others.
TEST_F(TransformerLoadTest, TheContextChoosesAmongLongropeFactors) {
  const GgufWriter file = Write({.longrope = true});
  std::vector<uint8_t> of_short;
  for (const uint32_t context : {8, 9}) {
    SCOPED_TRACE(context);
    GgufWriter one = file;
    one.Remove("llama.rope.scaling.type");
    one.Find(context > 8 ? "rope_factors_long.weight" : "rope_factors_short.weight").name =
        "rope_freqs.weight";
    std::vector<std::vector<float>> logits;
    for (const GgufWriter& writer : {file, one}) {
      ASSERT_OK_AND_ASSIGN(const auto model, Load(writer, {.context = context}));
      for (TokenId token = 0; token < 8; ++token) ASSERT_OK(model->Step(token, true));
      ASSERT_OK_AND_ASSIGN(const auto last, model->Logits());
      logits.emplace_back(last.begin(), last.end());
      if (context == 8) {
        ASSERT_OK_AND_ASSIGN(of_short, model->Save());
      } else {
        model->Reset();
        EXPECT_THAT(model->Restore(of_short), StatusIs(absl::StatusCode::kInvalidArgument));
      }
    }
    EXPECT_EQ(logits[0], logits[1]);
  }
}

TEST_F(TransformerLoadTest, ReportsTheProgressOfTheUpload) {
  const std::string bytes = Write({}).Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  uint64_t last = 0, total = 0;
  TransformerOptions options;
  options.progress = [&](uint64_t done, uint64_t all) {
    EXPECT_GT(done, last);
    last = done;
    total = all;
  };
  ASSERT_OK(Transformer::Load(file, *cache_, options));
  EXPECT_EQ(last, total);
  uint64_t tensor_bytes = 0;
  for (const GgufTensor& tensor : file.tensors()) tensor_bytes += tensor.data.size();
  EXPECT_EQ(total, tensor_bytes);
}

}  // namespace
}  // namespace ptxsmith

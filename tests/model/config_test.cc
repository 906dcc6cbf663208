#include "model/config.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "tests/model/gguf_writer.h"
#include "tests/util/files.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

absl::StatusOr<ModelConfig> Read(const GgufWriter& w) {
  const std::string bytes = w.Build();
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  return ModelConfig::FromGguf(file);
}

TEST(ModelConfigTest, BundledModel) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Open(TestPath("data/sample-q4_k_m.gguf")));
  ASSERT_OK_AND_ASSIGN(const ModelConfig c, ModelConfig::FromGguf(file));
  EXPECT_EQ(c.architecture, "llama");
  EXPECT_EQ(c.block_count, 6u);
  EXPECT_EQ(c.context_length, 512u);
  EXPECT_EQ(c.embedding_length, 256u);
  EXPECT_EQ(c.feed_forward_length, 768u);
  EXPECT_EQ(c.vocab_size, 4096u);
  EXPECT_EQ(c.head_count, 4u);
  EXPECT_EQ(c.head_count_kv, 2u);
  EXPECT_EQ(c.head_dim, 64u);
  EXPECT_EQ(c.value_length, 64u);
  EXPECT_EQ(c.rope_dim, 64u);
  EXPECT_EQ(c.rope_pairing, RopePairing::kAdjacent);
  EXPECT_EQ(c.rope_freq_base, 10000.0f);
  EXPECT_THAT(c.rope_divisors, testing::AllOf(testing::SizeIs(32), testing::Each(1.0f)));
  EXPECT_EQ(c.rms_eps, 1e-5f);
  EXPECT_EQ(c.attention_scale, 0.125f);
  EXPECT_EQ(c.WindowOf(0), 0u);
}

TEST(ModelConfigTest, Defaults) {
  GgufWriter w = TinyModel();
  w.Remove("llama.attention.head_count_kv").Remove("llama.rope.freq_base");
  ASSERT_OK_AND_ASSIGN(const ModelConfig c, Read(w));
  EXPECT_EQ(c.head_count_kv, 4u);
  EXPECT_EQ(c.head_dim, 16u);
  EXPECT_EQ(c.value_length, 16u);
  EXPECT_EQ(c.rope_dim, 16u);
  EXPECT_EQ(c.rope_freq_base, 10000.0f);
  EXPECT_EQ(c.vocab_size, kTinyVocab);
}

TEST(ModelConfigTest, VocabularyWithoutTokens) {
  GgufWriter w = TinyModel();
  w.Remove("tokenizer.ggml.tokens");
  EXPECT_THAT(Read(w), StatusIs(StatusCode::kNotFound, HasSubstr("llama.vocab_size")));
  w.Set("llama.vocab_size", U32(1024));
  ASSERT_OK_AND_ASSIGN(const ModelConfig c, Read(w));
  EXPECT_EQ(c.vocab_size, 1024u);
}

TEST(ModelConfigTest, RopeScaling) {
  GgufWriter w = TinyModel();
  w.Set("llama.rope.scaling.factor", F32(4));
  ASSERT_OK_AND_ASSIGN(const ModelConfig linear, Read(w));
  EXPECT_THAT(linear.rope_divisors, testing::AllOf(testing::SizeIs(8), testing::Each(4.0f)));
  EXPECT_EQ(linear.attention_scale, 0.25f);
  // Queries and keys that grow show in the scores.
  w.Set("llama.rope.scaling.attn_factor", F32(2));
  ASSERT_OK_AND_ASSIGN(const ModelConfig grown, Read(w));
  EXPECT_EQ(grown.attention_scale, 1.0f);
  w.Set("llama.rope.dimension_count", U32(8));
  EXPECT_THAT(Read(w), StatusIs(StatusCode::kUnimplemented, HasSubstr("8 of 16 elements")));
  EXPECT_THAT(Read(TinyModel().Set("llama.rope.scaling.type", Str("dynamic"))),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("'dynamic'")));
}

TEST(ModelConfigTest, PlainBlocks) {
  const auto check = [](const GgufWriter& w) {
    const absl::StatusOr<ModelConfig> c = Read(w);
    return c.ok() ? c->CheckPlainBlocks() : c.status();
  };
  EXPECT_OK(check(TinyModel()));
  EXPECT_OK(check(TinyModel().Retarget("qwen2")));
  EXPECT_THAT(check(TinyModel().Retarget("qwen3")),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("norms of queries")));
  EXPECT_THAT(check(TinyModel().Retarget("gemma2")),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("SwiGLU")));
  EXPECT_THAT(
      check(TinyModel().Retarget("phi2").Set("phi2.attention.layer_norm_epsilon", F32(1e-5f))),
      StatusIs(StatusCode::kUnimplemented, HasSubstr("layer norms")));
  EXPECT_THAT(check(TinyModel().Set("llama.attention.sliding_window", U32(8))),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("sliding window")));
  EXPECT_THAT(check(TinyModel().Set("llama.rope.scaling.attn_factor", F32(2))),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("scale of scores")));
}

TEST(ModelConfigTest, OneValuePerBlock) {
  GgufWriter w = TinyModel();
  w.Set("llama.block_count", U32(3));
  w.Set("llama.attention.head_count_kv", Array<int32_t>(5, {2, 2, 2}));
  ASSERT_OK_AND_ASSIGN(const ModelConfig c, Read(w));
  EXPECT_EQ(c.head_count_kv, 2u);
  w.Set("llama.attention.head_count_kv", Array<int32_t>(5, {2, 4, 2}));
  EXPECT_THAT(Read(w), StatusIs(StatusCode::kUnimplemented, HasSubstr("differs between blocks")));
  w.Set("llama.attention.head_count_kv", Array<int32_t>(5, {2, 2}));
  EXPECT_THAT(Read(w), StatusIs(StatusCode::kDataLoss, HasSubstr("2 elements for 3 blocks")));
  w.Set("llama.attention.head_count_kv", Array<int32_t>(5, {-2, -2, -2}));
  EXPECT_THAT(Read(w), StatusIs(StatusCode::kDataLoss, HasSubstr("-2")));
  w.Set("llama.block_count", Array<int32_t>(5, {1}));
  EXPECT_FALSE(Read(w).ok());
}

TEST(ModelConfigTest, RequiredKeys) {
  for (const char* key : {"general.architecture", "llama.block_count", "llama.context_length",
                          "llama.embedding_length", "llama.feed_forward_length",
                          "llama.attention.head_count", "llama.attention.layer_norm_rms_epsilon"}) {
    EXPECT_THAT(Read(TinyModel().Remove(key)), StatusIs(StatusCode::kNotFound, HasSubstr(key)));
  }
}

TEST(ModelConfigTest, KeysOfTheWrongKind) {
  for (const char* key :
       {"general.architecture", "llama.block_count", "llama.context_length",
        "llama.embedding_length", "llama.feed_forward_length", "llama.attention.head_count",
        "llama.attention.head_count_kv", "llama.attention.layer_norm_rms_epsilon",
        "llama.attention.key_length", "llama.attention.value_length", "llama.rope.dimension_count",
        "llama.rope.freq_base", "llama.rope.scaling.type", "llama.rope.scaling.factor",
        "llama.vocab_size", "llama.expert_count"}) {
    EXPECT_THAT(Read(TinyModel().Set(key, Bool(1))),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(key)));
  }
}

TEST(ModelConfigTest, ImpossibleCounts) {
  const std::pair<const char*, std::vector<uint32_t>> rows[] = {
      {"llama.block_count", {0, 1025, 1u << 31}},
      {"llama.context_length", {0, 1u << 31}},
      {"llama.embedding_length", {0, 63, 65, 1u << 31}},
      {"llama.feed_forward_length", {0, 1u << 31}},
      {"llama.attention.head_count", {0, 3, 5, 1u << 31}},
      {"llama.attention.head_count_kv", {0, 3, 8, 1u << 31}},
      {"llama.attention.key_length", {0, 1, 257, 1u << 31}},  // odd ones leave no even rope_dim
      {"llama.attention.value_length", {0, 1u << 31}},
      {"llama.rope.dimension_count", {0, 15, 18, 1u << 31}},
      {"llama.vocab_size", {0, 260, 262, 1u << 31}},
  };
  for (const auto& [key, values] : rows) {
    for (const uint32_t value : values) {
      EXPECT_THAT(Read(TinyModel().Set(key, U32(value))), StatusIs(StatusCode::kDataLoss))
          << key << " = " << value;
    }
  }
}

TEST(ModelConfigTest, ImpossibleNumbers) {
  for (const char* key : {"llama.attention.layer_norm_rms_epsilon", "llama.rope.freq_base",
                          "llama.rope.scaling.factor", "llama.rope.scale_linear"}) {
    for (const float value : {0.0f, -1.0f, INFINITY, -INFINITY, NAN}) {
      EXPECT_THAT(Read(TinyModel().Set(key, F32(value))),
                  StatusIs(StatusCode::kDataLoss, HasSubstr(key)))
          << value;
    }
  }
}

GgufWriter As(const std::string& architecture) { return TinyModel().Retarget(architecture); }

TEST(ModelConfigTest, WhatArchitecturesAdd) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig qwen2, Read(As("qwen2")));
  EXPECT_TRUE(qwen2.qkv_bias);
  EXPECT_FALSE(qwen2.output_bias);
  EXPECT_EQ(qwen2.rope_pairing, RopePairing::kHalfSplit);

  GgufWriter w = As("qwen3");
  w.Set("qwen3.attention.key_length", U32(32)).Set("qwen3.attention.value_length", U32(32));
  ASSERT_OK_AND_ASSIGN(const ModelConfig qwen3, Read(w));
  EXPECT_TRUE(qwen3.qk_norm);
  EXPECT_FALSE(qwen3.qkv_bias);
  EXPECT_EQ(qwen3.head_dim, 32u);

  EXPECT_THAT(Read(As("phi2")),
              StatusIs(StatusCode::kNotFound, HasSubstr("phi2.attention.layer_norm_epsilon")));
  w = As("phi2").Set("phi2.attention.layer_norm_epsilon", F32(1e-6f));
  ASSERT_OK_AND_ASSIGN(const ModelConfig phi2, Read(w));
  EXPECT_EQ(phi2.norm, NormKind::kLayer);
  EXPECT_EQ(phi2.rms_eps, 1e-6f);
  EXPECT_EQ(phi2.feed_forward, FeedForward::kGelu);
  EXPECT_TRUE(phi2.parallel_block);
  EXPECT_TRUE(phi2.output_bias);
}

TEST(ModelConfigTest, Gemma2) {
  ASSERT_OK_AND_ASSIGN(const ModelConfig c, Read(As("gemma2")));
  EXPECT_EQ(c.feed_forward, FeedForward::kGeGlu);
  EXPECT_TRUE(c.post_norms);
  EXPECT_EQ(c.embedding_scale, 8.0f);
  EXPECT_EQ(c.attention_scale, 0.25f);
  EXPECT_EQ(c.attention_softcap, 50.0f);
  EXPECT_EQ(c.logit_softcap, 30.0f);
  EXPECT_EQ(c.WindowOf(0), 4096u);
  EXPECT_EQ(c.WindowOf(1), 0u);
  EXPECT_EQ(c.WindowOf(2), 4096u);

  GgufWriter w = As("gemma2");
  w.Set("gemma2.attention.sliding_window", U32(7)).Set("gemma2.attn_logit_softcapping", F32(20));
  w.Set("gemma2.final_logit_softcapping", F32(10)).Set("gemma2.block_count", U32(46));
  w.Set("gemma2.attention.key_length", U32(64)).Set("gemma2.attention.value_length", U32(64));
  ASSERT_OK_AND_ASSIGN(const ModelConfig large, Read(w));
  EXPECT_EQ(large.WindowOf(0), 7u);
  EXPECT_EQ(large.attention_softcap, 20.0f);
  EXPECT_EQ(large.logit_softcap, 10.0f);
  EXPECT_EQ(large.attention_scale, 0.25f) << "by the embedding's share";
  for (const char* key : {"gemma2.attn_logit_softcapping", "gemma2.final_logit_softcapping"}) {
    EXPECT_THAT(Read(As("gemma2").Set(key, F32(-1))),
                StatusIs(StatusCode::kDataLoss, HasSubstr(key)));
  }
  EXPECT_THAT(Read(As("gemma2").Set("gemma2.attention.sliding_window", U32(0))),
              StatusIs(StatusCode::kDataLoss, HasSubstr("sliding_window")));
}

TEST(ModelConfigTest, UnsupportedModels) {
  EXPECT_THAT(Read(TinyModel().Set("general.architecture", Str("mamba"))),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("'mamba'")));
  EXPECT_THAT(Read(TinyModel().Set("llama.expert_count", U32(8))),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("expert_count = 8")));
  EXPECT_OK(Read(TinyModel().Set("llama.expert_count", U32(0))));
  EXPECT_THAT(Read(TinyModel().Set("split.count", Value(2, uint16_t{3}))),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("split.count = 3")));
}

}  // namespace
}  // namespace ptxsmith

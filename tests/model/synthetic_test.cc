#include "model/synthetic.h"

#include <string>

#include "gtest/gtest.h"
#include "model/config.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

TEST(SyntheticTest, TheShapesAreThoseOfTheModels) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, SyntheticModel("llama3-8b:q4_k_m"));
  ASSERT_OK_AND_ASSIGN(const ModelConfig config, ModelConfig::FromGguf(file));
  EXPECT_EQ(config.block_count, 32u);
  EXPECT_EQ(config.embedding_length, 4096u);
  EXPECT_EQ(config.head_count_kv, 8u);
  EXPECT_EQ(config.vocab_size, 128256u);
  uint64_t weights = 0;
  int six_bits = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    weights += tensor.elements();
    six_bits += tensor.type == QuantType::kQ6K;
  }
  EXPECT_EQ(weights, 8030261248u);  // as it is published, without the 64 rope frequencies
  EXPECT_EQ(six_bits, 1 + 2 * 16);
  EXPECT_EQ(file.FindTensor("blk.31.ffn_down.weight")->data[12345], 0);
}

TEST(SyntheticTest, EveryNameWorksAndOthersAreRefused) {
  for (const std::string& name : SyntheticModelNames()) EXPECT_OK(SyntheticModel(name)) << name;
  EXPECT_THAT(
      SyntheticModel("gpt-9:q4_k_m"),
      StatusIs(absl::StatusCode::kInvalidArgument,
               testing::HasSubstr("unknown model 'gpt-9:q4_k_m'; known: llama3-8b:q4_k_m")));
}

}  // namespace
}  // namespace ptxsmith

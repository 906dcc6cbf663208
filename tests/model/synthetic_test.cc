#include "model/synthetic.h"

#include <cmath>

#include "gtest/gtest.h"
#include "model/config.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/reference/decode.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

TEST(SyntheticTest, ShapesAreThoseOfTheirNames) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file, SyntheticModel("llama3-8b:q4_k_m"));
  ASSERT_OK_AND_ASSIGN(const ModelConfig config, ModelConfig::FromGguf(file));
  EXPECT_EQ(config.block_count, 32u);
  EXPECT_EQ(config.head_count_kv, 8u);
  uint64_t elements = 0, bytes = 0;
  for (const GgufTensor& tensor : file.tensors()) {
    elements += tensor.elements();
    bytes += tensor.data.size();
  }
  EXPECT_EQ(elements, 8030261248u);  // of Llama-3.1-8B
  EXPECT_NEAR(static_cast<double>(bytes), 4.913e9, 1e7);
}

TEST(SyntheticTest, UnknownNamesAreRefusedWithTheKnownOnes) {
  EXPECT_THAT(SyntheticModel("llama9-1b:q4_k_m"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       testing::AllOf(HasSubstr("unknown model 'llama9-1b:q4_k_m'"),
                                      HasSubstr("llama3-8b:q4_k_m"))));
}

TEST(SyntheticTest, RandomWeightsAreLegalAndOfUsualSize) {
  ASSERT_OK_AND_ASSIGN(const GgufFile file,
                       SyntheticModel("tiny:q4_k_m", SyntheticWeights::kRandom));
  for (const GgufTensor& tensor : file.tensors()) {
    SCOPED_TRACE(std::string(tensor.name));
    double squares = 0;
    size_t count = 0;
    for (const reference::Weight& weight : reference::Decode(tensor.type, tensor.data)) {
      ASSERT_TRUE(std::isfinite(weight.value));
      squares += double{weight.value} * weight.value;
      ++count;
    }
    const double rms = std::sqrt(squares / static_cast<double>(count));
    EXPECT_GT(rms, tensor.type == QuantType::kF32 ? 0.9 : 0.005);
    EXPECT_LT(rms, tensor.type == QuantType::kF32 ? 1.1 : 0.1);
  }
}

}  // namespace
}  // namespace ptxsmith

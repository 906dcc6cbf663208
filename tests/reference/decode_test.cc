#include "tools/fuzz/reference/decode.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/util/files.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith::reference {
namespace {

std::vector<QuantType> DecodableTypes() {
  std::vector<QuantType> types;
  for (const QuantTypeInfo& info : AllQuantTypes()) {
    if (CanDecode(info.type)) types.push_back(info.type);
  }
  return types;
}

// ggml has no block decoder for plain f32 and f16, hence no golden data.
std::vector<QuantType> GoldenTypes() {
  std::vector<QuantType> types = DecodableTypes();
  std::erase(types, QuantType::kF32);
  std::erase(types, QuantType::kF16);
  return types;
}

std::string NameOf(const testing::TestParamInfo<QuantType>& test) {
  return std::string(ToString(test.param));
}

class DecodeGoldenTest : public testing::TestWithParam<QuantType> {};
class DecodeTest : public testing::TestWithParam<QuantType> {};

// data/golden_blocks/TYPE.blocks: two rows of 1024 weights from ggml's encoder, two of random
// bytes; TYPE.f32: ggml's decoding of them.
TEST_P(DecodeGoldenTest, EqualsGgmlBitForBit) {
  const std::string name(ToString(GetParam()));
  const std::string blocks = ReadTestFile("data/golden_blocks/" + name + ".blocks");
  const std::string want = ReadTestFile("data/golden_blocks/" + name + ".f32");
  const std::vector<Weight> got =
      Decode(GetParam(), {reinterpret_cast<const uint8_t*>(blocks.data()), blocks.size()});
  ASSERT_GE(got.size(), 1024u);
  ASSERT_EQ(got.size() * sizeof(float), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    float expected;
    std::memcpy(&expected, want.data() + i * sizeof(float), sizeof(float));
    ASSERT_EQ(std::memcmp(&got[i].value, &expected, sizeof(float)), 0)
        << "weight " << i << ": " << got[i].value << " instead of " << expected;
  }
}

TEST_P(DecodeTest, RandomBlocksAreFiniteAndWithinTheirMagnitude) {
  for (Values values : kAllValues) {
    Rng rng(7);
    for (const Weight& w : Decode(GetParam(), rng.Blocks(GetParam(), 64, values))) {
      ASSERT_TRUE(std::isfinite(w.value)) << ToString(values);
      ASSERT_LE(std::fabs(w.value), w.magnitude) << ToString(values);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, DecodeGoldenTest, testing::ValuesIn(GoldenTypes()), NameOf);
INSTANTIATE_TEST_SUITE_P(Types, DecodeTest, testing::ValuesIn(DecodableTypes()), NameOf);

}  // namespace
}  // namespace ptxsmith::reference

// The references of attention.h, and the cap of ops.h, against closed forms.
#include "tools/fuzz/reference/attention.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/util/expect_close.h"
#include "tools/fuzz/reference/decode.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith::reference {
namespace {

TEST(AttentionTest, Q8_0StoresWithinHalfAStep) {
  for (Values values : {Values::kNormal, Values::kHeavyTailed, Values::kLargest}) {
    const std::vector<float> x = Rng(3).Floats(values, 640);
    const std::vector<uint8_t> bytes = AppendQ8_0(x);
    ASSERT_EQ(bytes.size(), 20u * 34);
    const std::vector<Weight> y = Decode(QuantType::kQ8_0, bytes);
    for (size_t block = 0; block < x.size(); block += 32) {
      float largest = 0;
      for (size_t i = 0; i < 32; ++i) largest = std::max(largest, std::fabs(x[block + i]));
      // Half a step, and the rounding of the scale to 11 bits.
      const double bound = largest / 127.0 * 0.501 + largest * 0x1p-11;
      for (size_t i = 0; i < 32; ++i) EXPECT_NEAR(y[block + i].value, x[block + i], bound);
    }
  }
}

TEST(AttentionTest, Q8_0OfKnownNumbers) {
  std::vector<float> x(32, 0.0f);
  x[0] = 127, x[1] = -127, x[2] = 0.5f, x[3] = 1.5f, x[4] = -64;
  const std::vector<uint8_t> bytes = AppendQ8_0(x);
  EXPECT_EQ(bytes[0] | bytes[1] << 8, 0x3c00);  // 1.0
  EXPECT_EQ((std::vector<int8_t>(bytes.begin() + 2, bytes.begin() + 8)),
            (std::vector<int8_t>{127, -127, 0, 2, -64, 0}));
  // A scale below the least half leaves nothing.
  for (uint8_t byte : AppendQ8_0(std::vector<float>(32, 1e-8f))) EXPECT_EQ(byte, 0);
}

TEST(AttentionTest, TheCapBoundsTheScores) {
  const std::vector<float> q = {1}, k = {1000, -1000, 0}, v = {1, 2, 4};
  AttentionShape shape{.heads = 1, .kv_heads = 1, .head_dim = 1, .scale = 1, .softcap = 2};
  const double e = std::exp(2.0);
  EXPECT_NEAR(Attention(q, k, v, shape).value[0], (e + 2 / e + 4) / (e + 1 / e + 1), 1e-12);
  shape.softcap = 0;
  EXPECT_NEAR(Attention(q, k, v, shape).value[0], 1, 1e-12);
}

TEST(AttentionTest, PartsJoinToTheWhole) {
  // Scores 0, log 2 and log 3 with values 1, 2, 3: (1 + 4 + 9) / 6, and a part without positions.
  const auto part = [](float sum, double best, float weights) {
    return std::vector<float>{sum, static_cast<float>(best), weights};
  };
  std::vector<float> parts;
  for (const std::vector<float>& p :
       {part(1, 0, 1), part(0, -INFINITY, 0), part(3 + 4.0f / 3, std::log(3.0), 1 + 2.0f / 3)}) {
    parts.insert(parts.end(), p.begin(), p.end());
  }
  EXPECT_NEAR(JoinPartials(parts, 1, 3).value[0], 14.0 / 6, 1e-6);
  EXPECT_EQ(JoinPartials(part(0, -INFINITY, 0), 1, 1).value[0], 0);
}

}  // namespace
}  // namespace ptxsmith::reference

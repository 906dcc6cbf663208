#include "model/rope_scaling.h"

#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "tests/model/gguf_writer.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using absl::StatusCode;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;

absl::StatusOr<RopeScaling> Read(const GgufWriter& w,
                                 const RopeShape& shape = {4, 1e4f, 128, 128}) {
  const std::string bytes = w.Build();
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  return ReadRopeScaling(file, "llama.", shape);
}

GgufWriter WithFactors(const std::vector<float>& factors,
                       const std::string& name = "rope_freqs.weight",
                       const GgufWriter& to = GgufWriter()) {
  std::string bytes;
  for (const float factor : factors) bytes += Raw(factor);
  return GgufWriter(to).AddTensor(name, {factors.size()}, 0, bytes);
}

TEST(RopeScalingTest, Linear) {
  ASSERT_OK_AND_ASSIGN(const RopeScaling none, Read(GgufWriter()));
  EXPECT_THAT(none.divisors, ElementsAre(1, 1));
  EXPECT_EQ(none.magnitude, 1);
  ASSERT_OK_AND_ASSIGN(const RopeScaling linear,
                       Read(GgufWriter().Set("llama.rope.scaling.factor", F32(4))));
  EXPECT_THAT(linear.divisors, ElementsAre(4, 4));
  ASSERT_OK_AND_ASSIGN(const RopeScaling legacy,
                       Read(GgufWriter().Set("llama.rope.scale_linear", F32(2))));
  EXPECT_THAT(legacy.divisors, ElementsAre(2, 2));
  ASSERT_OK_AND_ASSIGN(const RopeScaling off, Read(GgufWriter()
                                                       .Set("llama.rope.scaling.type", Str("none"))
                                                       .Set("llama.rope.scaling.factor", F32(4))));
  EXPECT_THAT(off.divisors, ElementsAre(1, 1));
}

TEST(RopeScalingTest, FactorsOfTheFile) {
  ASSERT_OK_AND_ASSIGN(const RopeScaling s,
                       Read(WithFactors({1.5f, 8}).Set("llama.rope.scaling.factor", F32(2))));
  EXPECT_THAT(s.divisors, ElementsAre(3, 16));
  EXPECT_THAT(Read(WithFactors({1})),
              StatusIs(StatusCode::kInvalidArgument,
                       "tensor rope_freqs.weight has 1 elements of type f32; expected 2 of f32"));
  for (const float bad : {0.0f, -1.0f, NAN, INFINITY}) {
    EXPECT_THAT(Read(WithFactors({1, bad})),
                StatusIs(StatusCode::kDataLoss, HasSubstr("rope_freqs.weight holds ")));
  }
}

// Qwen 2.5 with its published setting: by hand, the ramp goes from pair 23 to pair 40.
TEST(RopeScalingTest, Yarn) {
  const GgufWriter w = GgufWriter()
                           .Set("llama.rope.scaling.type", Str("yarn"))
                           .Set("llama.rope.scaling.factor", F32(4))
                           .Set("llama.rope.scaling.original_context_length", U32(32768));
  ASSERT_OK_AND_ASSIGN(const RopeScaling s, Read(w, {128, 1e6f, 131072, 4096}));
  ASSERT_EQ(s.divisors.size(), 64u);
  const std::vector<float> stay(s.divisors.begin(), s.divisors.begin() + 24);
  EXPECT_THAT(stay, Each(1.0f));
  const std::vector<float> stretched(s.divisors.begin() + 40, s.divisors.end());
  EXPECT_THAT(stretched, Each(4.0f));
  EXPECT_NEAR(s.divisors[31], 1 / (8.0 / 17 / 4 + 9.0 / 17), 1e-6);
  EXPECT_NEAR(s.magnitude, 1 + 0.1 * std::log(4.0), 1e-6);
}

// The short factors hold up to the original context, whatever the file calls the kind.
TEST(RopeScalingTest, Longrope) {
  GgufWriter w = WithFactors({8, 16}, "rope_factors_long.weight",
                             WithFactors({1, 2}, "rope_factors_short.weight"));
  w.Set("llama.rope.scaling.attn_factor", F32(1.25f));
  w.Set("llama.rope.scaling.original_context_length", U32(64));
  for (const bool named : {false, true}) {
    if (named) w.Set("llama.rope.scaling.type", Str("longrope"));
    ASSERT_OK_AND_ASSIGN(const RopeScaling original, Read(w, {4, 1e4f, 128, 64}));
    EXPECT_THAT(original.divisors, ElementsAre(1, 2));
    EXPECT_EQ(original.magnitude, 1.25f);
    ASSERT_OK_AND_ASSIGN(const RopeScaling larger, Read(w, {4, 1e4f, 128, 65}));
    EXPECT_THAT(larger.divisors, ElementsAre(8, 16));
    EXPECT_EQ(larger.magnitude, 1.25f);
  }
  EXPECT_THAT(Read(GgufWriter().Set("llama.rope.scaling.type", Str("longrope"))),
              StatusIs(StatusCode::kNotFound, "tensor rope_factors_short.weight is missing"));
  EXPECT_THAT(Read(WithFactors({1}, "rope_factors_short.weight")),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("has 1 elements")));
}

TEST(RopeScalingTest, RefusesWhatItCannotDo) {
  EXPECT_THAT(Read(GgufWriter().Set("llama.rope.scaling.type", Str("dynamic"))),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("'dynamic'")));
  for (const char* key : {"scaling.factor", "scaling.attn_factor", "scale_linear",
                          "scaling.yarn_beta_fast", "scaling.yarn_beta_slow"}) {
    const std::string name = std::string("llama.rope.") + key;
    for (const float bad : {0.0f, -1.0f, NAN, INFINITY}) {
      EXPECT_THAT(
          Read(GgufWriter().Set("llama.rope.scaling.type", Str("yarn")).Set(name, F32(bad))),
          StatusIs(StatusCode::kDataLoss, HasSubstr(name)));
    }
  }
  EXPECT_THAT(Read(GgufWriter()
                       .Set("llama.rope.scaling.type", Str("yarn"))
                       .Set("llama.rope.scaling.original_context_length", U32(0))),
              StatusIs(StatusCode::kDataLoss, HasSubstr("original_context_length")));
}

}  // namespace
}  // namespace ptxsmith

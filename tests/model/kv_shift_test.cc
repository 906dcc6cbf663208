// Positions that a sequence forgets. With one layer keys and values depend on their own token
// alone, so what is left must be as if the forgotten tokens had never been run.
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "model/transformer.h"
#include "tests/model/emulator_test.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

struct Shape {
  const char* name;
  RandomModel model;
  QuantType cache = QuantType::kF16;
  double tolerance = 3e-3;  // of the largest logit: keys are rounded once more
};

class KvShiftTest : public EmulatorTest, public testing::WithParamInterface<Shape> {
 protected:
  absl::StatusOr<std::unique_ptr<Transformer>> LoadShape() {
    RandomModel shape = GetParam().model;
    shape.blocks = 1;
    return Load(Write(shape), {.slots = 2, .kv_type = GetParam().cache});
  }
};

TEST_P(KvShiftTest, LeavesWhatFollowsAsIfTheRestHadNotBeen) {
  constexpr uint32_t kKeep = 2, kLength = 15;
  ASSERT_OK_AND_ASSIGN(const auto shifted, LoadShape());
  ASSERT_OK_AND_ASSIGN(const auto fresh, LoadShape());
  Rng rng(11);
  std::vector<TokenId> tokens(kLength);
  for (TokenId& token : tokens) token = rng.Below(kTinyVocab);
  for (const uint32_t drop : {1u, 6u, 12u, 13u}) {
    SCOPED_TRACE(absl::StrCat("drop ", drop));
    for (Transformer* model : {shifted.get(), fresh.get()}) {
      ASSERT_OK(model->Select(1));
      model->Reset();
    }
    for (uint32_t i = 0; i < kLength; ++i) {
      ASSERT_OK(shifted->Step(tokens[i], /*want_logits=*/false));
      if (i >= kKeep && i < kKeep + drop) continue;
      ASSERT_OK(fresh->Step(tokens[i], /*want_logits=*/false));
    }
    ASSERT_OK(shifted->Shift(kKeep, drop));
    ASSERT_EQ(shifted->length(), fresh->length());
    for (const TokenId token : {9u, 30u}) {
      ASSERT_OK(shifted->Step(token, /*want_logits=*/true));
      ASSERT_OK(fresh->Step(token, /*want_logits=*/true));
      ASSERT_OK_AND_ASSIGN(const auto got, shifted->Logits());
      ASSERT_OK_AND_ASSIGN(const auto want, fresh->Logits());
      double worst = 0, scale = 0;
      for (size_t i = 0; i < want.size(); ++i) {
        worst = std::max(worst, std::fabs(double{got[i]} - want[i]));
        scale = std::max(scale, std::fabs(double{want[i]}));
      }
      EXPECT_LE(worst, GetParam().tolerance * scale);
    }
  }
}

TEST_P(KvShiftTest, RefusesWhatIsNotThere) {
  ASSERT_OK_AND_ASSIGN(const auto model, LoadShape());
  for (TokenId token : {1u, 2u, 3u}) ASSERT_OK(model->Step(token, /*want_logits=*/true));
  EXPECT_THAT(model->Shift(1, 3),
              StatusIs(absl::StatusCode::kOutOfRange,
                       HasSubstr("drop 3 positions after 1: the sequence has 3")));
  EXPECT_THAT(model->Shift(4, 0), StatusIs(absl::StatusCode::kOutOfRange, HasSubstr("after 4")));
  EXPECT_EQ(model->length(), 3u);
  EXPECT_OK(model->Greedy()) << "nothing has changed";
  ASSERT_OK(model->Shift(1, 2));
  EXPECT_EQ(model->length(), 1u);
  EXPECT_THAT(model->Greedy(), StatusIs(absl::StatusCode::kFailedPrecondition));
}

INSTANTIATE_TEST_SUITE_P(
    , KvShiftTest,
    testing::Values(Shape{"Adjacent", {}}, Shape{"HalfSplit", {.architecture = "qwen2", .seed = 2}},
                    Shape{"PartOfAHead", {.head_dim = 64, .rope_dim = 20, .seed = 3}},
                    Shape{"Factors", {.rope_factors = true, .seed = 4}},
                    Shape{"Yarn", {.yarn = true, .seed = 5}},
                    Shape{"Q8_0", {.seed = 6}, QuantType::kQ8_0, 5e-2}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace ptxsmith

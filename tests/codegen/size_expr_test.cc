#include "codegen/size_expr.h"

#include "gtest/gtest.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

constexpr uint64_t kMax = UINT64_MAX;

TEST(SizeExprTest, ConstantsFold) {
  EXPECT_EQ(SizeExpr().constant(), 0u);
  EXPECT_EQ((SizeExpr(3) * 4 + 5).constant(), 17u);
  EXPECT_EQ(CeilDiv(SizeExpr(9), 4).constant(), 3u);
  EXPECT_EQ(CeilDiv(SizeExpr(8), 4).constant(), 2u);
  EXPECT_EQ(CeilDiv(SizeExpr(0), 4).constant(), 0u);
  EXPECT_EQ(CeilDiv(SizeExpr(kMax), 2).constant(), kMax / 2 + 1);  // no overflow on the way
}

TEST(SizeExprTest, Parameters) {
  const SizeExpr n = SizeExpr::Param(1);
  const SizeExpr bytes = CeilDiv(n, 256) * 144 + SizeExpr::Param(0) * n;
  EXPECT_EQ(bytes.constant(), std::nullopt);
  EXPECT_TRUE(bytes.Uses(0) && bytes.Uses(1));
  EXPECT_FALSE(bytes.Uses(2) || bytes.Uses(144));
  EXPECT_THAT(bytes.Evaluate({2, 257}), IsOkAndHolds(2u * 144 + 2 * 257));
  EXPECT_THAT(CeilDiv(100, n).Evaluate({0, 7}), IsOkAndHolds(15u));
}

TEST(SizeExprTest, Errors) {
  const SizeExpr n = SizeExpr::Param(0);
  const auto error = [](const char* text) {
    return StatusIs(absl::StatusCode::kInvalidArgument, text);
  };
  EXPECT_THAT((n + 1).Evaluate({kMax}), error("size expression overflows 64 bits"));
  EXPECT_THAT((n * 2).Evaluate({kMax / 2 + 1}), error("size expression overflows 64 bits"));
  EXPECT_THAT(CeilDiv(1, n).Evaluate({0}), error("size expression divides by zero"));
  EXPECT_THAT(SizeExpr::Param(2).Evaluate({1, 2}), error("size expression uses parameter 2 of 2"));
  EXPECT_THAT((n + 1).Evaluate({kMax - 1}), IsOkAndHolds(kMax));
}

TEST(SizeExprTest, ConstantOverflowIsFoundWhenEvaluated) {
  const SizeExpr product = SizeExpr(kMax) * 2;
  EXPECT_EQ(product.constant(), std::nullopt);
  EXPECT_THAT(product.Evaluate({}),
              StatusIs(absl::StatusCode::kInvalidArgument, "size expression overflows 64 bits"));
}

}  // namespace
}  // namespace ptxsmith

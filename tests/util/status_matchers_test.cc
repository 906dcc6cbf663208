#include "tests/util/status_matchers.h"

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gtest/gtest-spi.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;
using testing::Not;

absl::StatusOr<int> Half(int n) {
  if (n % 2 != 0) return absl::InvalidArgumentError("n=" + std::to_string(n) + " is odd");
  return n / 2;
}

TEST(StatusMatchersTest, TellOkFromErrors) {
  EXPECT_OK(absl::OkStatus());
  EXPECT_OK(Half(4));
  EXPECT_THAT(Half(3), Not(IsOk()));
  EXPECT_THAT(Half(4), IsOkAndHolds(2));
  EXPECT_THAT(Half(4), Not(IsOkAndHolds(3)));
  EXPECT_THAT(Half(3), Not(IsOkAndHolds(1)));
  ASSERT_OK_AND_ASSIGN(const int two, Half(4));
  EXPECT_EQ(two, 2);
}

TEST(StatusMatchersTest, CompareCodeAndMessage) {
  const auto code = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(Half(3), StatusIs(code));
  EXPECT_THAT(Half(3), StatusIs(code, "n=3 is odd"));
  EXPECT_THAT(Half(3).status(), StatusIs(code, HasSubstr("n=3")));
  EXPECT_THAT(Half(3), Not(StatusIs(code, HasSubstr("n=5"))));
  EXPECT_THAT(Half(3), Not(StatusIs(absl::StatusCode::kDataLoss)));
  EXPECT_THAT(Half(4), Not(StatusIs(code)));
}

TEST(StatusMatchersTest, FailuresShowTheMessage) {
  EXPECT_NONFATAL_FAILURE(EXPECT_OK(Half(3)), "n=3 is odd");
  EXPECT_FATAL_FAILURE(ASSERT_OK(absl::DataLossError("short file")), "short file");
}

}  // namespace
}  // namespace ptxsmith

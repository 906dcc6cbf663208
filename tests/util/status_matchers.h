// GoogleTest matchers and macros for absl::Status and absl::StatusOr, used by every test. The
// packaged abseil and GoogleTest have none. A failure prints the code and the whole message.
//
//   ASSERT_OK_AND_ASSIGN(Target target, Target::Parse("sm_90"));
//   EXPECT_OK(stream.Synchronize());
//   EXPECT_THAT(Target::Parse("sm_1"), StatusIs(absl::StatusCode::kInvalidArgument,
//   HasSubstr("sm_1")));
#ifndef PTXSMITH_TESTS_UTIL_STATUS_MATCHERS_H_
#define PTXSMITH_TESTS_UTIL_STATUS_MATCHERS_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "codegen/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ptxsmith {

inline const absl::Status& GetStatus(const absl::Status& status) { return status; }
template <class T>
const absl::Status& GetStatus(const absl::StatusOr<T>& value) {
  return value.status();
}

// Matches an ok Status or StatusOr.
MATCHER(IsOk, negation ? "is an error" : "is ok") {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).ok();
}

// Matches a Status or StatusOr by its code and a matcher (or text) of its message.
MATCHER_P2(StatusIs, code, message,
           "has code " + absl::StatusCodeToString(code) + " and a message that " +
               testing::DescribeMatcher<std::string>(message, negation)) {
  const absl::Status& status = GetStatus(arg);
  *result_listener << status.ToString();
  return status.code() == code && testing::Matches(testing::SafeMatcherCast<const std::string&>(
                                      message))(std::string(status.message()));
}

// Matches by code alone.
MATCHER_P(StatusIs, code, "has code " + absl::StatusCodeToString(code)) {
  *result_listener << GetStatus(arg).ToString();
  return GetStatus(arg).code() == code;
}

// Matches an ok StatusOr whose value matches `value`.
MATCHER_P(IsOkAndHolds, value, "") {
  *result_listener << arg.status().ToString();
  return arg.ok() && testing::ExplainMatchResult(value, *arg, result_listener);
}

}  // namespace ptxsmith

#define EXPECT_OK(expr) EXPECT_THAT((expr), ::ptxsmith::IsOk())
#define ASSERT_OK(expr) ASSERT_THAT((expr), ::ptxsmith::IsOk())

// Declares or assigns `lhs` from the StatusOr `expr`; ends the test when it is an error.
#define ASSERT_OK_AND_ASSIGN(lhs, expr) \
  ASSERT_OK_AND_ASSIGN_IMPL_(PTXSMITH_CONCAT_(ptxsmith_or_, __LINE__), lhs, expr)
#define ASSERT_OK_AND_ASSIGN_IMPL_(result, lhs, expr) \
  auto result = (expr);                               \
  ASSERT_OK(result);                                  \
  lhs = std::move(result).value()

#endif  // PTXSMITH_TESTS_UTIL_STATUS_MATCHERS_H_

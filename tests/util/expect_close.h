// The checks of the kernel cases as assertions, whose failures say what the checks found.
//
//   EXPECT_TRUE(IsClose(y, reference::Gemv(w, x))) << "seed " << seed;
//   EXPECT_TRUE(Passed(test.check(after))) << test.name;
#ifndef PTXSMITH_TESTS_UTIL_EXPECT_CLOSE_H_
#define PTXSMITH_TESTS_UTIL_EXPECT_CLOSE_H_

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "tools/fuzz/reference/ops.h"
#include "tools/fuzz/verdict.h"

namespace ptxsmith {

inline testing::AssertionResult Passed(const Verdict& verdict) {
  if (verdict) return testing::AssertionSuccess();
  return testing::AssertionFailure() << verdict.problem;
}

inline testing::AssertionResult IsClose(absl::Span<const float> actual,
                                        const reference::Expected& want) {
  return Passed(CheckClose(actual, want));
}

inline testing::AssertionResult SameBits(absl::Span<const float> actual,
                                         absl::Span<const float> want) {
  return Passed(CheckBits(actual, want));
}

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_UTIL_EXPECT_CLOSE_H_

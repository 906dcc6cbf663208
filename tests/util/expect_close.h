// Comparison of a kernel's output with a reference and its error bound. A failure names the worst
// element, both values, and how many elements are outside.
//
//   EXPECT_TRUE(IsClose(y, reference::Gemv(w, x))) << "seed " << seed;
#ifndef PTXSMITH_TESTS_UTIL_EXPECT_CLOSE_H_
#define PTXSMITH_TESTS_UTIL_EXPECT_CLOSE_H_

#include <cmath>
#include <cstddef>

#include "absl/types/span.h"
#include "gtest/gtest.h"
#include "tests/reference/ops.h"

namespace ptxsmith {

inline testing::AssertionResult IsClose(absl::Span<const float> actual,
                                        const reference::Expected& want) {
  if (actual.size() != want.value.size()) {
    return testing::AssertionFailure()
           << actual.size() << " elements instead of " << want.value.size();
  }
  size_t outside = 0, worst = 0;
  double worst_ratio = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double ratio = std::fabs(actual[i] - want.value[i]) / want.bound[i];
    if (ratio <= 1) continue;
    ++outside;
    // A NaN is worse than any number, so the first one found stays the worst.
    if (std::isnan(worst_ratio) || ratio <= worst_ratio) continue;
    worst = i;
    worst_ratio = ratio;
  }
  if (outside == 0) return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << outside << " of " << actual.size() << " elements are outside the bound; worst: ["
         << worst << "] is " << actual[worst] << " instead of " << want.value[worst] << " +- "
         << want.bound[worst] << " (" << worst_ratio << " times the bound)";
}

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_UTIL_EXPECT_CLOSE_H_

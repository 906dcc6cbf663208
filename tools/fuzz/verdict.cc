#include "tools/fuzz/verdict.h"

#include <bit>
#include <cmath>
#include <cstdint>

namespace ptxsmith {

Verdict CheckClose(absl::Span<const float> actual, const reference::Expected& want) {
  if (actual.size() != want.value.size()) {
    return Wrong(actual.size(), " elements instead of ", want.value.size());
  }
  Verdict verdict;
  size_t outside = 0, worst = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const double error = std::fabs(actual[i] - want.value[i]);
    const double ratio = error == 0 ? 0 : error / want.bound[i];
    if (!(ratio <= 1)) ++outside;
    // A NaN is worse than any number, so the first one found stays the worst.
    if (std::isnan(verdict.worst) || ratio <= verdict.worst) continue;
    worst = i;
    verdict.worst = ratio;
  }
  if (outside == 0) return verdict;
  verdict.problem =
      absl::StrCat(outside, " of ", actual.size(), " elements are outside the bound; worst: [",
                   worst, "] is ", actual[worst], " instead of ", want.value[worst], " +- ",
                   want.bound[worst], " (", verdict.worst, " times the bound)");
  return verdict;
}

Verdict CheckBits(absl::Span<const float> actual, absl::Span<const float> want) {
  if (actual.size() != want.size()) {
    return Wrong(actual.size(), " elements instead of ", want.size());
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    if (std::bit_cast<uint32_t>(actual[i]) == std::bit_cast<uint32_t>(want[i])) continue;
    return Wrong("[", i, "] is ", actual[i], " instead of ", want[i]);
  }
  return {};
}

Verdict CheckBytes(absl::Span<const uint8_t> actual, absl::Span<const uint8_t> want) {
  if (actual.size() != want.size()) {
    return Wrong(actual.size(), " bytes instead of ", want.size());
  }
  for (size_t i = 0; i < actual.size(); ++i) {
    if (actual[i] == want[i]) continue;
    return Wrong("byte ", i, " is ", uint32_t{actual[i]}, " instead of ", uint32_t{want[i]});
  }
  return {};
}

}  // namespace ptxsmith

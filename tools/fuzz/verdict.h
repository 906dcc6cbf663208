// What a check of a kernel's output found: right or wrong, and how far within the bound. Made by
// the checks of the kernel cases, read by `ptxsmith fuzz` and the tests.
//
//   const Verdict verdict = CheckClose(y, reference::Gemv(w, x));
//   if (!verdict) std::puts(verdict.problem.c_str());
//   worst = std::max(worst, verdict.worst);
//
// Plain data and pure functions.
#ifndef PTXSMITH_TOOLS_FUZZ_VERDICT_H_
#define PTXSMITH_TOOLS_FUZZ_VERDICT_H_

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "tools/fuzz/reference/ops.h"

namespace ptxsmith {

struct Verdict {
  double worst = 0;     // the largest error as a fraction of its bound; NaN for a wrong NaN
  std::string problem;  // empty: right

  explicit operator bool() const { return problem.empty(); }
};

template <class... T>
Verdict Wrong(const T&... text) {
  return {0, absl::StrCat(text...)};
}

// Every element within its bound. The problem names the worst element, both values, and how many
// elements are outside.
Verdict CheckClose(absl::Span<const float> actual, const reference::Expected& want);

// Every element with the same bits. The problem names the first that has others.
Verdict CheckBits(absl::Span<const float> actual, absl::Span<const float> want);

// The same bytes. The problem names the first that differs.
Verdict CheckBytes(absl::Span<const uint8_t> actual, absl::Span<const uint8_t> want);

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_FUZZ_VERDICT_H_

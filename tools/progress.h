// A progress line on a terminal for commands that take long: `tune  12/300  4%`. Silent when stderr
// is no terminal, or NO_COLOR or CI is set, so logs and pipes stay clean.
//
//   Progress progress("tune", candidates.size());
//   for (...) progress.Advance();
//   // the line is wiped when `progress` goes out of scope
//
// Thread-safety: belongs to one thread.
#ifndef PTXSMITH_TOOLS_PROGRESS_H_
#define PTXSMITH_TOOLS_PROGRESS_H_

#include <chrono>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace ptxsmith {

class Progress {
 public:
  Progress(absl::string_view label, uint64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Advance(uint64_t steps = 1);

 private:
  using Clock = std::chrono::steady_clock;

  std::string label_;
  uint64_t total_;
  uint64_t done_ = 0;
  bool visible_;
  Clock::time_point next_draw_ = Clock::now();
};

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_PROGRESS_H_

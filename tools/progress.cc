#include "tools/progress.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace ptxsmith {
namespace {

constexpr std::chrono::milliseconds kDrawInterval(100);  // faster only flickers
constexpr char kWipeLine[] = "\r\x1b[K";

}  // namespace

Progress::Progress(absl::string_view label, uint64_t total)
    : label_(label),
      total_(total),
      visible_(isatty(STDERR_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr &&
               std::getenv("CI") == nullptr) {}

Progress::~Progress() {
  if (visible_) std::fputs(kWipeLine, stderr);
}

void Progress::Advance(uint64_t steps) {
  done_ += steps;
  if (!visible_ || Clock::now() < next_draw_) return;
  next_draw_ = Clock::now() + kDrawInterval;
  std::fprintf(
      stderr, "%s%s  %llu/%llu  %.0f%%", kWipeLine, label_.c_str(),
      static_cast<unsigned long long>(done_), static_cast<unsigned long long>(total_),
      total_ == 0 ? 100.0 : 100.0 * static_cast<double>(done_) / static_cast<double>(total_));
  std::fflush(stderr);
}

}  // namespace ptxsmith

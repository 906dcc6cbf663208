#include "tools/interrupt.h"

namespace ptxsmith {
namespace {

// The one global of the project: a signal handler can reach nothing else.
volatile std::sig_atomic_t requested = 0;

extern "C" void OnInterrupt(int) { requested = 1; }

}  // namespace

Interrupt::Interrupt() {
  requested = 0;
  struct sigaction action = {};
  action.sa_handler = OnInterrupt;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_RESTART;
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, &before_);
}

Interrupt::~Interrupt() { sigaction(SIGINT, &before_, nullptr); }

bool Interrupt::Requested() const { return requested != 0; }

}  // namespace ptxsmith

// Makes Ctrl-C a question instead of a sudden end, for commands that have something to say before
// they stop. The second Ctrl-C ends the program at once.
//
//   const Interrupt interrupt;
//   while (!interrupt.Requested()) Step();
//   if (interrupt.Requested()) return absl::CancelledError("interrupted");   // exit code 130
//
// At most one at a time.
#ifndef PTXSMITH_TOOLS_INTERRUPT_H_
#define PTXSMITH_TOOLS_INTERRUPT_H_

#include <csignal>

namespace ptxsmith {

class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  bool Requested() const;

 private:
  struct sigaction before_ = {};
};

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_INTERRUPT_H_

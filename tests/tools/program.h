// Runs the `ptxsmith` program as a shell would, for the tests of the command line.
//
//   const Outcome outcome = Program::Run({"tokenize", "-m", model, "-p", "hello"});
//   EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
//
// Neither output is a terminal, and no PTXSMITH_ variable is inherited.
#ifndef PTXSMITH_TESTS_TOOLS_PROGRAM_H_
#define PTXSMITH_TESTS_TOOLS_PROGRAM_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace ptxsmith {

struct Outcome {
  int exit_code = -1;  // -1: ended by `signal`
  int signal = 0;
  std::string out;
  std::string err;
};

struct ProgramOptions {
  // Where the standard output goes: empty for Outcome::out, "closed" for nowhere, or a file.
  std::string out;
  std::vector<std::string> environment;  // "NAME=value"
  std::string in;                        // the standard input
};

class Program {
 public:
  explicit Program(const std::vector<std::string>& args, const ProgramOptions& options = {});
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program();

  static Outcome Run(const std::vector<std::string>& args, const ProgramOptions& options = {}) {
    return Program(args, options).Wait();
  }

  // Until something has been written to the standard output, or the program's end.
  void WaitForOutput() const;
  void Signal(int number) const;
  // REQUIRES: called once.
  Outcome Wait();

 private:
  pid_t pid_ = -1;
  int out_ = -1;
  int err_ = -1;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_TOOLS_PROGRAM_H_

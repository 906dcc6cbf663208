#include "tests/tools/program.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "gtest/gtest.h"

namespace ptxsmith {
namespace {

std::string Contents(int fd) {
  struct stat info = {};
  fstat(fd, &info);
  std::string text(static_cast<size_t>(info.st_size), '\0');
  EXPECT_EQ(pread(fd, text.data(), text.size(), 0), info.st_size);
  return text;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Program::Program(const std::vector<std::string>& args, const ProgramOptions& options)
    : out_(memfd_create("out", MFD_CLOEXEC)), err_(memfd_create("err", MFD_CLOEXEC)) {
  std::vector<std::string> argv = {PTXSMITH_BINARY};
  argv.insert(argv.end(), args.begin(), args.end());
  // First wins: a test may ask for a cache, none gets the user's.
  std::vector<std::string> environment = options.environment;
  const bool cache = std::any_of(environment.begin(), environment.end(), [](const auto& variable) {
    return variable.compare(0, 19, "PTXSMITH_CACHE_DIR=") == 0;
  });
  if (!cache) environment.emplace_back("PTXSMITH_NO_CACHE=1");
  for (char** variable = environ; *variable != nullptr; ++variable) {
    if (std::strncmp(*variable, "PTXSMITH_", 9) != 0) environment.push_back(*variable);
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const int in = memfd_create("in", MFD_CLOEXEC);
  EXPECT_EQ(pwrite(in, options.in.data(), options.in.size(), 0), options.in.size());
  posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
  if (options.out.empty()) {
    posix_spawn_file_actions_adddup2(&actions, out_, STDOUT_FILENO);
  } else if (options.out == "closed") {
    posix_spawn_file_actions_addclose(&actions, STDOUT_FILENO);
  } else {
    posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, options.out.c_str(), O_WRONLY, 0);
  }
  posix_spawn_file_actions_adddup2(&actions, err_, STDERR_FILENO);
  EXPECT_EQ(posix_spawn(&pid_, PTXSMITH_BINARY, &actions, nullptr, Pointers(argv).data(),
                        Pointers(environment).data()),
            0)
      << PTXSMITH_BINARY;
  posix_spawn_file_actions_destroy(&actions);
  close(in);
}

Program::~Program() {
  close(out_);
  close(err_);
}

void Program::WaitForOutput() const {
  struct stat info = {};
  siginfo_t ended = {};
  while (info.st_size == 0 && ended.si_pid == 0) {
    usleep(1000);
    fstat(out_, &info);
    waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT);
  }
}

void Program::Signal(int number) const { kill(pid_, number); }

Outcome Program::Wait() {
  int status = 0;
  EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
  Outcome outcome;
  if (WIFEXITED(status)) outcome.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) outcome.signal = WTERMSIG(status);
  outcome.out = Contents(out_);
  outcome.err = Contents(err_);
  return outcome;
}

}  // namespace ptxsmith

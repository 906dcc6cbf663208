// Parses the command line and turns the outcome into an exit code.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <string>

#include "absl/strings/str_replace.h"
#include "tools/command.h"

namespace ptxsmith {
namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;
constexpr int kExitInternal = 3;
constexpr int kExitInterrupted = 130;  // what shells say of a program that SIGINT ended

void PrintError(absl::string_view message) {
  const std::string line = absl::StrReplaceAll(message, {{"\n", "\n  "}});
  std::fprintf(stderr, "ptxsmith: error: %s\n", line.c_str());
}

int Run(int argc, char** argv) {
  CLI::App app(
      "Generates GPU kernels as PTX at run time and runs quantized transformers with them");
  app.name("ptxsmith");
  app.set_version_flag("--version", "ptxsmith " PTXSMITH_VERSION);
  app.require_subcommand(1);
  absl::Status result;
  AddBenchCommand(app, result);
  AddBenchKernelCommand(app, result);
  AddBenchJitCommand(app, result);
  AddCacheCommand(app, result);
  AddDumpCommand(app, result);
  AddFuzzCommand(app, result);
  AddInspectCommand(app, result);
  AddListCommand(app, result);
  AddPerplexityCommand(app, result);
  AddRunCommand(app, result);
  AddSynthesizeCommand(app, result);
  AddTokenizeCommand(app, result);
  AddTuneCommand(app, result);
  AddWarmCommand(app, result);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kExitUsage;  // 0: --help and --version
  }
  // A full disk or a closed pipe shows only when the data really leaves.
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (result.ok() && !written) {
    result = absl::DataLossError("cannot write to standard output");
  }
  if (result.ok()) return 0;
  if (absl::IsCancelled(result)) return kExitInterrupted;
  PrintError(result.message());
  return kExitError;
}

}  // namespace
}  // namespace ptxsmith

int main(int argc, char** argv) {
  // The project throws nothing; libraries may, when memory runs out.
  try {
    return ptxsmith::Run(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "ptxsmith: internal error: %s\n", e.what());
    return ptxsmith::kExitInternal;
  }
}

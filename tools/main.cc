// Parses the command line and turns the outcome into an exit code.
#include <cstdio>
#include <string>

#include "absl/strings/str_replace.h"
#include "tools/command.h"

namespace {

constexpr int kExitError = 1;
constexpr int kExitUsage = 2;

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Generates GPU kernels as PTX at run time and runs quantized transformers with them");
  app.name("ptxsmith");
  app.set_version_flag("--version", "ptxsmith " PTXSMITH_VERSION);
  app.require_subcommand(1);
  absl::Status result;
  ptxsmith::AddInspectCommand(app, result);
  ptxsmith::AddTokenizeCommand(app, result);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kExitUsage;  // 0: --help and --version
  }
  if (result.ok()) {
    // A full disk or a closed pipe shows only when the data really leaves.
    if (std::fflush(stdout) != 0) result = absl::DataLossError("cannot write to standard output");
  }
  if (!result.ok()) {
    const std::string line = absl::StrReplaceAll(result.message(), {{"\n", "\n  "}});
    std::fprintf(stderr, "ptxsmith: error: %s\n", line.c_str());
    return kExitError;
  }
  return 0;
}

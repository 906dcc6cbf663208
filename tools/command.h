// The frame of the `ptxsmith` program: one function per command, which adds its subcommand and
// flags to the parser. To add a command: write cmd_NAME.cc, declare its function here, call it in
// main.cc.
//
//   void AddTokenizeCommand(CLI::App& app, absl::Status& result) {
//     auto options = std::make_shared<Options>();
//     CLI::App* command = app.add_subcommand("tokenize", "Print the token ids of a text");
//     command->add_option("-m,--model", options->model, "GGUF file")->required();
//     command->callback([options, &result] { result = Tokenize(*options); });
//   }
//
// Commands print data to stdout and progress to stderr; the error they return is printed by main as
// one line, `ptxsmith: error: ...`. Exit codes: 0 done, 1 error, 2 usage, 3 internal, 130 stopped
// by Ctrl-C (the command returned Cancelled).
#ifndef PTXSMITH_TOOLS_COMMAND_H_
#define PTXSMITH_TOOLS_COMMAND_H_

#include "absl/status/status.h"

namespace CLI {
class App;  // files that use it include <CLI/CLI.hpp>, which costs 5 s of CPU each
}

namespace ptxsmith {

// The callbacks write to `result`, which must outlive the parse.
void AddBenchCommand(CLI::App& app, absl::Status& result);
void AddBenchKernelCommand(CLI::App& app, absl::Status& result);
void AddBenchJitCommand(CLI::App& app, absl::Status& result);
void AddCacheCommand(CLI::App& app, absl::Status& result);
void AddDumpCommand(CLI::App& app, absl::Status& result);
void AddFuzzCommand(CLI::App& app, absl::Status& result);
void AddInspectCommand(CLI::App& app, absl::Status& result);
void AddListCommand(CLI::App& app, absl::Status& result);
void AddPerplexityCommand(CLI::App& app, absl::Status& result);
void AddRunCommand(CLI::App& app, absl::Status& result);
void AddSynthesizeCommand(CLI::App& app, absl::Status& result);
void AddTokenizeCommand(CLI::App& app, absl::Status& result);
void AddTuneCommand(CLI::App& app, absl::Status& result);
void AddWarmCommand(CLI::App& app, absl::Status& result);

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_COMMAND_H_

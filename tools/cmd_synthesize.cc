// ptxsmith synthesize: a GGUF file of the shape of a well-known model with random weights, to time
// other programs beside this one.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "codegen/status_macros.h"
#include "model/synthetic.h"
#include "tools/command.h"
#include "tools/files.h"

namespace ptxsmith {
namespace {

struct Options {
  std::string name, out;
};

absl::Status Synthesize(const Options& options) {
  PTXSMITH_ASSIGN_OR_RETURN(const SyntheticBytes model,
                            SyntheticModelBytes(options.name, SyntheticWeights::kRandom));
  PTXSMITH_RETURN_IF_ERROR(WriteFile(
      options.out,
      absl::string_view(reinterpret_cast<const char*>(model.bytes.data()), model.bytes.size())));
  std::fprintf(stderr, "%s: %.1f MB\n", options.out.c_str(),
               static_cast<double>(model.bytes.size()) * 1e-6);
  return absl::OkStatus();
}

}  // namespace

void AddSynthesizeCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand(
      "synthesize", "Write a model of a well-known shape with random weights, for timing alone");
  command
      ->add_option("name", options->name,
                   absl::StrCat("One of ", absl::StrJoin(SyntheticModelNames(), ", ")))
      ->required();
  command->add_option("-o,--output", options->out, "GGUF file to write")->required();
  command->callback([options, &result] { result = Synthesize(*options); });
}

}  // namespace ptxsmith

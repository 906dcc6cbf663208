// ptxsmith dump: the PTX of a kernel, above each group of lines the C++ that emitted it.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>

#include "codegen/annotate.h"
#include "codegen/status_macros.h"
#include "codegen/target.h"
#include "ptx_templates/registry.h"
#include "ptx_templates/sources.h"
#include "tools/command.h"
#include "tools/files.h"

namespace ptxsmith {
namespace {

struct Options {
  std::string key;
  std::string arch = "sm_90";
  std::string output = "-";
  bool plain = false;
};

absl::Status Dump(const Options& options) {
  PTXSMITH_ASSIGN_OR_RETURN(const Target target, Target::Parse(options.arch));
  PTXSMITH_ASSIGN_OR_RETURN(const KernelSpec kernel, BuildFromKey(options.key, target));
  const std::string text = options.plain ? kernel.ptx : Annotate(kernel, KernelSources());
  if (options.output != "-") return WriteFile(options.output, text);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return absl::OkStatus();
}

}  // namespace

void AddDumpCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("dump", "Print the PTX of a kernel with the C++ lines that emitted it");
  command
      ->add_option("key", options->key,
                   "FAMILY:FIELD=VALUE,...[@TARGET], such as gemv:quant=q4_k,k=4096,n=4096; "
                   "`ptxsmith list` shows what there is")
      ->required();
  command->add_option("--arch", options->arch, "Target of a key without one")
      ->capture_default_str();
  command->add_option("-o,--output", options->output, "File to write; -: standard output");
  command->add_flag("--plain", options->plain, "Only the PTX");
  command->callback([options, &result] { result = Dump(*options); });
}

}  // namespace ptxsmith

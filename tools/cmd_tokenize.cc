// ptxsmith tokenize: the token ids of a text.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "codegen/status_macros.h"
#include "model/gguf.h"
#include "model/tokenizer.h"
#include "tools/command.h"

namespace ptxsmith {
namespace {

struct Options {
  std::string model;
  std::string prompt;
  EncodeOptions encode;
  bool json = false;
};

absl::Status Tokenize(const Options& options) {
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(options.model));
  PTXSMITH_ASSIGN_OR_RETURN(const Tokenizer tokenizer, Tokenizer::Create(file));
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<TokenId> ids,
                            tokenizer.Encode(options.prompt, options.encode));
  const std::string line =
      options.json ? nlohmann::json{{"ids", ids}}.dump() : absl::StrJoin(ids, " ");
  std::printf("%s\n", line.c_str());
  return absl::OkStatus();
}

}  // namespace

void AddTokenizeCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("tokenize", "Print the token ids of a text");
  command->add_option("-m,--model", options->model, "GGUF file")->required();
  command->add_option("-p,--prompt", options->prompt, "The text")->required();
  command->add_flag("!--no-bos", options->encode.add_bos, "Never add a begin-of-sequence token");
  command->add_flag("--parse-special", options->encode.parse_special,
                    "Recognise control tokens by their names in the text");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &result] { result = Tokenize(*options); });
}

}  // namespace ptxsmith

// ptxsmith perplexity: how well a model predicts a text.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "codegen/status_macros.h"
#include "model/perplexity.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/open_model.h"
#include "tools/progress.h"

namespace ptxsmith {
namespace {

struct Options {
  ModelOptions model;
  std::string file;
  PerplexityOptions perplexity;
  bool json = false;
};

absl::Status RunPerplexity(const Options& options) {
  PTXSMITH_ASSIGN_OR_RETURN(const std::string text, ReadText(options.file));
  ModelOptions model = options.model;
  if (options.perplexity.prompts) model.logit_rows = options.perplexity.window;
  PTXSMITH_ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(model));
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<TokenId> ids,
                            opened.tokenizer.Encode(text, {.add_bos = false}));
  std::unique_ptr<Progress> progress;
  PTXSMITH_ASSIGN_OR_RETURN(
      const PerplexityResult r,
      Perplexity(*opened.model, ids, options.perplexity, [&](uint64_t, uint64_t total, double) {
        if (progress == nullptr) progress = std::make_unique<Progress>("perplexity", total);
        progress->Advance();
      }));
  progress.reset();
  if (options.json) {
    std::printf("%s\n", nlohmann::json{{"windows", r.windows},
                                       {"window", r.window},
                                       {"tokens", r.tokens},
                                       {"nll", r.nll},
                                       {"ppl", r.perplexity},
                                       {"nll_standard_error", r.standard_error}}
                            .dump()
                            .c_str());
  } else {
    std::printf("perplexity %.4f (nll %.6f +- %.6f) over %llu tokens in %u windows of %u\n",
                r.perplexity, r.nll, r.standard_error, static_cast<unsigned long long>(r.tokens),
                r.windows, r.window);
  }
  return absl::OkStatus();
}

}  // namespace

void AddPerplexityCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("perplexity", "Measure how well a model predicts a text");
  AddModelFlags(*command, options->model);
  command->add_option("-f,--file", options->file, "The text")->required();
  command->add_option("--window", options->perplexity.window, "Tokens per window")
      ->capture_default_str();
  command->add_option("--windows", options->perplexity.windows,
                      "At most so many windows; 0: the whole text");
  command->add_flag("--prompts", options->perplexity.prompts,
                    "Run each window as a prompt instead of token by token");
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &result] { result = RunPerplexity(*options); });
}

}  // namespace ptxsmith

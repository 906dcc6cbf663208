// ptxsmith perplexity: how well a model predicts a text.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "codegen/status_macros.h"
#include "model/kl_divergence.h"
#include "model/perplexity.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/logit_file.h"
#include "tools/open_model.h"
#include "tools/progress.h"

namespace ptxsmith {
namespace {

struct Options {
  ModelOptions model;
  std::string file;
  PerplexityOptions perplexity;
  std::string kl_base;
  bool kl = false;
  bool json = false;
};

nlohmann::json ToJson(const KlResult& r) {
  return {{"mean", r.mean},       {"standard_error", r.standard_error},
          {"median", r.median},   {"percentile_99", r.percentile_99},
          {"largest", r.largest}, {"same_top", r.same_top}};
}

absl::Status RunPerplexity(const Options& options) {
  PTXSMITH_ASSIGN_OR_RETURN(const std::string text, ReadText(options.file));
  ModelOptions model = options.model;
  if (options.perplexity.prompts) model.logit_rows = options.perplexity.window;
  PTXSMITH_ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(model));
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<TokenId> ids,
                            opened.tokenizer.Encode(text, {.add_bos = false}));
  PerplexityOptions perplexity = options.perplexity;
  PTXSMITH_ASSIGN_OR_RETURN(const absl::Span<const TokenId> tokens, ScoredTokens(ids, perplexity));
  const uint32_t vocab = opened.model->config().vocab_size;
  std::optional<LogitReader> base;
  std::optional<LogitWriter> new_base;
  KlDivergence divergence;
  if (options.kl) {
    PTXSMITH_ASSIGN_OR_RETURN(base, LogitReader::Open(options.kl_base, vocab, tokens));
    perplexity.logits = [&](absl::Span<const float> logits) -> absl::Status {
      PTXSMITH_ASSIGN_OR_RETURN(const absl::Span<const float> row, base->Next());
      divergence.Add(row, logits);
      return absl::OkStatus();
    };
  } else if (!options.kl_base.empty()) {
    PTXSMITH_ASSIGN_OR_RETURN(LogitWriter writer,
                              LogitWriter::Create(options.kl_base, vocab, tokens));
    new_base.emplace(std::move(writer));
    perplexity.logits = [&](absl::Span<const float> logits) { return new_base->Append(logits); };
  }
  std::unique_ptr<Progress> progress;
  PTXSMITH_ASSIGN_OR_RETURN(
      const PerplexityResult r,
      Perplexity(*opened.model, tokens, perplexity, [&](uint64_t, uint64_t total, double) {
        if (progress == nullptr) progress = std::make_unique<Progress>("perplexity", total);
        progress->Advance();
      }));
  progress.reset();
  if (new_base) PTXSMITH_RETURN_IF_ERROR(new_base->Finish());
  const KlResult kl = divergence.Result();
  if (options.json) {
    nlohmann::json report = {{"windows", r.windows}, {"window", r.window},
                             {"tokens", r.tokens},   {"nll", r.nll},
                             {"ppl", r.perplexity},  {"nll_standard_error", r.standard_error}};
    if (options.kl) report["kl"] = ToJson(kl);
    std::printf("%s\n", report.dump().c_str());
  } else {
    std::printf("perplexity %.4f (nll %.6f +- %.6f) over %llu tokens in %u windows of %u\n",
                r.perplexity, r.nll, r.standard_error, static_cast<unsigned long long>(r.tokens),
                r.windows, r.window);
    if (options.kl) {
      std::printf("KL divergence %.6f +- %.6f, median %.6f, 99%% %.6f, largest %.6f\n", kl.mean,
                  kl.standard_error, kl.median, kl.percentile_99, kl.largest);
      std::printf("same top token %.3f%%\n", 100 * kl.same_top);
    }
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
  CLI::Option* base = command->add_option(
      "--kl-base", options->kl_base, "Store the logits in this file; with --kl compare with it");
  command->add_flag("--kl", options->kl, "Kullback-Leibler divergence from the stored logits")
      ->needs(base);
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &result] { result = RunPerplexity(*options); });
}

}  // namespace ptxsmith

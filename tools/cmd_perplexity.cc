// ptxsmith perplexity: how well a model predicts a text.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
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
  bool paths = false;
  bool json = false;
};

struct Report {
  PerplexityResult perplexity;
  std::optional<KlResult> kl;

  nlohmann::json Json() const {
    const PerplexityResult& r = perplexity;
    nlohmann::json json = {{"windows", r.windows}, {"window", r.window},
                           {"tokens", r.tokens},   {"nll", r.nll},
                           {"ppl", r.perplexity},  {"nll_standard_error", r.standard_error}};
    if (kl) {
      json["kl"] = {{"mean", kl->mean},       {"standard_error", kl->standard_error},
                    {"median", kl->median},   {"percentile_99", kl->percentile_99},
                    {"largest", kl->largest}, {"same_top", kl->same_top}};
    }
    return json;
  }
};

// What becomes of the logits: nothing, a file, or a comparison with one.
enum class Base { kNone, kWrite, kCompare };

absl::StatusOr<Report> Measure(const Options& options, const std::string& text, Base use) {
  PerplexityOptions perplexity = options.perplexity;
  std::optional<LogitReader> base;
  if (use == Base::kCompare) {
    PTXSMITH_ASSIGN_OR_RETURN(base, LogitReader::Open(options.kl_base));
    perplexity.window = base->window();
    perplexity.windows = 0;
  }
  ModelOptions model = options.model;
  if (perplexity.prompts) model.logit_rows = perplexity.window;
  PTXSMITH_ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(model));
  // What llama-perplexity counts: tokens that have half a window before them.
  perplexity.skip = perplexity.window / 2;
  if (opened.tokenizer.add_bos()) perplexity.bos = opened.tokenizer.bos();

  const uint32_t vocab = opened.model->config().vocab_size;
  std::vector<TokenId> ids;
  absl::Span<const TokenId> tokens;
  std::optional<LogitWriter> new_base;
  KlDivergence divergence;
  if (base) {
    if (base->vocab() != vocab) {
      return absl::FailedPreconditionError(absl::StrCat("'", options.kl_base, "' has logits over ",
                                                        base->vocab(), " tokens; the model has ",
                                                        vocab));
    }
    tokens = base->tokens();
    perplexity.logits = [&](absl::Span<const float> logits) -> absl::Status {
      PTXSMITH_ASSIGN_OR_RETURN(const absl::Span<const float> row, base->Next());
      divergence.Add(row, logits);
      return absl::OkStatus();
    };
  } else {
    PTXSMITH_ASSIGN_OR_RETURN(ids, opened.tokenizer.Encode(text, {}));
    PTXSMITH_ASSIGN_OR_RETURN(tokens, ScoredTokens(ids, perplexity));
  }
  if (use == Base::kWrite) {
    PTXSMITH_ASSIGN_OR_RETURN(
        LogitWriter writer, LogitWriter::Create(options.kl_base, vocab, perplexity.window, tokens));
    new_base.emplace(std::move(writer));
    perplexity.logits = [&](absl::Span<const float> logits) { return new_base->Append(logits); };
  }
  std::unique_ptr<Progress> progress;
  Report report;
  PTXSMITH_ASSIGN_OR_RETURN(
      report.perplexity,
      Perplexity(*opened.model, tokens, perplexity, [&](uint64_t, uint64_t total, double) {
        if (progress == nullptr) progress = std::make_unique<Progress>("perplexity", total);
        progress->Advance();
      }));
  if (new_base) PTXSMITH_RETURN_IF_ERROR(new_base->Finish());
  if (base) report.kl = divergence.Result();
  return report;
}

absl::Status RunOnce(const Options& options, const std::string& text) {
  const Base use = options.kl                ? Base::kCompare
                   : options.kl_base.empty() ? Base::kNone
                                             : Base::kWrite;
  PTXSMITH_ASSIGN_OR_RETURN(const Report report, Measure(options, text, use));
  if (options.json) {
    std::printf("%s\n", report.Json().dump().c_str());
    return absl::OkStatus();
  }
  const PerplexityResult& r = report.perplexity;
  std::printf("perplexity %.4f (nll %.6f +- %.6f) over %llu tokens in %u windows of %u\n",
              r.perplexity, r.nll, r.standard_error, static_cast<unsigned long long>(r.tokens),
              r.windows, r.window);
  if (!report.kl) return absl::OkStatus();
  const KlResult& kl = *report.kl;
  std::printf("KL divergence %.6f +- %.6f, median %.6f, 99%% %.6f, largest %.6f\n", kl.mean,
              kl.standard_error, kl.median, kl.percentile_99, kl.largest);
  std::printf("same top token %.3f%%\n", 100 * kl.same_top);
  return absl::OkStatus();
}

// A way of a text through the model: which kernels, rounding what.
struct Path {
  const char* name;
  bool prompts;
  std::function<void(ModelOptions&)> choose;
};

// The first is the one that rounds least: what the others are compared with.
std::vector<Path> Paths() {
  return {
      {"plain kernels, f32 activations", false,
       [](ModelOptions& m) { m.lowering = LoweringChoice::kPlain; }},
      {"plain kernels, q8_1 activations", false,
       [](ModelOptions& m) {
         m.lowering = LoweringChoice::kPlain;
         m.activations = Activations::kQ8_1;
       }},
      {"plain kernels, q8_0 cache", false,
       [](ModelOptions& m) {
         m.lowering = LoweringChoice::kPlain;
         m.kv_type = QuantType::kQ8_0;
       }},
      {"tiled kernels", false, [](ModelOptions& m) { m.lowering = LoweringChoice::kTiled; }},
      {"tiled kernels, int8 activations", false,
       [](ModelOptions& m) {
         m.lowering = LoweringChoice::kTiled;
         m.activations = Activations::kInt8;
       }},
      // A sequence has the same bits in any company.
      {"tiled kernels, sequences side by side", false,
       [](ModelOptions& m) {
         m.lowering = LoweringChoice::kTiled;
         m.slots = 2;
       }},
      {"prompts, kernels over the file's weights", true,
       [](ModelOptions& m) { m.products = Products::kPlain; }},
      {"prompts, generated products", true,
       [](ModelOptions& m) { m.products = Products::kGenerated; }},
      {"prompts, cuBLASLt", true, [](ModelOptions& m) { m.products = Products::kLibrary; }},
      {"prompts, cuBLASLt, weights as E4M3", true,
       [](ModelOptions& m) {
         m.products = Products::kLibrary;
         m.prompt_weights = PromptWeights::kE4M3;
       }},
  };
}

absl::Status RunPaths(const Options& options, const std::string& text) {
  nlohmann::json reports = nlohmann::json::array();
  if (!options.json) {
    std::printf(
        "| path | perplexity | change | KL divergence | 99 %% | largest | same top |\n"
        "|---|---|---|---|---|---|---|\n");
  }
  double first = 0;
  const std::vector<Path> paths = Paths();
  for (const Path& path : paths) {
    Options one = options;
    one.perplexity.prompts = path.prompts;
    path.choose(one.model);
    const bool is_first = &path == &paths.front();
    const absl::StatusOr<Report> report =
        Measure(one, text, is_first ? Base::kWrite : Base::kCompare);
    if (is_first) PTXSMITH_RETURN_IF_ERROR(report.status());
    if (absl::IsUnavailable(report.status()) || absl::IsUnimplemented(report.status())) {
      std::fprintf(stderr, "%s: %s\n", path.name, std::string(report.status().message()).c_str());
      continue;
    }
    PTXSMITH_RETURN_IF_ERROR(report.status());
    const double perplexity = report->perplexity.perplexity;
    if (is_first) first = perplexity;
    if (options.json) {
      reports.push_back(report->Json());
      reports.back()["path"] = path.name;
    } else if (is_first) {
      std::printf("| %s | %.4f | | | | | |\n", path.name, perplexity);
    } else {
      const KlResult& kl = *report->kl;
      std::printf("| %s | %.4f | %+.4f %% | %.7f | %.6f | %.6f | %.2f %% |\n", path.name,
                  perplexity, 100 * (perplexity / first - 1), kl.mean, kl.percentile_99, kl.largest,
                  100 * kl.same_top);
    }
    std::fflush(stdout);
  }
  if (options.json) std::printf("%s\n", reports.dump().c_str());
  return absl::OkStatus();
}

absl::Status RunPerplexity(const Options& options) {
  std::string text;
  if (!options.kl) {
    PTXSMITH_ASSIGN_OR_RETURN(text, ReadText(options.file));
  }
  return options.paths ? RunPaths(options, text) : RunOnce(options, text);
}

}  // namespace

void AddPerplexityCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("perplexity", "Measure how well a model predicts a text");
  AddModelFlags(*command, options->model);
  CLI::Option* const base = command->add_option(
      "--kl-base", options->kl_base,
      "Store the predictions in this file, as llama-perplexity does; with --kl compare with it");
  CLI::Option_group* const text = command->add_option_group("text", "One of these");
  text->add_option("-f,--file", options->file, "The text");
  CLI::Option* const kl = text->add_flag(
      "--kl", options->kl,
      "Kullback-Leibler divergence from the stored predictions, over the text they were made of");
  kl->needs(base);
  text->require_option(1);
  command
      ->add_option("--window", options->perplexity.window,
                   "Tokens per window, of which the second half is scored")
      ->capture_default_str()
      ->excludes(kl);
  command
      ->add_option("--windows", options->perplexity.windows,
                   "At most so many windows; 0: the whole text")
      ->excludes(kl);
  command->add_flag("--prompts", options->perplexity.prompts,
                    "Run each window as a prompt instead of token by token");
  command
      ->add_flag("--paths", options->paths,
                 "Every path the device has through the model, and how far it is from the one that "
                 "rounds least, whose logits go into the --kl-base file")
      ->needs(base)
      ->excludes(kl);
  command->add_flag("--json", options->json, "Print JSON");
  command->callback([options, &result] { result = RunPerplexity(*options); });
}

}  // namespace ptxsmith

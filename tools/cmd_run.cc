// ptxsmith run: continues a prompt. The continuation goes to stdout, everything else to stderr.
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "codegen/status_macros.h"
#include "model/generate.h"
#include "tools/command.h"
#include "tools/open_model.h"

namespace ptxsmith {
namespace {

struct Options {
  ModelOptions model;
  std::string prompt;
  GenerationOptions generation;
  int64_t seed = -1;
};

void PrintRate(const char* label, uint32_t tokens, double seconds) {
  std::fprintf(stderr, "%s %u tokens in %.3f s, %.2f tokens/s\n", label, tokens, seconds,
               seconds > 0 ? tokens / seconds : 0.0);
}

absl::Status Run(Options options) {
  PTXSMITH_ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(options.model));
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<TokenId> prompt,
                            opened.tokenizer.Encode(options.prompt, {}));
  options.generation.sampling.seed =
      options.seed >= 0 ? static_cast<uint64_t>(options.seed) : std::random_device{}();
  if (options.generation.sampling.temperature > 0) {
    std::fprintf(stderr, "seed     %llu\n",
                 static_cast<unsigned long long>(options.generation.sampling.seed));
  }
  bool writable = true;
  PTXSMITH_ASSIGN_OR_RETURN(const GenerationStats stats,
                            Generate(*opened.model, opened.tokenizer, prompt, options.generation,
                                     [&](absl::string_view text) {
                                       writable = std::fwrite(text.data(), 1, text.size(),
                                                              stdout) == text.size() &&
                                                  std::fflush(stdout) == 0;
                                       return writable;
                                     }));
  if (!writable) return absl::DataLossError("cannot write to standard output");
  std::printf("\n");
  PrintRate("prompt  ", stats.prompt_tokens, stats.prompt_seconds);
  // The first token comes out of the prompt's last step.
  PrintRate("generate", stats.generated_tokens, stats.generation_seconds);
  if (stats.context_full) {
    std::fprintf(stderr, "stopped  the context of %u positions is full (-c)\n",
                 opened.model->context());
  }
  return absl::OkStatus();
}

}  // namespace

void AddRunCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "Continue a prompt");
  AddModelFlags(*command, options->model);
  command->add_option("-p,--prompt", options->prompt, "The text to continue")->required();
  command->add_option("-n,--predict", options->generation.max_tokens, "Tokens to generate");
  SamplerOptions& sampling = options->generation.sampling;
  command->add_option("--temp", sampling.temperature, "Temperature; 0: always the likeliest token");
  command->add_option("--top-k", sampling.top_k, "Sample among the k likeliest; 0: all");
  command->add_option("--top-p", sampling.top_p, "Sample among those of this total probability");
  command->add_option("-s,--seed", options->seed, "Seed of the sampling; -1: a random one");
  command->add_flag("--ignore-eos", options->generation.ignore_end, "Go on after an end token");
  command->callback([options, &result] { result = Run(*options); });
}

}  // namespace ptxsmith

// ptxsmith run: continues a prompt. The continuation goes to stdout, everything else to stderr.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/chat.h"
#include "model/generate.h"
#include "runtime/emu/emulator_device.h"
#include "tools/chat.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/interrupt.h"
#include "tools/model_bench.h"
#include "tools/open_model.h"
#include "tools/step_profile.h"
#include "tools/trace_layers.h"

namespace ptxsmith {
namespace {

struct Options {
  ModelOptions model;
  std::string prompt;
  std::string file;
  int32_t predict = 128;
  int64_t seed = -1;
  GenerationOptions generation;
  bool chat = false;
  std::string system;
  std::string chat_template;
  bool trace_layers = false;
  std::string trace_device;  // to compare with; empty: none
  bool profile = false;
  std::string trace_file;
  bool json = false;
};

// The tokens of a text and the seconds they took.
struct Rate {
  const char* label;
  uint32_t tokens;
  double seconds;

  double per_second() const { return seconds > 0 ? tokens / seconds : 0.0; }
};

// Of all launches so far; 0 on a GPU, which does not tell.
uint64_t LaneOps(const Device& device) {
  return device.profile().emulated ? EmulatorTotals(device).lane_ops : 0;
}

void PrintStats(const Rate& prompt, const Rate& generation, uint64_t lane_ops, StopReason reason) {
  for (const Rate& rate : {prompt, generation}) {
    std::fprintf(stderr, "%-8s %u tokens in %.3f s, %.2f tokens/s\n", rate.label, rate.tokens,
                 rate.seconds, rate.per_second());
  }
  const double seconds = prompt.seconds + generation.seconds;
  if (lane_ops > 0 && seconds > 0) {
    const double giga = static_cast<double>(lane_ops) * 1e-9;
    std::fprintf(stderr, "emulator %.2f G lane operations, %.2f G/s\n", giga, giga / seconds);
  }
  std::fprintf(stderr, "stop     %s\n", std::string(ToString(reason)).c_str());
}

void PrintJson(const std::string& text, uint64_t seed, const Rate& prompt, const Rate& generation,
               StopReason reason) {
  using Json = nlohmann::ordered_json;
  Json report = {{"text", text}, {"seed", seed}, {"stop", std::string(ToString(reason))}};
  for (const Rate& rate : {prompt, generation}) {
    report[rate.label] = {{"tokens", rate.tokens},
                          {"seconds", rate.seconds},
                          {"tokens_per_second", rate.per_second()}};
  }
  // A text may end within a character; JSON must be UTF-8.
  std::printf("%s\n", report.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
}

// The template that was asked for, else that of the file.
absl::StatusOr<ChatTemplate> Template(const Options& options) {
  if (!options.chat_template.empty()) return ChatTemplate::FromName(options.chat_template);
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(options.model.model));
  absl::StatusOr<ChatTemplate> format = ChatTemplate::FromGguf(file);
  if (absl::IsNotFound(format.status()) || absl::IsUnimplemented(format.status())) {
    return absl::Status(format.status().code(),
                        absl::StrCat(format.status().message(), "; choose one with --template"));
  }
  return format;
}

// Prints what each stage computes for the prompt, or where it differs on another device.
absl::Status TraceRun(const Options& options, OpenedModel& opened,
                      absl::Span<const TokenId> prompt) {
  PTXSMITH_ASSIGN_OR_RETURN(const LayerTrace trace, TraceLayers(*opened.model, prompt));
  if (options.trace_device.empty()) {
    std::printf("%s", Describe(trace).c_str());
    return absl::OkStatus();
  }
  ModelOptions model = options.model;
  model.device = options.trace_device;
  PTXSMITH_ASSIGN_OR_RETURN(const OpenedModel other, OpenModel(model));
  PTXSMITH_ASSIGN_OR_RETURN(const LayerTrace other_trace, TraceLayers(*other.model, prompt));
  std::printf("%s\n", Compare(trace, other_trace).c_str());
  return absl::OkStatus();
}

// The time of each kernel of a step, after what has been generated.
absl::Status ProfileRun(const Options& options, Device& device, Transformer& model) {
  PTXSMITH_ASSIGN_OR_RETURN(const double roof, ReadBandwidth(device));
  PTXSMITH_ASSIGN_OR_RETURN(const StepProfile profile, ProfileStep(model, roof));
  if (options.profile) std::fprintf(stderr, "\n%s", profile.Table().c_str());
  if (options.trace_file.empty()) return absl::OkStatus();
  return WriteFile(options.trace_file, profile.ChromeTrace());
}

absl::Status Run(Options options) {
  if (!options.file.empty()) {
    PTXSMITH_ASSIGN_OR_RETURN(options.prompt, ReadText(options.file));
  }
  std::optional<ChatTemplate> format;
  if (options.chat) {
    PTXSMITH_ASSIGN_OR_RETURN(format, Template(options));
  }
  PTXSMITH_ASSIGN_OR_RETURN(OpenedModel opened, OpenModel(options.model));
  if (options.trace_layers) {
    PTXSMITH_ASSIGN_OR_RETURN(const std::vector<TokenId> prompt,
                              opened.tokenizer.Encode(options.prompt, {}));
    return TraceRun(options, opened, prompt);
  }
  GenerationOptions& generation = options.generation;
  generation.max_tokens = static_cast<uint32_t>(options.predict);  // -1: as many as there can be
  const uint64_t seed =
      options.seed >= 0 ? static_cast<uint64_t>(options.seed) : std::random_device{}();
  generation.sampling.seed = seed;
  if (generation.sampling.temperature > 0) {
    std::fprintf(stderr, "seed     %s\n", absl::StrCat(seed).c_str());
  }
  if (format) return Chat(opened, {*format, options.system, options.prompt}, generation);
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<TokenId> prompt,
                            opened.tokenizer.Encode(options.prompt, {}));
  const Interrupt interrupt;
  bool writable = true;
  generation.stop = [&] { return interrupt.Requested() || !writable; };
  std::string text;
  const TextSink stream = [&](absl::string_view piece) {
    writable &= std::fwrite(piece.data(), 1, piece.size(), stdout) == piece.size() &&
                std::fflush(stdout) == 0;
  };
  const TextSink collect = [&](absl::string_view piece) { absl::StrAppend(&text, piece); };
  const Device& device = *opened.cache->device();
  const uint64_t ops_before = LaneOps(device);
  PTXSMITH_ASSIGN_OR_RETURN(const GenerationStats stats,
                            Generate(*opened.model, opened.tokenizer, prompt, generation,
                                     options.json ? collect : stream));
  if (!writable) return absl::DataLossError("cannot write to standard output");
  // The first token comes out of the prompt's last step.
  const Rate prompt_rate{"prompt", stats.prompt_tokens, stats.prompt_seconds};
  const Rate generation_rate{"generate", stats.generated_tokens, stats.generation_seconds};
  if (options.json) {
    PrintJson(text, seed, prompt_rate, generation_rate, stats.reason);
  } else {
    std::printf("\n");
    std::fflush(stdout);  // so that the statistics come after the text where both go to one place
    PrintStats(prompt_rate, generation_rate, LaneOps(device) - ops_before, stats.reason);
  }
  if (interrupt.Requested()) return absl::CancelledError("interrupted");
  if (!options.profile && options.trace_file.empty()) return absl::OkStatus();
  return ProfileRun(options, *opened.cache->device(), *opened.model);
}

}  // namespace

void AddRunCommand(CLI::App& app, absl::Status& result) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("run", "Continue a prompt");
  AddModelFlags(*command, options->model);
  CLI::Option_group* prompt = command->add_option_group("prompt", "One of these");
  CLI::Option* text = prompt->add_option("-p,--prompt", options->prompt, "The text to continue");
  prompt->add_option("-f,--file", options->file, "File with the text to continue")->excludes(text);
  CLI::Option* chat = prompt->add_flag(
      "--chat", options->chat,
      "Converse: the lines of the standard input are messages, a prompt is the first of them");
  prompt->require_option(1, 2);
  command->add_option("--system", options->system, "How the model shall behave")->needs(chat);
  command
      ->add_option("--template", options->chat_template,
                   "How conversations are written, when the file does not say (chatml, ...)")
      ->needs(chat);
  CLI::Option* predict =
      command
          ->add_option(
              "-n,--predict", options->predict,
              "Tokens to generate; -1: until the context is full, which is usual in a chat")
          ->check(CLI::Range(-1, INT32_MAX))
          ->capture_default_str();
  SamplerOptions& sampling = options->generation.sampling;
  command->add_option("--temp", sampling.temperature, "Temperature; 0: always the likeliest token")
      ->capture_default_str();
  command->add_option("--top-k", sampling.top_k, "Sample among the k likeliest; 0: all")
      ->capture_default_str();
  command->add_option("--top-p", sampling.top_p, "Sample among those of this total probability")
      ->capture_default_str();
  command
      ->add_option("--min-p", sampling.min_p,
                   "Sample among those of at least this part of the largest probability")
      ->capture_default_str();
  command
      ->add_option("--repeat-penalty", sampling.penalty,
                   "What the logits of the last 64 tokens are divided by")
      ->capture_default_str();
  command->add_option("--keep", options->generation.keep,
                      "When the context is full, keep so many tokens from its start, drop half of "
                      "the others and go on; without this: stop");
  command->add_option("-s,--seed", options->seed, "Seed of the sampling; -1: a random one")
      ->check(CLI::Range(int64_t{-1}, INT64_MAX))
      ->capture_default_str();
  command->add_flag("--ignore-eos", options->generation.ignore_end, "Go on after an end token");
  command
      ->add_option("--trace-layers", options->trace_device,
                   "Print what each stage of the model computes for the prompt instead; with a "
                   "device, where its values first differ from those of that one")
      ->expected(0, 1);
  command->add_flag("--profile", options->profile,
                    "Afterwards print where the time of a step goes, kernel by kernel");
  command->add_option("--trace", options->trace_file,
                      "Afterwards write that as a trace for Perfetto or chrome://tracing");
  command
      ->add_flag("--json", options->json,
                 "Print one JSON object at the end: the text, why it stopped, times")
      ->excludes(chat);
  command->callback([options, command, predict, &result] {
    options->trace_layers = command->count("--trace-layers") > 0;
    if (options->chat && predict->count() == 0) options->predict = -1;
    result = Run(*options);
  });
}

}  // namespace ptxsmith

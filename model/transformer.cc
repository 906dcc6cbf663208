#include "model/transformer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/prompt_lowering.h"
#include "ptx_templates/gemv_core.h"
#include "ptx_templates/rope.h"

namespace ptxsmith {
namespace {

// Rotation is exact below.
constexpr uint32_t kMaxPositions = 1 << 24;
// Programs for prompts of so many lengths are kept; making one costs some milliseconds.
constexpr size_t kMaxPromptPrograms = 8;

}  // namespace

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::Load(const GgufFile& file,
                                                               ModuleCache& cache,
                                                               const TransformerOptions& options) {
  PTXSMITH_ASSIGN_OR_RETURN(const ModelConfig config, ModelConfig::FromGguf(file));
  if (options.context > config.context_length) {
    return absl::InvalidArgumentError(absl::StrCat("a context of ", options.context,
                                                   " positions; the model was trained for ",
                                                   config.context_length));
  }
  const uint32_t context = options.context != 0 ? options.context : config.context_length;
  if (context > kMaxPositions) {
    return absl::InvalidArgumentError(
        absl::StrCat("a context of ", context, " positions; kernels support ", kMaxPositions));
  }
  if (config.value_length != config.head_dim) {
    return absl::UnimplementedError(absl::StrCat("heads with keys of ", config.head_dim,
                                                 " and values of ", config.value_length,
                                                 " elements"));
  }
  if (options.batch == 0) return absl::InvalidArgumentError("a batch of 0 tokens");
  Device& device = *cache.device();
  PTXSMITH_ASSIGN_OR_RETURN(Stream stream, device.NewStream());
  PTXSMITH_ASSIGN_OR_RETURN(Weights weights,
                            Weights::Load(file, config, device, stream, options.progress));
  std::unique_ptr<Transformer> model(new Transformer(std::move(weights), config));
  model->stream_ = std::move(stream);
  model->context_ = context;
  model->batch_ = std::min(options.batch, context);
  PTXSMITH_RETURN_IF_ERROR(model->UploadRopeRates(device));
  PTXSMITH_RETURN_IF_ERROR(model->Prepare(cache, options));
  return model;
}

absl::Status Transformer::Prepare(ModuleCache& cache, const TransformerOptions& options) {
  Device& device = *cache.device();
  graphs_ = device.debug().level < 2 && !device.debug().sync;
  PTXSMITH_ASSIGN_OR_RETURN(
      io_, StepIo::Allocate(device, config_, batch_, std::min(batch_, kMaxGemvTokens)));
  PTXSMITH_ASSIGN_OR_RETURN(
      kv_cache_,
      KvCache::Allocate(device, config_, {.context = context_, .type = options.kv_type}));
  PTXSMITH_RETURN_IF_ERROR(stream_.Fill(io_.pick_count(), 0));

  PTXSMITH_ASSIGN_OR_RETURN(host_tokens_, device.AllocateHost(uint64_t{context_} * 4));
  PTXSMITH_ASSIGN_OR_RETURN(host_positions_, device.AllocateHost(uint64_t{context_} * 4));
  for (uint32_t i = 0; i < context_; ++i) static_cast<uint32_t*>(host_positions_.data())[i] = i;
  PTXSMITH_ASSIGN_OR_RETURN(host_choices_, device.AllocateHost(kPickRing * sizeof(TokenId)));
  PTXSMITH_ASSIGN_OR_RETURN(choice_stream_, device.NewStream());
  for (Choice& choice : choices_) {
    PTXSMITH_ASSIGN_OR_RETURN(choice.made, device.NewEvent());
    PTXSMITH_ASSIGN_OR_RETURN(choice.received, device.NewEvent());
  }
  logits_.resize(config_.vocab_size);

  const ModelParts parts{config_, weights_, kv_cache_, io_, rope_rates_, cache};
  PTXSMITH_ASSIGN_OR_RETURN(lowering_, NewPlainLowering(parts));
  PTXSMITH_RETURN_IF_ERROR(PreparePrompts(parts, options));
  PTXSMITH_RETURN_IF_ERROR(MakeProgram({.logits = LogitRows::kNone}, &step_));
  PTXSMITH_RETURN_IF_ERROR(MakeProgram({.logits = LogitRows::kAll}, &step_logits_));
  PTXSMITH_RETURN_IF_ERROR(MakeProgram({.logits = LogitRows::kAll, .pick = true}, &decode_));
  StepBuilder pick(cache);
  PTXSMITH_RETURN_IF_ERROR(Lowering::AddPick(parts, 1, pick));
  pick_.step = std::move(pick).Take();
  return RecordGraph(pick_);
}

absl::Status Transformer::PreparePrompts(const ModelParts& parts,
                                         const TransformerOptions& options) {
  if (options.products == Products::kPlain) return absl::OkStatus();
  std::shared_ptr<const DenseGemm> library;
  if (options.products != Products::kGenerated) {
    absl::StatusOr<std::shared_ptr<const DenseGemm>> opened =
        DenseGemm::Open(parts.modules.device());
    if (opened.ok()) {
      library = *std::move(opened);
    } else if (options.products == Products::kLibrary || !absl::IsUnavailable(opened.status())) {
      return opened.status();
    } else if (const DebugFlags& debug = parts.modules.device()->debug(); debug.level >= 1) {
      debug.log(absl::StrCat("prompts without cuBLASLt: ", opened.status().message()));
    }
  }
  absl::StatusOr<std::unique_ptr<Lowering>> prompts = NewPromptLowering(parts, std::move(library));
  if (prompts.ok()) {
    prompt_lowering_ = *std::move(prompts);
    dense_rows_ = options.dense_rows;
    return absl::OkStatus();
  }
  // What dense products cannot compute goes through the plain kernels, unless it was asked for.
  const bool optional =
      options.products == Products::kAuto &&
      (absl::IsUnimplemented(prompts.status()) || absl::IsResourceExhausted(prompts.status()));
  return optional ? absl::OkStatus() : prompts.status();
}

absl::Status Transformer::UploadRopeRates(Device& device) {
  const std::vector<float> rates =
      RopeRates(config_.rope_dim, config_.rope_freq_base, 1.0, config_.rope_divisors);
  const uint64_t bytes = rates.size() * sizeof(float);
  PTXSMITH_ASSIGN_OR_RETURN(rope_rates_, device.Allocate(bytes, "rope_rates"));
  PTXSMITH_RETURN_IF_ERROR(stream_.CopyToDevice(rope_rates_, rates.data(), bytes));
  return stream_.Synchronize();
}

absl::Status Transformer::RecordGraph(Program& program) {
  if (!graphs_) return absl::OkStatus();
  PTXSMITH_ASSIGN_OR_RETURN(program.graph, Graph::Record(stream_, Graph::Method::kCapture, [&] {
                              return program.step.Enqueue(stream_);
                            }));
  return absl::OkStatus();
}

absl::Status Transformer::MakeProgram(const StepShape& shape, Program* program) {
  PTXSMITH_ASSIGN_OR_RETURN(program->step, lowering_->Lower(shape));
  return RecordGraph(*program);
}

absl::Status Transformer::CheckRoom(uint32_t tokens) const {
  if (tokens <= context_ - length_) return absl::OkStatus();
  if (length_ == context_) {
    return absl::OutOfRangeError(
        absl::StrCat("the context of ", context_, " positions is full; ask for a larger one"));
  }
  return absl::OutOfRangeError(absl::StrCat("the prompt has ", tokens, " tokens; the context of ",
                                            context_, " positions has room for ",
                                            context_ - length_));
}

absl::Status Transformer::CheckTokens(absl::Span<const TokenId> tokens) const {
  for (const TokenId token : tokens) {
    if (token < config_.vocab_size) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("token ", token, " is beyond the vocabulary of ", config_.vocab_size));
  }
  return absl::OkStatus();
}

absl::Status Transformer::UploadInputs(absl::Span<const TokenId> tokens) {
  if (rewound_) {
    // Copies out of the places of these positions may still be under way.
    PTXSMITH_RETURN_IF_ERROR(stream_.Synchronize());
    rewound_ = false;
  }
  const uint32_t rows = static_cast<uint32_t>(tokens.size());
  TokenId* const place = static_cast<TokenId*>(host_tokens_.data()) + length_;
  std::copy(tokens.begin(), tokens.end(), place);
  PTXSMITH_RETURN_IF_ERROR(stream_.CopyToDevice(io_.tokens(rows), place, uint64_t{rows} * 4));
  return stream_.CopyToDevice(io_.positions(rows),
                              static_cast<const uint32_t*>(host_positions_.data()) + length_,
                              uint64_t{rows} * 4);
}

absl::Status Transformer::Run(const Program& program) {
  if (observer_) return RunObserved(program.step);
  return program.graph.kernels() > 0 ? program.graph.Launch(stream_)
                                     : program.step.Enqueue(stream_);
}

absl::Status Transformer::RunObserved(const ptxsmith::Step& step) {
  for (const StepKernel& kernel : step.kernels()) {
    PTXSMITH_RETURN_IF_ERROR(kernel.Enqueue(stream_));
    observed_.resize(kernel.result.bytes / sizeof(float));
    PTXSMITH_RETURN_IF_ERROR(
        stream_.CopyToHost(observed_.data(), kernel.result, kernel.result.bytes));
    PTXSMITH_RETURN_IF_ERROR(stream_.Synchronize());
    PTXSMITH_RETURN_IF_ERROR(observer_(kernel, observed_));
  }
  return absl::OkStatus();
}

absl::Status Transformer::Step(TokenId token, bool want_logits) {
  PTXSMITH_RETURN_IF_ERROR(CheckRoom(1));
  PTXSMITH_RETURN_IF_ERROR(CheckTokens({&token, 1}));
  PTXSMITH_RETURN_IF_ERROR(UploadInputs({&token, 1}));
  PTXSMITH_RETURN_IF_ERROR(Run(want_logits ? step_logits_ : step_));
  output_ = want_logits ? Output::kLogits : Output::kNothing;
  ++length_;
  return absl::OkStatus();
}

absl::StatusOr<const Transformer::Program*> Transformer::PromptProgram(uint32_t rows,
                                                                       bool want_logits) {
  const auto found = prompts_.find({rows, want_logits});
  if (found != prompts_.end()) return &found->second;
  if (prompts_.size() == kMaxPromptPrograms) prompts_.clear();
  const StepShape shape{
      .rows = rows, .exact = false, .logits = want_logits ? LogitRows::kLast : LogitRows::kNone};
  Program program;
  Lowering& lowering =
      prompt_lowering_ != nullptr && rows >= dense_rows_ ? *prompt_lowering_ : *lowering_;
  PTXSMITH_ASSIGN_OR_RETURN(program.step, lowering.Lower(shape));
  return &prompts_.emplace(std::pair(rows, want_logits), std::move(program)).first->second;
}

absl::Status Transformer::Prompt(absl::Span<const TokenId> tokens, bool want_logits,
                                 const std::function<bool()>& go_on) {
  PTXSMITH_RETURN_IF_ERROR(CheckRoom(static_cast<uint32_t>(
      std::min<size_t>(tokens.size(), std::numeric_limits<uint32_t>::max()))));
  PTXSMITH_RETURN_IF_ERROR(CheckTokens(tokens));
  while (!tokens.empty() && (!go_on || go_on())) {
    const absl::Span<const TokenId> piece = tokens.first(std::min<size_t>(batch_, tokens.size()));
    tokens.remove_prefix(piece.size());
    const bool logits = want_logits && tokens.empty();
    if (piece.size() == 1) {
      PTXSMITH_RETURN_IF_ERROR(Step(piece[0], logits));
      continue;
    }
    const uint32_t rows = static_cast<uint32_t>(piece.size());
    PTXSMITH_ASSIGN_OR_RETURN(const Program* const program, PromptProgram(rows, logits));
    PTXSMITH_RETURN_IF_ERROR(UploadInputs(piece));
    PTXSMITH_RETURN_IF_ERROR(Run(*program));
    output_ = logits ? Output::kLogits : Output::kNothing;
    length_ += rows;
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Span<const float>> Transformer::Logits() {
  if (output_ == Output::kNothing) {
    return absl::FailedPreconditionError("the last step was run without logits");
  }
  PTXSMITH_RETURN_IF_ERROR(
      stream_.CopyToHost(logits_.data(), io_.logits(1), logits_.size() * sizeof(float)));
  PTXSMITH_RETURN_IF_ERROR(stream_.Synchronize());
  return absl::MakeConstSpan(logits_);
}

absl::Status Transformer::Pick() {
  if (output_ == Output::kNothing) {
    return absl::FailedPreconditionError("the last step was run without logits");
  }
  if (output_ == Output::kChoice) return absl::OkStatus();
  // After a prompt the first row is not the last token.
  PTXSMITH_RETURN_IF_ERROR(stream_.CopyToDevice(
      io_.positions(1), static_cast<const uint32_t*>(host_positions_.data()) + length_ - 1, 4));
  PTXSMITH_RETURN_IF_ERROR(Run(pick_));
  output_ = Output::kChoice;
  return SendPick();
}

absl::Status Transformer::SendPick() {
  const uint32_t place = choices_made_ % kPickRing;
  Choice& choice = choices_[place];
  PTXSMITH_RETURN_IF_ERROR(choice.made.Record(stream_));
  PTXSMITH_RETURN_IF_ERROR(choice.made.Wait(choice_stream_));
  PTXSMITH_RETURN_IF_ERROR(choice_stream_.CopyToHost(
      static_cast<TokenId*>(host_choices_.data()) + place,
      io_.pick_log().Slice(place * sizeof(TokenId), sizeof(TokenId)), sizeof(TokenId)));
  PTXSMITH_RETURN_IF_ERROR(choice.received.Record(choice_stream_));
  ++choices_made_;
  return absl::OkStatus();
}

absl::StatusOr<TokenId> Transformer::Greedy() {
  PTXSMITH_RETURN_IF_ERROR(Pick());
  while (choices_read_ != choices_made_) PTXSMITH_RETURN_IF_ERROR(NextGreedy().status());
  return last_choice_;
}

absl::Status Transformer::StepGreedy() {
  PTXSMITH_RETURN_IF_ERROR(CheckRoom(1));
  if (choices_made_ - choices_read_ + 1 >= kPickRing) {
    return absl::FailedPreconditionError(
        absl::StrCat(choices_made_ - choices_read_, " choices have not been asked for"));
  }
  PTXSMITH_RETURN_IF_ERROR(Pick());
  PTXSMITH_RETURN_IF_ERROR(Run(decode_));
  PTXSMITH_RETURN_IF_ERROR(SendPick());
  ++length_;
  ++ahead_;
  return absl::OkStatus();
}

absl::StatusOr<TokenId> Transformer::NextGreedy() {
  if (choices_read_ == choices_made_) {
    return absl::FailedPreconditionError("every choice has been asked for");
  }
  const uint32_t place = choices_read_ % kPickRing;
  PTXSMITH_RETURN_IF_ERROR(choices_[place].received.Await());
  last_choice_ = static_cast<const TokenId*>(host_choices_.data())[place];
  ++choices_read_;
  ahead_ = std::min(ahead_, choices_made_ - choices_read_);
  return last_choice_;
}

void Transformer::DropAhead() {
  choices_read_ = choices_made_;
  if (ahead_ == 0) return;
  length_ -= ahead_;
  ahead_ = 0;
  rewound_ = true;
  output_ = Output::kNothing;
}

void Transformer::Reset() {
  DropAhead();
  length_ = 0;
  rewound_ = true;
  output_ = Output::kNothing;
}

}  // namespace ptxsmith

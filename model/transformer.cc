#include "model/transformer.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/kv_snapshot.h"
#include "ptx_templates/gemv_core.h"
#include "ptx_templates/rope.h"

namespace ptxsmith {
namespace {

// Rotation is exact below.
constexpr uint32_t kMaxPositions = 1 << 24;
// Programs for prompts of so many lengths are kept; making one costs some milliseconds.
constexpr size_t kMaxPromptPrograms = 8;

uint32_t* Words(const HostBuffer& buffer) { return static_cast<uint32_t*>(buffer.data()); }

}  // namespace

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::Load(const GgufFile& file,
                                                               ModuleCache& cache,
                                                               const TransformerOptions& options) {
  PTXSMITH_ASSIGN_OR_RETURN(const ModelConfig config, ModelConfig::FromGguf(file, options.context));
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
  if (options.slots == 0) return absl::InvalidArgumentError("a cache of 0 slots");
  Device& device = *cache.device();
  PTXSMITH_ASSIGN_OR_RETURN(Stream stream, device.NewStream());
  PTXSMITH_ASSIGN_OR_RETURN(Weights weights,
                            Weights::Load(file, config, device, stream, options.progress));
  std::unique_ptr<Transformer> model(new Transformer(std::move(weights), config));
  model->stream_ = std::move(stream);
  model->context_ = context;
  model->batch_ = std::min(options.batch, context);
  model->exact_batches_ = options.exact_batches;
  model->lengths_.resize(options.slots);
  model->ahead_slots_.reserve(std::min(options.slots, kMaxGemvTokens));
  PTXSMITH_RETURN_IF_ERROR(model->UploadRopeRates(device));
  PTXSMITH_RETURN_IF_ERROR(model->Prepare(cache, options));
  return model;
}

absl::Status Transformer::Prepare(ModuleCache& cache, const TransformerOptions& options) {
  Device& device = *cache.device();
  profile_ = options.profile != nullptr ? options.profile : std::make_shared<GpuProfile>();
  graphs_ = device.debug().level < 2 && !device.debug().sync;
  // Of batches and of prompts; logits are wanted of all rows of a batch.
  const uint32_t logit_rows = std::max(std::min(std::max(batch_, slots()), kMaxGemvTokens),
                                       std::min(options.logit_rows, batch_));
  PTXSMITH_ASSIGN_OR_RETURN(
      io_, StepIo::Allocate(device, config_, std::max(batch_, logit_rows), logit_rows));
  PTXSMITH_ASSIGN_OR_RETURN(
      kv_cache_,
      KvCache::Allocate(device, config_,
                        {.context = context_, .slots = slots(), .type = options.kv_type}));
  PTXSMITH_ASSIGN_OR_RETURN(kv_shift_, KvShift::Create(cache, kv_cache_, config_, rope_rates_));
  PTXSMITH_RETURN_IF_ERROR(stream_.Fill(io_.pick_count(), 0));
  PTXSMITH_RETURN_IF_ERROR(stream_.Fill(io_.slots(io_.rows()), 0));

  const uint64_t slot_count = slots();
  PTXSMITH_ASSIGN_OR_RETURN(host_tokens_, device.AllocateHost(slot_count * context_ * 4));
  PTXSMITH_ASSIGN_OR_RETURN(host_positions_, device.AllocateHost(uint64_t{context_} * 4));
  std::iota(Words(host_positions_), Words(host_positions_) + context_, 0);
  PTXSMITH_ASSIGN_OR_RETURN(host_slots_, device.AllocateHost(slot_count * batch_ * 4));
  for (uint32_t slot = 0; slot < slots(); ++slot) {
    std::fill_n(Words(host_slots_) + uint64_t{slot} * batch_, batch_, slot);
  }
  PTXSMITH_ASSIGN_OR_RETURN(host_batches_,
                            device.AllocateHost(uint64_t{kPickRing} * 3 * logit_rows * 4));
  PTXSMITH_ASSIGN_OR_RETURN(host_choices_,
                            device.AllocateHost(uint64_t{kPickRing} * logit_rows * 4));
  PTXSMITH_ASSIGN_OR_RETURN(choice_stream_, device.NewStream());
  for (Choice& choice : choices_) {
    PTXSMITH_ASSIGN_OR_RETURN(choice.made, device.NewEvent());
    PTXSMITH_ASSIGN_OR_RETURN(choice.received, device.NewEvent());
  }
  logits_.resize(uint64_t{logit_rows} * config_.vocab_size);

  modules_ = &cache;
  activations_ = options.activations;
  const ModelParts parts = Parts();
  PTXSMITH_ASSIGN_OR_RETURN(lowering_, NewLowering(options.lowering, parts));
  PTXSMITH_RETURN_IF_ERROR(PreparePrompts(parts, options));
  PTXSMITH_RETURN_IF_ERROR(MakeProgram({.logits = LogitRows::kNone}, &step_));
  PTXSMITH_RETURN_IF_ERROR(MakeProgram({.logits = LogitRows::kAll}, &step_logits_));
  PTXSMITH_RETURN_IF_ERROR(MakeProgram({.logits = LogitRows::kAll, .pick = true}, &decode_));
  StepBuilder pick(cache);
  PTXSMITH_RETURN_IF_ERROR(Lowering::AddPick(parts, 1, pick));
  pick_.step = std::move(pick).Take();
  return RecordGraph(pick_);
}

ModelParts Transformer::Parts() const {
  return {config_, weights_, kv_cache_, io_, rope_rates_, *modules_, *profile_, activations_};
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
  absl::StatusOr<std::unique_ptr<Lowering>> prompts =
      NewPromptLowering(parts, std::move(library), options.prompt_weights);
  if (prompts.ok()) {
    prompt_lowering_ = *std::move(prompts);
    dense_rows_ =
        options.dense_rows.value_or(std::max(profile_->dense_rows, lowering_->prompt_rows() + 1));
    return absl::OkStatus();
  }
  // What dense products cannot compute goes through the plain kernels, unless it was asked for.
  const bool optional =
      options.products == Products::kAuto &&
      (absl::IsUnimplemented(prompts.status()) || absl::IsResourceExhausted(prompts.status()));
  if (!optional) return prompts.status();
  // A lack of memory is worth a word: with more of it prompts would be faster.
  if (absl::IsResourceExhausted(prompts.status())) {
    parts.modules.device()->LogFailure(prompts.status());
  }
  return absl::OkStatus();
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

absl::Status Transformer::CheckRoom(uint32_t slot, uint32_t tokens) const {
  const uint32_t room = context_ - lengths_[slot];
  if (tokens <= room) return absl::OkStatus();
  if (room == 0) {
    return absl::OutOfRangeError(
        absl::StrCat("the context of ", context_, " positions is full; ask for a larger one"));
  }
  return absl::OutOfRangeError(absl::StrCat("the prompt has ", tokens, " tokens; the context of ",
                                            context_, " positions has room for ", room));
}

absl::Status Transformer::CheckTokens(absl::Span<const TokenId> tokens) const {
  for (const TokenId token : tokens) {
    if (token < config_.vocab_size) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("token ", token, " is beyond the vocabulary of ", config_.vocab_size));
  }
  return absl::OkStatus();
}

absl::Status Transformer::AwaitUploads() {
  if (!rewound_) return absl::OkStatus();
  rewound_ = false;
  return stream_.Synchronize();
}

absl::Status Transformer::UploadInputs(absl::Span<const TokenId> tokens) {
  PTXSMITH_RETURN_IF_ERROR(AwaitUploads());
  const uint32_t rows = static_cast<uint32_t>(tokens.size());
  uint32_t* const place = Words(host_tokens_) + uint64_t{slot_} * context_ + length();
  std::copy(tokens.begin(), tokens.end(), place);
  const uint64_t bytes = uint64_t{rows} * 4;
  PTXSMITH_RETURN_IF_ERROR(stream_.CopyToDevice(io_.tokens(rows), place, bytes));
  PTXSMITH_RETURN_IF_ERROR(
      stream_.CopyToDevice(io_.positions(rows), Words(host_positions_) + length(), bytes));
  if (slots() == 1) return absl::OkStatus();
  return stream_.CopyToDevice(io_.slots(rows), Words(host_slots_) + uint64_t{slot_} * batch_,
                              bytes);
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
  PTXSMITH_RETURN_IF_ERROR(CheckRoom(slot_, 1));
  PTXSMITH_RETURN_IF_ERROR(CheckTokens({&token, 1}));
  ForgetPicks();
  PTXSMITH_RETURN_IF_ERROR(UploadInputs({&token, 1}));
  PTXSMITH_RETURN_IF_ERROR(Run(want_logits ? step_logits_ : step_));
  output_ = want_logits ? Output::kLogits : Output::kNothing;
  output_rows_ = 1;
  ++lengths_[slot_];
  return absl::OkStatus();
}

absl::StatusOr<const Transformer::Program*> Transformer::PromptProgram(uint32_t rows,
                                                                       LogitRows logits) {
  const auto found = prompts_.find({rows, logits});
  if (found != prompts_.end()) return &found->second;
  if (prompts_.size() == kMaxPromptPrograms) prompts_.clear();
  const StepShape shape{.rows = rows, .exact = false, .logits = logits};
  Program program;
  Lowering& lowering =
      prompt_lowering_ != nullptr && rows >= dense_rows_ ? *prompt_lowering_ : *lowering_;
  PTXSMITH_ASSIGN_OR_RETURN(program.step, lowering.Lower(shape));
  return &prompts_.emplace(std::pair(rows, logits), std::move(program)).first->second;
}

absl::Status Transformer::Prompt(absl::Span<const TokenId> tokens, bool want_logits,
                                 const std::function<bool()>& go_on) {
  PTXSMITH_RETURN_IF_ERROR(
      CheckRoom(slot_, static_cast<uint32_t>(
                           std::min<size_t>(tokens.size(), std::numeric_limits<uint32_t>::max()))));
  PTXSMITH_RETURN_IF_ERROR(CheckTokens(tokens));
  ForgetPicks();
  while (!tokens.empty() && (!go_on || go_on())) {
    const absl::Span<const TokenId> piece = tokens.first(std::min<size_t>(batch_, tokens.size()));
    tokens.remove_prefix(piece.size());
    const bool logits = want_logits && tokens.empty();
    if (piece.size() == 1) {
      PTXSMITH_RETURN_IF_ERROR(Step(piece[0], logits));
      continue;
    }
    const uint32_t rows = static_cast<uint32_t>(piece.size());
    PTXSMITH_ASSIGN_OR_RETURN(const Program* const program,
                              PromptProgram(rows, logits ? LogitRows::kLast : LogitRows::kNone));
    PTXSMITH_RETURN_IF_ERROR(UploadInputs(piece));
    PTXSMITH_RETURN_IF_ERROR(Run(*program));
    output_ = logits ? Output::kLogits : Output::kNothing;
    output_rows_ = 1;
    lengths_[slot_] += rows;
  }
  return absl::OkStatus();
}

absl::Status Transformer::PromptLogits(
    absl::Span<const TokenId> tokens,
    const std::function<absl::Status(absl::Span<const float>)>& sink) {
  PTXSMITH_RETURN_IF_ERROR(
      CheckRoom(slot_, static_cast<uint32_t>(
                           std::min<size_t>(tokens.size(), std::numeric_limits<uint32_t>::max()))));
  PTXSMITH_RETURN_IF_ERROR(CheckTokens(tokens));
  ForgetPicks();
  const size_t most = std::min(batch_, io_.logit_rows());
  while (!tokens.empty()) {
    const absl::Span<const TokenId> piece = tokens.first(std::min(most, tokens.size()));
    tokens.remove_prefix(piece.size());
    const uint32_t rows = static_cast<uint32_t>(piece.size());
    if (rows == 1) {
      PTXSMITH_RETURN_IF_ERROR(Step(piece[0], /*want_logits=*/true));
    } else {
      PTXSMITH_ASSIGN_OR_RETURN(const Program* const program, PromptProgram(rows, LogitRows::kAll));
      PTXSMITH_RETURN_IF_ERROR(UploadInputs(piece));
      PTXSMITH_RETURN_IF_ERROR(Run(*program));
      lengths_[slot_] += rows;
      output_ = Output::kLogits;
      output_rows_ = rows;
    }
    absl::StatusOr<absl::Span<const float>> logits = Logits();
    output_ = Output::kNothing;  // of several rows, none is the one to go on from
    PTXSMITH_RETURN_IF_ERROR(logits.status());
    for (uint32_t row = 0; row < rows; ++row) {
      PTXSMITH_RETURN_IF_ERROR(
          sink(logits->subspan(size_t{row} * config_.vocab_size, config_.vocab_size)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::Span<const float>> Transformer::Logits() {
  if (output_ == Output::kNothing) {
    return absl::FailedPreconditionError("the last step was run without logits");
  }
  const BufferView logits = io_.logits(output_rows_);
  PTXSMITH_RETURN_IF_ERROR(stream_.CopyToHost(logits_.data(), logits, logits.bytes));
  PTXSMITH_RETURN_IF_ERROR(stream_.Synchronize());
  return absl::MakeConstSpan(logits_).first(logits.bytes / sizeof(float));
}

absl::Status Transformer::Pick() {
  if (output_ == Output::kChoice) return absl::OkStatus();
  if (output_ == Output::kNothing) {
    return absl::FailedPreconditionError("the last step was run without logits");
  }
  if (output_ == Output::kBatch) {
    return absl::FailedPreconditionError("the last step was one of several sequences");
  }
  // After a prompt the first row is not the last token.
  PTXSMITH_RETURN_IF_ERROR(
      stream_.CopyToDevice(io_.positions(1), Words(host_positions_) + length() - 1, 4));
  PTXSMITH_RETURN_IF_ERROR(RunChoice(pick_, sampled_pick_));
  output_ = Output::kChoice;
  return SendPicks(1);
}

absl::Status Transformer::SendPicks(uint32_t rows) {
  const uint32_t place = choices_made_ % kPickRing;
  Choice& choice = choices_[place];
  choice.rows = rows;
  PTXSMITH_RETURN_IF_ERROR(choice.made.Record(stream_));
  PTXSMITH_RETURN_IF_ERROR(choice.made.Wait(choice_stream_));
  const uint64_t bytes = uint64_t{rows} * sizeof(TokenId);
  PTXSMITH_RETURN_IF_ERROR(
      choice_stream_.CopyToHost(Words(host_choices_) + uint64_t{place} * io_.logit_rows(),
                                io_.pick_log().Slice(place * bytes, bytes), bytes));
  PTXSMITH_RETURN_IF_ERROR(choice.received.Record(choice_stream_));
  ++choices_made_;
  return absl::OkStatus();
}

absl::StatusOr<absl::Span<const TokenId>> Transformer::ReceivePicks() {
  if (choices_read_ == choices_made_) {
    return absl::FailedPreconditionError("every choice has been asked for");
  }
  const uint32_t place = choices_read_ % kPickRing;
  PTXSMITH_RETURN_IF_ERROR(choices_[place].received.Await());
  ++choices_read_;
  ahead_ = std::min(ahead_, choices_made_ - choices_read_);
  return absl::MakeConstSpan(Words(host_choices_) + uint64_t{place} * io_.logit_rows(),
                             choices_[place].rows);
}

absl::Status Transformer::CheckUnreadPicks() const {
  // One place is for the choice that a first greedy step makes before its own.
  if (choices_made_ - choices_read_ + 1 < kPickRing) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(choices_made_ - choices_read_, " choices have not been asked for"));
}

void Transformer::ForgetPicks() {
  if (choices_read_ != choices_made_) rewound_ = true;
  choices_read_ = choices_made_;
  ahead_ = 0;
}

absl::Status Transformer::RunChoice(const Program& greedy, const Program& sampled) {
  if (!Samples(slot_)) return Run(greedy);
  PTXSMITH_RETURN_IF_ERROR(sampler_->Feed({&slot_, 1}, stream_));
  return Run(sampled);
}

absl::Status Transformer::AddSampling(uint32_t rows, ptxsmith::Step& step) const {
  StepBuilder choice(*modules_);
  PTXSMITH_RETURN_IF_ERROR(sampler_->AddTo(Parts(), rows, choice));
  step.Append(std::move(choice).Take());
  return absl::OkStatus();
}

absl::Status Transformer::SetSampling(const SamplerOptions& options,
                                      absl::Span<const TokenId> recent) {
  PTXSMITH_RETURN_IF_ERROR(CheckSampling(options));
  DropAhead();
  if (output_ == Output::kBatch) output_ = Output::kNothing;
  if (!sampler_) {
    if (options.temperature == 0 && options.penalty == 1) return absl::OkStatus();
    PTXSMITH_ASSIGN_OR_RETURN(sampler_, DeviceSampler::Create(Parts(), stream_));
  }
  const DeviceSampler::Kernels before = sampler_->kernels();
  PTXSMITH_RETURN_IF_ERROR(sampler_->Set(slot_, options, recent, stream_));
  if (sampler_->kernels() == before) return absl::OkStatus();
  // Nothing runs: Set has waited.
  std::erase_if(batches_, [](const auto& batch) { return batch.first.sampled; });
  ptxsmith::Step pick;
  PTXSMITH_RETURN_IF_ERROR(AddSampling(1, pick));
  PTXSMITH_ASSIGN_OR_RETURN(ptxsmith::Step decode, lowering_->Lower({.logits = LogitRows::kAll}));
  PTXSMITH_RETURN_IF_ERROR(AddSampling(1, decode));
  sampled_pick_ = {std::move(pick), Graph()};
  sampled_decode_ = {std::move(decode), Graph()};
  PTXSMITH_RETURN_IF_ERROR(RecordGraph(sampled_pick_));
  return RecordGraph(sampled_decode_);
}

absl::StatusOr<TokenId> Transformer::Greedy() {
  PTXSMITH_RETURN_IF_ERROR(Pick());
  while (choices_read_ != choices_made_) PTXSMITH_RETURN_IF_ERROR(NextGreedy().status());
  return last_choice_;
}

absl::Status Transformer::StepGreedy() {
  PTXSMITH_RETURN_IF_ERROR(CheckRoom(slot_, 1));
  PTXSMITH_RETURN_IF_ERROR(CheckUnreadPicks());
  PTXSMITH_RETURN_IF_ERROR(Pick());
  PTXSMITH_RETURN_IF_ERROR(RunChoice(decode_, sampled_decode_));
  PTXSMITH_RETURN_IF_ERROR(SendPicks(1));
  ++lengths_[slot_];
  ++ahead_;
  ahead_slots_.assign(1, slot_);
  return absl::OkStatus();
}

absl::StatusOr<TokenId> Transformer::NextGreedy() {
  PTXSMITH_ASSIGN_OR_RETURN(const absl::Span<const TokenId> choice, ReceivePicks());
  return last_choice_ = choice[0];
}

void Transformer::DropAhead() {
  if (ahead_ > 0) {
    for (const uint32_t slot : ahead_slots_) lengths_[slot] -= ahead_;
    output_ = Output::kNothing;
  }
  ForgetPicks();
}

absl::Status Transformer::Rewind(uint32_t length) {
  DropAhead();
  if (length > this->length()) {
    return absl::OutOfRangeError(
        absl::StrCat("cannot rewind to position ", length, ": the sequence has ", this->length()));
  }
  lengths_[slot_] = length;
  rewound_ = true;
  output_ = Output::kNothing;
  return absl::OkStatus();
}

absl::Status Transformer::Shift(uint32_t keep, uint32_t drop) {
  DropAhead();
  if (keep > length() || drop > length() - keep) {
    return absl::OutOfRangeError(absl::StrCat("cannot drop ", drop, " positions after ", keep,
                                              ": the sequence has ", length()));
  }
  PTXSMITH_RETURN_IF_ERROR(kv_shift_.Run(slot_, {keep, drop, length()}, stream_));
  lengths_[slot_] -= drop;
  rewound_ = true;
  output_ = Output::kNothing;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<uint8_t>> Transformer::Save() {
  DropAhead();
  return SaveKv(kv_cache_, config_, {slot_, length()}, stream_);
}

absl::Status Transformer::Restore(absl::Span<const uint8_t> snapshot) {
  if (length() != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("a snapshot for a sequence that has ", length(), " positions"));
  }
  PTXSMITH_ASSIGN_OR_RETURN(lengths_[slot_],
                            RestoreKv(snapshot, kv_cache_, config_, slot_, stream_));
  output_ = Output::kNothing;
  return absl::OkStatus();
}

void Transformer::Reset() {
  DropAhead();
  lengths_[slot_] = 0;
  rewound_ = true;
  output_ = Output::kNothing;
}

}  // namespace ptxsmith

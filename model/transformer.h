// A transformer on a device: tokens in, logits or the next token out. Kernels are generated,
// compiled, bound and put into graphs when it is loaded.
//
//   PTXSMITH_ASSIGN_OR_RETURN(auto model, Transformer::Load(file, cache, {.context = 512}));
//   PTXSMITH_RETURN_IF_ERROR(model->Prompt(tokens, /*want_logits=*/true));
//   PTXSMITH_ASSIGN_OR_RETURN(TokenId next, model->Greedy());
//   PTXSMITH_RETURN_IF_ERROR(model->StepGreedy());               // runs `next` and chooses again
//   PTXSMITH_ASSIGN_OR_RETURN(TokenId after_next, model->NextGreedy());
//
// What changes from token to token lies in device memory that the kernels read and, where the
// device chooses the next token, also write. So decoding is one graph launch per token, nothing is
// uploaded, and the host may run steps ahead of the tokens it has seen. A step allocates nothing.
//
// Thread-safety: belongs to one thread. Lifetime: keeps its device alive.
#ifndef PTXSMITH_MODEL_TRANSFORMER_H_
#define PTXSMITH_MODEL_TRANSFORMER_H_

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/config.h"
#include "model/device_sampler.h"
#include "model/gguf.h"
#include "model/kv_shift.h"
#include "model/lowering.h"
#include "model/prompt_lowering.h"
#include "model/sampler.h"
#include "model/step.h"
#include "model/step_memory.h"
#include "model/token.h"
#include "model/weights.h"
#include "runtime/graph.h"
#include "runtime/module_cache.h"

namespace ptxsmith {

// Who multiplies the matrices of a prompt.
enum class Products : uint8_t {
  kAuto,       // from dense_rows tokens on the library where it is there, else generated kernels
  kPlain,      // kernels that decode the weights as they multiply, for prompts of any length
  kGenerated,  // from dense_rows tokens on generated kernels over weights expanded to f16
  kLibrary,    // from dense_rows tokens on cuBLASLt; Unavailable when it is not there
};

struct TransformerOptions {
  uint32_t context = 0;  // positions of the cache; 0: what the model was trained for
  uint32_t slots = 1;    // sequences that the cache holds
  // Sequences side by side have the bits of single steps. Else they share tensor cores: a row's
  // bits then are those of the same row in a batch of its own. On an H200 (2026-11-20) 32 sequences
  // of an 8B model in q4_k_m take 54.6 ms a step exactly. The batched lowering gives them their
  // bits in any case, in 3.1 ms.
  bool exact_batches = false;
  uint32_t batch = 2048;  // tokens of a prompt that are run at once, at most
  Products products = Products::kAuto;
  std::optional<uint32_t> dense_rows;                       // none: as the profile has it
  PromptWeights prompt_weights = PromptWeights::kExpanded;  // of those products
  // Tokens whose logits the device can hold at once, for PromptLogits; at least those of a batch
  // of sequences.
  uint32_t logit_rows = 0;
  QuantType kv_type = QuantType::kF16;
  Activations activations = Activations::kF32;
  LoweringChoice lowering = LoweringChoice::kAuto;
  std::shared_ptr<const GpuProfile> profile;  // of the device, when it was tuned; null: by rules
  Weights::Progress progress;
};

// Sees what each kernel of a step wrote, in order. An error ends the step.
using StepObserver =
    std::function<absl::Status(const StepKernel& kernel, absl::Span<const float> result)>;

// A token of one of several sequences.
struct SlotToken {
  uint32_t slot;
  TokenId token;
};

class Transformer {
 public:
  // Errors as of ModelConfig and Weights; InvalidArgument when `context` exceeds the model's
  // or what kernels support.
  static absl::StatusOr<std::unique_ptr<Transformer>> Load(const GgufFile& file, ModuleCache& cache,
                                                           const TransformerOptions& options);

  // --- One sequence: the selected one. ---

  // Runs `token` at position length(), which then grows by one. OutOfRange when the context is
  // full, InvalidArgument for a token beyond the vocabulary; both leave everything as it was.
  // Logits cost the largest matrix of small models: ask for them only when needed.
  absl::Status Step(TokenId token, bool want_logits);

  // Runs all tokens, many at once, on tensor cores where there are any: the logits, those of the
  // last token, differ from those of single steps by roundings. Errors as of Step; then no token or
  // whole pieces of the prompt have been run, as length() says. `go_on` is asked before each piece
  // of up to `batch` tokens; empty: yes.
  absl::Status Prompt(absl::Span<const TokenId> tokens, bool want_logits,
                      const std::function<bool()>& go_on = nullptr);

  // Runs all tokens, as many at once as options allow, and shows the logits of each, in order. An
  // error of `sink` ends the run; then length() tells which tokens have been run, and there are no
  // logits.
  absl::Status PromptLogits(absl::Span<const TokenId> tokens,
                            const std::function<absl::Status(absl::Span<const float>)>& sink);

  // Of the last token run, for which they must have been wanted; of a batch those of every row.
  // Waits for the device. The span is valid until the next call.
  absl::StatusOr<absl::Span<const float>> Logits();
  // The index of the largest of them, or what SetSampling says, found on the device: four bytes
  // travel.
  absl::StatusOr<TokenId> Greedy();

  // From here on the choices for this slot, alone or in batches, are those of Sampler with these
  // options, number for number; a temperature of 0 makes them greedy again. `recent` are the tokens
  // so far, whose logits the penalty lowers; with a penalty Logits() are lowered, too. Verify stays
  // greedy. InvalidArgument for an option out of range, Unimplemented unless DeviceCanSample; then
  // nothing has changed. A batch that ran before does not go on by StepBatchGreedy.
  absl::Status SetSampling(const SamplerOptions& options, absl::Span<const TokenId> recent);

  // Runs the token that Greedy() gives, or that the StepGreedy before this one chose, and chooses
  // the next. Only enqueues. OutOfRange when the context is full, FailedPrecondition when there are
  // no logits to choose from or kPickRing choices have not been asked for.
  absl::Status StepGreedy();
  // The oldest choice that has not been asked for. Waits for it.
  absl::StatusOr<TokenId> NextGreedy();
  // Takes back the steps whose choices have not been asked for: length() is as if they had not
  // been run, and there are no logits. Other steps than greedy ones forget these choices, but keep
  // the positions.
  void DropAhead();

  // Runs up to 32 tokens in one pass and returns the likeliest token after each of them, bit for
  // bit what single steps of these kernels give: so a draft is checked, and Rewind() drops what was
  // wrong of it. Waits for the device. The span is valid until the next call.
  absl::StatusOr<absl::Span<const TokenId>> Verify(absl::Span<const TokenId> tokens);

  // Forgets the positions from `length` on. OutOfRange beyond length().
  absl::Status Rewind(uint32_t length);
  // Forgets all positions.
  void Reset();
  // Forgets the `drop` positions after the first `keep`; those that follow take their places, their
  // keys rotated and rounded again: how a text goes on when its context is full. There are no
  // logits afterwards. Dropping half of what follows is one launch a layer, dropping little many.
  // OutOfRange beyond length().
  absl::Status Shift(uint32_t keep, uint32_t drop);

  // All positions as bytes, and an empty sequence filled from them: see model/kv_snapshot.h. There
  // are no logits afterwards. FailedPrecondition unless the sequence is empty.
  absl::StatusOr<std::vector<uint8_t>> Save();
  absl::Status Restore(absl::Span<const uint8_t> snapshot);

  // --- Several sequences. ---

  uint32_t slots() const { return static_cast<uint32_t>(lengths_.size()); }
  // Whose sequence the calls above are about, 0 at first. OutOfRange when there is no such slot.
  absl::Status Select(uint32_t slot);

  // Runs one token of each of up to 32 sequences, each at the length of its own, in one pass, and
  // chooses the next tokens. A row's result does not depend on the others. InvalidArgument names a
  // row whose slot is not there or twice; other errors as of Step.
  absl::Status StepBatch(absl::Span<const SlotToken> rows);
  // The same sequences again, each with the token chosen for it: one graph launch.
  absl::Status StepBatchGreedy();
  // The oldest choices of a batch that have not been asked for, by row. Waits for them. The span is
  // valid until kPickRing further batches.
  absl::StatusOr<absl::Span<const TokenId>> NextBatch();

  // --- Both. ---

  // From here on steps run kernel by kernel and show their results; empty: no more.
  void SetObserver(StepObserver observer) { observer_ = std::move(observer); }

  uint32_t length() const { return lengths_[slot_]; }  // positions filled
  uint32_t length(uint32_t slot) const { return lengths_[slot]; }
  uint32_t context() const { return context_; }  // positions there are
  const ModelConfig& config() const { return config_; }
  const Lowering& lowering() const { return *lowering_; }
  // The one of long prompts.
  const Lowering& prompt_lowering() const {
    return prompt_lowering_ != nullptr ? *prompt_lowering_ : *lowering_;
  }
  const Weights& weights() const { return weights_; }
  uint64_t weight_bytes() const { return weights_.bytes(); }
  const KvCache& kv_cache() const { return kv_cache_; }
  Stream& stream() { return stream_; }
  // The launches of a decoding step up to its logits, for reports, or of the last batch up to its
  // choices. Run again the former writes what it wrote before, the latter runs on.
  const ptxsmith::Step& decode_step() const {
    return output_ == Output::kBatch ? batch_program_->step : step_logits_.step;
  }

 private:
  // A step and, when it is run often, its graph.
  struct Program {
    ptxsmith::Step step;
    Graph graph;
  };

  Transformer(Weights weights, const ModelConfig& config)
      : config_(config), weights_(std::move(weights)) {}
  absl::Status Prepare(ModuleCache& cache, const TransformerOptions& options);
  absl::Status PreparePrompts(const ModelParts& parts, const TransformerOptions& options);
  absl::Status UploadRopeRates(Device& device);
  absl::Status RecordGraph(Program& program);
  absl::Status MakeProgram(const StepShape& shape, Program* program);
  ModelParts Parts() const;
  // Runs a step that ends with a choice for the selected slot.
  absl::Status RunChoice(const Program& greedy, const Program& sampled);
  // Appends the sampler's choices to `step`, of so many rows.
  absl::Status AddSampling(uint32_t rows, ptxsmith::Step& step) const;
  bool Samples(uint32_t slot) const { return sampler_ && sampler_->Samples(slot); }

  absl::Status CheckRoom(uint32_t slot, uint32_t tokens) const;
  absl::Status CheckTokens(absl::Span<const TokenId> tokens) const;
  // Puts tokens at length() into the inputs of the next step.
  absl::Status UploadInputs(absl::Span<const TokenId> tokens);
  absl::StatusOr<const Program*> PromptProgram(uint32_t rows, LogitRows logits);
  absl::Status Run(const Program& program);
  absl::Status RunObserved(const ptxsmith::Step& step);
  struct BatchShape {
    uint32_t rows = 1;
    bool exact = false;
    bool sampled = false;  // by the sampler, if any row is
    auto operator<=>(const BatchShape&) const = default;
  };
  absl::StatusOr<const Program*> BatchProgram(const BatchShape& shape);
  absl::Status UploadBatch(absl::Span<const SlotToken> rows);
  // Runs the rows of the last batch where their inputs are now.
  absl::Status RunBatch();
  // Waits for copies out of places that are about to be used again.
  absl::Status AwaitUploads();
  // Chooses from the logits of the last step, unless that was done.
  absl::Status Pick();
  // Lets the choices just enqueued travel to the host.
  absl::Status SendPicks(uint32_t rows);
  absl::StatusOr<absl::Span<const TokenId>> ReceivePicks();
  absl::Status CheckUnreadPicks() const;
  void ForgetPicks();

  ModelConfig config_;
  Weights weights_;
  uint32_t context_ = 0;
  uint32_t batch_ = 0;
  std::vector<uint32_t> lengths_;  // by slot
  uint32_t slot_ = 0;
  bool graphs_ = true;  // debugging wants to see each launch

  ModuleCache* modules_ = nullptr;
  Activations activations_ = Activations::kF32;
  std::shared_ptr<const GpuProfile> profile_;
  StepIo io_;
  KvCache kv_cache_;
  KvShift kv_shift_;
  Buffer rope_rates_;
  std::unique_ptr<Lowering> lowering_;
  std::unique_ptr<Lowering> prompt_lowering_;  // of dense_rows_ tokens or more; may be null
  uint32_t dense_rows_ = 0;
  Stream stream_;

  Program step_, step_logits_;  // one token from the host
  Program decode_;              // one token from the device, and the choice of the next
  Program pick_;                // the choice alone
  // The same two with the choice made by the sampler.
  std::optional<DeviceSampler> sampler_;
  Program sampled_decode_, sampled_pick_;
  std::map<std::pair<uint32_t, LogitRows>, Program> prompts_;
  std::map<BatchShape, Program> batches_;
  bool exact_batches_ = false;
  const Program* batch_program_ = nullptr;  // of the last batch,
  bool batch_sampled_ = false;              // ... and whether it needs random numbers

  // Inputs on their way to the device, one place per slot and position, or per choice: a step need
  // not wait for the copies of the steps before it.
  HostBuffer host_tokens_;     // [slots][context]
  HostBuffer host_positions_;  // [context], each its own index
  HostBuffer host_slots_;      // [slots][batch], each its own slot
  HostBuffer host_batches_;    // [kPickRing][3][rows]: tokens, positions, slots
  bool rewound_ = false;       // places may be taken a second time

  // Choices: `made` on the device, `read` by the caller. The stream beside the steps takes them to
  // the host without making the next step wait.
  struct Choice {
    Event made;      // on stream_
    Event received;  // on choice_stream_
    uint32_t rows = 0;
  };
  Stream choice_stream_;
  std::array<Choice, kPickRing> choices_;
  HostBuffer host_choices_;  // [kPickRing][rows]
  uint32_t choices_made_ = 0;
  uint32_t choices_read_ = 0;
  uint32_t ahead_ = 0;                 // steps whose choices have not been read,
  std::vector<uint32_t> ahead_slots_;  // ... and whose positions they have taken
  TokenId last_choice_ = 0;

  // What the device holds of the last token run.
  enum class Output { kNothing, kLogits, kChoice, kBatch };
  Output output_ = Output::kNothing;
  uint32_t output_rows_ = 1;

  StepObserver observer_;
  std::vector<float> logits_;
  std::vector<float> observed_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_TRANSFORMER_H_

// Text from a model: runs the prompt, then picks and runs tokens until an end token, the limit or
// the end of the context. Used by `ptxsmith run`.
//
//   GenerationOptions options{.max_tokens = 64};
//   PTXSMITH_ASSIGN_OR_RETURN(GenerationStats stats,
//       Generate(*model, tokenizer, ids, options, [](absl::string_view text) { ... }));
//
// Thread-safety: that of the model.
#ifndef PTXSMITH_MODEL_GENERATE_H_
#define PTXSMITH_MODEL_GENERATE_H_

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/sampler.h"
#include "model/tokenizer.h"
#include "model/transformer.h"

namespace ptxsmith {

struct GenerationOptions {
  uint32_t max_tokens = 128;
  bool ignore_end = false;  // go on after an end token
  SamplerOptions sampling;  // on the device where it can
  // When the context is full, keep so many tokens from its start, drop half of the others and go
  // on. None: stop.
  std::optional<uint32_t> keep;
  std::function<bool()> stop;  // asked before each step whether to stop; may be empty
};

enum class StopReason {
  kLimit,        // max_tokens
  kEndToken,     // the model's own choice
  kContextFull,  // no position was left
  kStopped,      // GenerationOptions::stop
};
absl::string_view ToString(StopReason reason);  // "limit", "end", "context", "stopped"

struct GenerationStats {
  uint32_t prompt_tokens = 0;     // run
  uint32_t generated_tokens = 0;  // handed to the sink
  double prompt_seconds = 0;      // up to the choice of the first token
  double generation_seconds = 0;  // from there on
  StopReason reason = StopReason::kLimit;
  // The last token handed to the sink, which the model has not run: whoever goes on begins with it.
  std::optional<TokenId> pending;
};

// Takes a piece of the continuation, whole UTF-8 characters at a time.
using TextSink = std::function<void(absl::string_view text)>;

// Starts at the model's present length. Sets the model's sampling. InvalidArgument when the prompt
// is empty, OutOfRange when it does not fit the context (nothing has been run then).
absl::StatusOr<GenerationStats> Generate(Transformer& model, const Tokenizer& tokenizer,
                                         absl::Span<const TokenId> prompt,
                                         const GenerationOptions& options, const TextSink& sink);

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_GENERATE_H_

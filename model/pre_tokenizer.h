// Splits text into the words inside which byte-level BPE merges, by the pattern that
// `tokenizer.ggml.pre` names. Used by the tokenizer.
//
//   PTXSMITH_ASSIGN_OR_RETURN(PreTokenizer pre, PreTokenizer::Create("gpt-2"));
//   PTXSMITH_RETURN_IF_ERROR(pre.Split("it's 12", [&](absl::string_view word) { ... }));
//   // "it", "'s", " 12"
//
// Thread-safety: Split may be called from any thread.
#ifndef PTXSMITH_MODEL_PRE_TOKENIZER_H_
#define PTXSMITH_MODEL_PRE_TOKENIZER_H_

#include <memory>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ptxsmith {

class PreTokenizer {
 public:
  // Unimplemented names an unknown `name` and lists the known ones.
  static absl::StatusOr<PreTokenizer> Create(absl::string_view name);

  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;
  ~PreTokenizer();

  // Hands the words of `text` to `word`, in order; their concatenation is `text`. Bytes that are
  // not UTF-8 form words of their own. ResourceExhausted when the pattern backtracks beyond reason.
  absl::Status Split(absl::string_view text, absl::FunctionRef<void(absl::string_view)> word) const;

  // A word that is a token as a whole is not merged but taken.
  bool ignore_merges() const { return ignore_merges_; }
  // Whether a beginning-of-sequence token is added when the file does not say.
  bool add_bos() const { return add_bos_; }

 private:
  class Pattern;
  PreTokenizer(std::unique_ptr<const Pattern> pattern, bool ignore_merges, bool add_bos);

  std::unique_ptr<const Pattern> pattern_;
  bool ignore_merges_;
  bool add_bos_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_PRE_TOKENIZER_H_

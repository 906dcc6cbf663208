// Text to token ids and back, as the `tokenizer.ggml.*` metadata of a GGUF file defines it. Used by
// generation, perplexity and `ptxsmith tokenize`.
//
//   PTXSMITH_ASSIGN_OR_RETURN(Tokenizer tokenizer, Tokenizer::Create(file));
//   PTXSMITH_ASSIGN_OR_RETURN(std::vector<TokenId> ids, tokenizer.Encode("Hello world", {}));
//   std::string text = tokenizer.Decode(ids);
//
// Byte-level BPE ("gpt2") and SentencePiece ("llama"). Their tokens can spell any bytes: text that
// is not UTF-8 survives encoding and decoding unchanged.
//
// Thread-safety: immutable after Create; a StreamDecoder belongs to one thread.
#ifndef PTXSMITH_MODEL_TOKENIZER_H_
#define PTXSMITH_MODEL_TOKENIZER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/gguf.h"
#include "model/special_tokens.h"
#include "model/token.h"

namespace ptxsmith {

// Text without special tokens to ids: one implementation per `tokenizer.ggml.model`.
class TextEncoder {
 public:
  virtual ~TextEncoder() = default;
  // Appends the tokens of `text`.
  virtual absl::Status Encode(absl::string_view text, std::vector<TokenId>* ids) const = 0;
};

struct EncodeOptions {
  bool add_bos = true;         // begin with BOS where the model wants one
  bool parse_special = false;  // "<|eot_id|>" in the text is that token, not its letters
};

// A piece of a text of which not all is to be trusted: only in `special` pieces control tokens are
// recognised by their names.
struct TextPart {
  absl::string_view text;
  bool special;
};

class Tokenizer {
 public:
  // Keeps nothing of `file`. Unimplemented names a model or pre-tokenizer that is not supported;
  // DataLoss and InvalidArgument name the broken key.
  static absl::StatusOr<Tokenizer> Create(const GgufFile& file);

  absl::StatusOr<std::vector<TokenId>> Encode(absl::string_view text,
                                              const EncodeOptions& options) const;
  // The concatenation of `parts`: words may reach across them, special tokens may not.
  absl::StatusOr<std::vector<TokenId>> EncodeParts(absl::Span<const TextPart> parts,
                                                   bool add_bos) const;

  // The text of the ids; control tokens and ids beyond the vocabulary have none. A space that
  // Encode put in front (space_prefix) stays: whether `ids` begin a text only the caller knows.
  std::string Decode(absl::Span<const TokenId> ids) const;

  // The bytes of one token, of a control token its name. Possibly a part of a UTF-8 sequence. Empty
  // beyond the vocabulary.
  absl::string_view Piece(TokenId id) const;
  bool IsControl(TokenId id) const;

  // Whether generation stops here: end of sequence, turn or message.
  bool IsEnd(TokenId id) const;

  size_t size() const { return types_.size(); }  // of the vocabulary
  std::optional<TokenId> bos() const { return bos_; }
  std::optional<TokenId> eos() const { return eos_; }
  bool add_bos() const { return add_bos_; }
  // Whether a space goes before the text, and before text that follows a special token.
  bool space_prefix() const { return space_prefix_; }

 private:
  Tokenizer() = default;
  absl::Status CreateBpe(const GgufFile& file, absl::Span<const absl::string_view> tokens);
  absl::Status CreateSpm(const GgufFile& file, absl::Span<const absl::string_view> tokens);
  void AppendPiece(absl::string_view bytes);
  absl::Status ReadSpecialIds(const GgufFile& file);

  std::vector<char> text_;      // the pieces, one after the other
  std::vector<size_t> starts_;  // of each piece in text_, and the end of the last one
  std::vector<TokenType> types_;
  SpecialTokens special_;
  std::unique_ptr<const TextEncoder> encoder_;
  std::optional<TokenId> bos_, eos_;
  absl::flat_hash_set<TokenId> ends_;
  bool add_bos_ = false;
  bool space_prefix_ = false;
};

// Decodes a stream of tokens so that each output is whole UTF-8 characters: the bytes of a
// character which several tokens spell are held back until it is complete. The outputs together are
// exactly Tokenizer::Decode of all ids. `tokenizer` must outlive it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  std::string Next(TokenId id);
  std::string Finish();  // what is still held back: a character that never was completed

 private:
  const Tokenizer& tokenizer_;
  std::string pending_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_TOKENIZER_H_

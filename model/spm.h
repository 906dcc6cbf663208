// SentencePiece's merging ("llama" tokenizers): the characters of a text are joined, the pair whose
// token has the highest score first, and what no token spells is written byte by byte. Used by the
// tokenizer.
//
//   PTXSMITH_ASSIGN_OR_RETURN(SpmMerger spm, SpmMerger::Create(tokens, scores, types));
//   PTXSMITH_RETURN_IF_ERROR(spm.Encode(" lower", &ids));   // "▁low", "er"
//
// A text of n characters takes O(n log n), so a text without spaces cannot stall the program.
//
// Thread-safety: immutable after Create.
#ifndef PTXSMITH_MODEL_SPM_H_
#define PTXSMITH_MODEL_SPM_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/token.h"

namespace ptxsmith {

class SpmMerger {
 public:
  // Three spans of one length. Control, unknown and byte tokens are never the result of merging
  // (llama.cpp's are): the text of a user must not be able to forge them. DataLoss when a score is
  // not a number, a token repeats another, or a byte token is not spelled <0x00> to <0xFF>.
  static absl::StatusOr<SpmMerger> Create(absl::Span<const absl::string_view> tokens,
                                          absl::Span<const float> scores,
                                          absl::Span<const TokenType> types);

  // Appends the tokens of `text`, in which spaces stand for themselves. InvalidArgument when a byte
  // has no token in this vocabulary.
  absl::Status Encode(absl::string_view text, std::vector<TokenId>* ids) const;

 private:
  struct Piece {
    TokenId id;
    float score;
  };

  absl::flat_hash_map<std::string, Piece> pieces_;  // by text as stored
  size_t longest_ = 0;                              // of them, in bytes
  std::array<std::optional<TokenId>, 256> byte_ids_;
};

// Vocabularies spell a space as U+2581 "▁".
std::string SpellSpaces(absl::string_view text);
std::string UnspellSpaces(absl::string_view spelled);

// The byte that `token` names as SentencePiece does, "<0x0A>"; nothing for any other spelling.
std::optional<uint8_t> ByteOfToken(absl::string_view token);

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_SPM_H_

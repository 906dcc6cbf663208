// Byte-level byte pair encoding: merges the bytes of a word into tokens, lowest rank first. Used by
// the tokenizer, which splits text into words.
//
//   PTXSMITH_ASSIGN_OR_RETURN(BpeMerger bpe, BpeMerger::Create(vocabulary, merges));
//   PTXSMITH_RETURN_IF_ERROR(bpe.Encode("lower", &ids));
//
// A word of n bytes takes O(n log n), so a text without spaces cannot stall the program.
//
// Thread-safety: immutable after Create.
#ifndef PTXSMITH_MODEL_BPE_H_
#define PTXSMITH_MODEL_BPE_H_

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

class BpeMerger {
 public:
  // `ids` maps the stored spelling of tokens to ids; `merges` are pairs "left right" in the order
  // of their rank. DataLoss names a merge that is malformed or speaks of an unknown token.
  static absl::StatusOr<BpeMerger> Create(
      const absl::flat_hash_map<absl::string_view, TokenId>& ids,
      absl::Span<const absl::string_view> merges);

  // Appends the tokens of `word`. InvalidArgument when a byte has no token in this vocabulary.
  absl::Status Encode(absl::string_view word, std::vector<TokenId>* ids) const;

 private:
  struct Merge {
    uint32_t rank;
    TokenId result;
  };

  const Merge* Find(TokenId left, TokenId right) const;

  std::array<std::optional<TokenId>, 256> byte_ids_;
  absl::flat_hash_map<uint64_t, Merge> merges_;  // by left << 32 | right
};

// Vocabularies spell bytes as printable characters (GPT-2's table): space is U+0120 "Ġ".
//
// The spelling of one byte.
std::string SpellByte(uint8_t byte);
// The bytes that `spelled` stands for. Characters outside of the table stand for themselves, and
// `*exact` says that there were none.
std::string UnspellBytes(absl::string_view spelled, bool* exact);

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_BPE_H_

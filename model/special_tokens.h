// Finds the tokens that are recognised in text as a whole, before it is split into words: control
// tokens (`<|eot_id|>`) and user-defined ones. Used by the tokenizer.
//
//   PTXSMITH_RETURN_IF_ERROR(special.Add("<|eot_id|>", TokenType::kControl, 128009));
//   SpecialTokens::Match m = special.Find("Hi<|eot_id|>", 0, /*control=*/true);  // begin 2, end 12
//
// Thread-safety: const methods may be called from any thread.
#ifndef PTXSMITH_MODEL_SPECIAL_TOKENS_H_
#define PTXSMITH_MODEL_SPECIAL_TOKENS_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "model/token.h"

namespace ptxsmith {

class SpecialTokens {
 public:
  struct Match {
    size_t begin;
    size_t end;
    TokenId id;
  };

  // DataLoss when `text` is longer than 1024 bytes: a search looks that far at every position.
  absl::Status Add(absl::string_view text, TokenType type, TokenId id);

  // The leftmost, there the longest, token at or after `from`. All but user-defined tokens count
  // only when `control`, because the text of a user must not be able to forge them.
  std::optional<Match> Find(absl::string_view text, size_t from, bool control) const;

 private:
  // A trie over bytes. Node 0 is the root.
  struct Node {
    std::optional<TokenId> id;
    bool control = false;
  };

  std::vector<Node> nodes_ = {Node{}};
  absl::flat_hash_map<uint64_t, uint32_t> children_;  // by node << 8 | byte
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_SPECIAL_TOKENS_H_

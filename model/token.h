// The words that the files of the tokenizer share: ids and kinds of tokens. Plain data.
//
//   std::vector<TokenId> ids;
//   if (type == TokenType::kControl) ...
#ifndef PTXSMITH_MODEL_TOKEN_H_
#define PTXSMITH_MODEL_TOKEN_H_

#include <cstdint>

namespace ptxsmith {

// Index into `tokenizer.ggml.tokens`.
using TokenId = uint32_t;

// Values of `tokenizer.ggml.token_type`.
enum class TokenType : uint8_t {
  kUndefined = 0,
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // has a meaning, no text: <|eot_id|>
  kUserDefined = 4,  // taken whole wherever its text occurs
  kUnused = 5,
  kByte = 6,
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_TOKEN_H_

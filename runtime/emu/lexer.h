// Splits PTX text into tokens. Used by the parser only.
//
//   PTXSMITH_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(text));
//   tokens.back().kind == Token::kEnd
//
// Tokens refer into `text`, which must outlive them. A pure function.
#ifndef PTXSMITH_RUNTIME_EMU_LEXER_H_
#define PTXSMITH_RUNTIME_EMU_LEXER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ptxsmith::emu {

struct Token {
  enum Kind : uint8_t {
    kWord,    // identifier, register, mnemonic or directive, with its dots: %tid.x, ld.global.u32
    kNumber,  // as written: 12, 0x1fU, 0f3F800000, 1.5
    kString,  // without the quotes
    kPunct,   // one character
    kEnd,
  };
  Kind kind = kEnd;
  uint32_t line = 0;  // 1-based
  absl::string_view text;

  bool Is(char c) const { return kind == kPunct && text[0] == c; }
};

// InvalidArgument names the line of a character that cannot start a token, of a string without an
// end, or of a comment without an end.
absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view text);

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_LEXER_H_

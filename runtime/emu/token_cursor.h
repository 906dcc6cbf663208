// A position in a list of tokens, with the few steps every rule of a grammar takes. The base of the
// parser.
//
//   if (TakeIf(',')) ...
//   PTXSMITH_RETURN_IF_ERROR(Expect(';'));   // "PTX line 7: expected ';' near 'add'"
//
// Used by one thread.
#ifndef PTXSMITH_RUNTIME_EMU_TOKEN_CURSOR_H_
#define PTXSMITH_RUNTIME_EMU_TOKEN_CURSOR_H_

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/emu/lexer.h"

namespace ptxsmith::emu {

class TokenCursor {
 public:
  // REQUIRES: the last token is kEnd.
  explicit TokenCursor(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  // Beyond the end there is only more of the end.
  const Token& Peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  const Token& Next() {
    const Token& token = Peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool TakeIf(char c);
  bool TakeIfWord(absl::string_view word);

  absl::Status Expect(char c);
  absl::StatusOr<std::string> ExpectWord(absl::string_view what);
  absl::Status SkipPast(char c);
  // From a '{' past its '}'.
  absl::Status SkipBraces();

  // InvalidArgument with the line and the text of the present token.
  absl::Status Error(absl::string_view what) const;

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_TOKEN_CURSOR_H_

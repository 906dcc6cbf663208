#include "runtime/emu/token_cursor.h"

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith::emu {

bool TokenCursor::TakeIf(char c) {
  if (!Peek().Is(c)) return false;
  Next();
  return true;
}

bool TokenCursor::TakeIfWord(absl::string_view word) {
  if (Peek().kind != Token::kWord || Peek().text != word) return false;
  Next();
  return true;
}

absl::Status TokenCursor::Error(absl::string_view what) const {
  const Token& t = Peek();
  return absl::InvalidArgumentError(absl::StrCat("PTX line ", t.line, ": ", what,
                                                 t.kind == Token::kEnd
                                                     ? std::string(" at the end of the text")
                                                     : absl::StrCat(" near '", t.text, "'")));
}

absl::Status TokenCursor::Expect(char c) {
  if (TakeIf(c)) return absl::OkStatus();
  return Error(absl::StrCat("expected '", std::string(1, c), "'"));
}

absl::StatusOr<std::string> TokenCursor::ExpectWord(absl::string_view what) {
  if (Peek().kind != Token::kWord) return Error(absl::StrCat("expected ", what));
  return std::string(Next().text);
}

absl::Status TokenCursor::SkipPast(char c) {
  while (!Peek().Is(c)) {
    if (Peek().kind == Token::kEnd) return Error(absl::StrCat("no '", std::string(1, c), "'"));
    Next();
  }
  Next();
  return absl::OkStatus();
}

absl::Status TokenCursor::SkipBraces() {
  PTXSMITH_RETURN_IF_ERROR(Expect('{'));
  for (int depth = 1; depth > 0;) {
    if (Peek().kind == Token::kEnd) return Error("no matching '}'");
    if (Peek().Is('{')) ++depth;
    if (Peek().Is('}')) --depth;
    Next();
  }
  return absl::OkStatus();
}

}  // namespace ptxsmith::emu

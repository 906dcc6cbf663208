#include "runtime/emu/lexer.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace ptxsmith::emu {
namespace {

bool StartsWord(char c) { return absl::ascii_isalpha(c) || c == '_' || c == '$' || c == '%'; }
bool InWord(char c) {
  return absl::ascii_isalnum(c) || c == '_' || c == '$' || c == '.' || c == '%';
}

absl::Status LexError(uint32_t line, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("PTX line ", line, ": ", what));
}

}  // namespace

absl::StatusOr<std::vector<Token>> Tokenize(absl::string_view text) {
  std::vector<Token> tokens;
  uint32_t line = 1;
  size_t at = 0;
  const auto starts = [&](absl::string_view prefix) {
    return text.substr(at, prefix.size()) == prefix;
  };
  while (at < text.size()) {
    const char c = text[at];
    const size_t begin = at;
    if (c == '\n') {
      ++line;
      ++at;
    } else if (absl::ascii_isspace(c)) {
      ++at;
    } else if (starts("//")) {
      at = std::min(text.find('\n', at), text.size());
    } else if (starts("/*")) {
      const size_t end = text.find("*/", at + 2);
      if (end == absl::string_view::npos) return LexError(line, "comment without an end");
      line += std::count(text.begin() + at, text.begin() + end, '\n');
      at = end + 2;
    } else if (c == '"') {
      const size_t end = text.find('"', at + 1);
      if (end == absl::string_view::npos) return LexError(line, "string without an end");
      tokens.push_back({Token::kString, line, text.substr(at + 1, end - at - 1)});
      line += std::count(text.begin() + at, text.begin() + end, '\n');
      at = end + 1;
    } else if (absl::ascii_isdigit(c)) {
      while (at < text.size() && (absl::ascii_isalnum(text[at]) || text[at] == '.')) ++at;
      tokens.push_back({Token::kNumber, line, text.substr(begin, at - begin)});
    } else if (StartsWord(c) || (c == '.' && at + 1 < text.size() && StartsWord(text[at + 1]))) {
      // "::" belongs to a mnemonic (.L2::128B), a single ':' ends a label.
      ++at;
      while (at < text.size() && (InWord(text[at]) || starts("::"))) at += starts("::") ? 2 : 1;
      tokens.push_back({Token::kWord, line, text.substr(begin, at - begin)});
    } else if (absl::string_view(",;:[]{}()@!+-|<>=*").find(c) != absl::string_view::npos) {
      tokens.push_back({Token::kPunct, line, text.substr(at++, 1)});
    } else {
      return LexError(line, absl::StrCat("unexpected character code ",
                                         static_cast<int>(static_cast<unsigned char>(c))));
    }
  }
  tokens.push_back({Token::kEnd, line, absl::string_view()});
  return tokens;
}

}  // namespace ptxsmith::emu

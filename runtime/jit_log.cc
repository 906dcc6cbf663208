#include "runtime/jit_log.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace ptxsmith {
namespace {

// The N of the first "line N" in `text`, 0 when there is none.
size_t MentionedLine(absl::string_view text) {
  constexpr absl::string_view kWord = "line ";
  for (size_t at = text.find(kWord); at != absl::string_view::npos; at = text.find(kWord, at + 1)) {
    if (at > 0 && absl::ascii_isalnum(text[at - 1])) continue;  // "inline 3"
    absl::string_view digits = text.substr(at + kWord.size());
    size_t length = 0;
    while (length < digits.size() && absl::ascii_isdigit(digits[length])) ++length;
    size_t number = 0;
    if (absl::SimpleAtoi(digits.substr(0, length), &number)) return number;
  }
  return 0;
}

}  // namespace

std::string AnnotateLog(absl::string_view log, const KernelSpec& spec) {
  const std::vector<absl::string_view> ptx = absl::StrSplit(spec.ptx, '\n');
  std::string out;
  for (absl::string_view line : absl::StrSplit(absl::StripTrailingAsciiWhitespace(log), '\n')) {
    absl::StrAppend(&out, out.empty() ? "" : "\n", line);
    const size_t number = MentionedLine(line);
    if (number == 0 || number > ptx.size()) continue;
    absl::StrAppend(&out, "\n    ", number, " | ", absl::StripAsciiWhitespace(ptx[number - 1]));
    if (number > spec.lines.size() || spec.lines[number - 1].line == 0) continue;
    const SourceLoc& source = spec.lines[number - 1];
    absl::StrAppend(&out, "   // ", BaseName(source.file), ":", source.line);
  }
  return out;
}

}  // namespace ptxsmith

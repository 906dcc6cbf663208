#include "codegen/annotate.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace ptxsmith {

absl::string_view SourceLine(absl::Span<const SourceFile> files, SourceLoc loc) {
  for (const SourceFile& file : files) {
    // The compiler may have been given any path that leads to the file.
    absl::string_view folder = loc.file;
    if (!absl::ConsumeSuffix(&folder, file.name) || !(folder.empty() || folder.back() == '/')) {
      continue;
    }
    const std::vector<absl::string_view> lines = absl::StrSplit(file.text, '\n');
    if (loc.line == 0 || loc.line > lines.size()) return {};
    return absl::StripAsciiWhitespace(lines[loc.line - 1]);
  }
  return {};
}

std::string Annotate(const KernelSpec& kernel, absl::Span<const SourceFile> files) {
  std::string text;
  SourceLoc shown;
  size_t i = 0;
  for (absl::string_view line : absl::StrSplit(absl::StripSuffix(kernel.ptx, "\n"), '\n')) {
    const SourceLoc loc = i < kernel.lines.size() ? kernel.lines[i] : SourceLoc{};
    ++i;
    const bool same = loc.line == shown.line && absl::string_view(loc.file) == shown.file;
    if (loc.line != 0 && !same) {
      shown = loc;
      absl::string_view source = SourceLine(files, loc);
      // A line that ends in a backslash would comment out the PTX below it.
      while (absl::ConsumeSuffix(&source, "\\"))
        source = absl::StripTrailingAsciiWhitespace(source);
      absl::StrAppend(&text, "\t// ", BaseName(loc.file), ":", loc.line, source.empty() ? "" : "  ",
                      source, "\n");
    }
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

}  // namespace ptxsmith

#include "tools/chat.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "codegen/status_macros.h"
#include "tools/interrupt.h"

namespace ptxsmith {
namespace {

// The next message that is not blank; nothing at the end of the input.
std::optional<std::string> ReadMessage() {
  std::string line;
  do {
    if (isatty(STDIN_FILENO)) std::fprintf(stderr, "> ");
    if (!std::getline(std::cin, line)) return std::nullopt;
  } while (absl::StripAsciiWhitespace(line).empty());
  return line;
}

// Whether the model can say that it has finished.
absl::StatusOr<bool> CanEnd(const Tokenizer& tokenizer, const ChatTemplate& format) {
  const TextPart answer_end = format.Next("").front();
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<TokenId> ids,
                            tokenizer.EncodeParts({answer_end}, /*add_bos=*/false));
  return std::any_of(ids.begin(), ids.end(), [&](TokenId id) { return tokenizer.IsEnd(id); });
}

}  // namespace

absl::Status Chat(OpenedModel& opened, const ChatOptions& options, GenerationOptions generation) {
  PTXSMITH_ASSIGN_OR_RETURN(const bool can_end, CanEnd(opened.tokenizer, options.format));
  if (!can_end) {
    std::fprintf(stderr,
                 "warning: the end marker of template %s is no token of this model; answers end "
                 "where -n says\n",
                 std::string(options.format.name()).c_str());
  }
  bool writable = true;
  std::vector<TokenId> unseen;  // of the turn before: what the model has not run yet
  for (bool first = true; writable; first = false) {
    const std::optional<std::string> message =
        first && !options.first.empty() ? options.first : ReadMessage();
    if (!message) return absl::OkStatus();
    PTXSMITH_ASSIGN_OR_RETURN(
        const std::vector<TokenId> turn,
        opened.tokenizer.EncodeParts(
            first ? options.format.First(options.system, *message) : options.format.Next(*message),
            /*add_bos=*/first));
    unseen.insert(unseen.end(), turn.begin(), turn.end());

    const Interrupt interrupt;
    generation.stop = [&] { return interrupt.Requested() || !writable; };
    bool started = false;
    const TextSink sink = [&](absl::string_view piece) {
      // Models of SentencePiece begin their answers with a space.
      if (!started) piece = absl::StripLeadingAsciiWhitespace(piece);
      started |= !piece.empty();
      writable &= std::fwrite(piece.data(), 1, piece.size(), stdout) == piece.size() &&
                  std::fflush(stdout) == 0;
    };
    PTXSMITH_ASSIGN_OR_RETURN(const GenerationStats stats,
                              Generate(*opened.model, opened.tokenizer, unseen, generation, sink));
    unseen.erase(unseen.begin(), unseen.begin() + stats.prompt_tokens);
    if (stats.pending) unseen.push_back(*stats.pending);
    if (interrupt.Requested()) std::fprintf(stderr, "(stopped)");
    writable &= std::fputc('\n', stdout) != EOF && std::fflush(stdout) == 0;
  }
  return absl::DataLossError("cannot write to standard output");
}

}  // namespace ptxsmith

// A conversation in the terminal: what `ptxsmith run --chat` does after it has opened the model.
// Lines of the standard input are the user's messages, answers go to the standard output; the end
// of the input ends the conversation. Ctrl-C stops an answer, and the program where none is being
// written.
//
//   PTXSMITH_RETURN_IF_ERROR(Chat(opened, {.format = chat, .system = "Be brief."}, generation));
#ifndef PTXSMITH_TOOLS_CHAT_H_
#define PTXSMITH_TOOLS_CHAT_H_

#include <string>

#include "absl/status/status.h"
#include "model/chat.h"
#include "model/generate.h"
#include "tools/open_model.h"

namespace ptxsmith {

struct ChatOptions {
  ChatTemplate format;
  std::string system;  // how the model shall behave; empty: as it likes
  std::string first;   // message, before those of the standard input; empty: none
};

// OutOfRange when a message does not fit what is left of the context.
absl::Status Chat(OpenedModel& opened, const ChatOptions& options, GenerationOptions generation);

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_CHAT_H_

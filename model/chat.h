// How a conversation is written for a model: which markers go around the messages. Used by
// `ptxsmith run --chat`.
//
//   PTXSMITH_ASSIGN_OR_RETURN(const ChatTemplate chat, ChatTemplate::FromGguf(file));
//   PTXSMITH_ASSIGN_OR_RETURN(ids, tokenizer.EncodeParts(chat.First("Be brief.", "Hello"), true));
//   ... the answer ...
//   PTXSMITH_ASSIGN_OR_RETURN(ids, tokenizer.EncodeParts(chat.Next("And then?"), false));
//
// Files bring their template as a Jinja program. It is never run, only recognised: a program from
// an untrusted file is no way to learn six strings.
//
// Thread-safety: immutable; copies are cheap.
#ifndef PTXSMITH_MODEL_CHAT_H_
#define PTXSMITH_MODEL_CHAT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/gguf.h"
#include "model/tokenizer.h"

namespace ptxsmith {

// The strings around the messages, one row per kind of template.
struct ChatFormat;

class ChatTemplate {
 public:
  // The template of the file. NotFound when it has none; Unimplemented, with the names of the known
  // kinds, when it is none of them.
  static absl::StatusOr<ChatTemplate> FromGguf(const GgufFile& file);
  // InvalidArgument lists the known names.
  static absl::StatusOr<ChatTemplate> FromName(absl::string_view name);

  absl::string_view name() const;

  // What opens a conversation, up to where the model's answer begins; an empty `system` is left
  // out. White space around messages is dropped. The views are of the arguments.
  std::vector<TextPart> First(absl::string_view system, absl::string_view user) const;
  // What follows an answer, up to where the next one begins.
  std::vector<TextPart> Next(absl::string_view user) const;

 private:
  explicit ChatTemplate(const ChatFormat& format) : format_(&format) {}

  const ChatFormat* format_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_CHAT_H_

#include "model/chat.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "codegen/status_macros.h"

namespace ptxsmith {

struct ChatFormat {
  absl::string_view name;
  std::array<absl::string_view, 3> signs;  // all occur in the Jinja program of this kind
  absl::string_view system_begin, system_end;
  absl::string_view user_begin, user_end;  // the end includes what opens the answer
  absl::string_view answer_end;
  bool system_in_user;  // the system's message stands at the beginning of the first user's
};

namespace {

// Recognised by what llama.cpp recognises them by, in this order. Begin of sequence is the
// tokenizer's affair, but where a format repeats it.
constexpr ChatFormat kFormats[] = {
    {"phi4",
     {"<|im_start|>", "<|im_sep|>"},
     "<|im_start|>system<|im_sep|>",
     "<|im_end|>",
     "<|im_start|>user<|im_sep|>",
     "<|im_end|><|im_start|>assistant<|im_sep|>",
     "<|im_end|>",
     false},
    {"chatml",
     {"<|im_start|>"},
     "<|im_start|>system\n",
     "<|im_end|>\n",
     "<|im_start|>user\n",
     "<|im_end|>\n<|im_start|>assistant\n",
     "<|im_end|>\n",
     false},
    {"mistral-v1",
     {"[INST]", "' [INST] ' + system_message"},
     "",
     "\n\n",
     " [INST] ",
     " [/INST]",
     "</s>",
     true},
    {"mistral-tekken",
     {"[INST]", "[AVAILABLE_TOOLS]", "\"[INST]\""},
     "",
     "\n\n",
     "[INST]",
     "[/INST]",
     "</s>",
     true},
    {"mistral-v3", {"[INST]", "[AVAILABLE_TOOLS]"}, "", "\n\n", "[INST] ", "[/INST]", "</s>", true},
    {"llama2",
     {"[INST]", "<<SYS>>"},
     "<<SYS>>\n",
     "\n<</SYS>>\n\n",
     "[INST] ",
     " [/INST]",
     " </s><s>",
     true},
    {"mistral", {"[INST]"}, "", "\n\n", "[INST] ", " [/INST]", "</s>", true},
    {"phi3",
     {"<|assistant|>", "<|end|>"},
     "<|system|>\n",
     "<|end|>\n",
     "<|user|>\n",
     "<|end|>\n<|assistant|>\n",
     "<|end|>\n",
     false},
    {"gemma",
     {"<start_of_turn>"},
     "",
     "\n\n",
     "<start_of_turn>user\n",
     "<end_of_turn>\n<start_of_turn>model\n",
     "<end_of_turn>\n",
     true},
    {"llama3",
     {"<|start_header_id|>", "<|end_header_id|>"},
     "<|start_header_id|>system<|end_header_id|>\n\n",
     "<|eot_id|>",
     "<|start_header_id|>user<|end_header_id|>\n\n",
     "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
     "<|eot_id|>",
     false},
};

std::string KnownNames() {
  return absl::StrJoin(kFormats, ", ", [](std::string* out, const ChatFormat& format) {
    absl::StrAppend(out, format.name);
  });
}

TextPart Marker(absl::string_view text) { return {text, /*special=*/true}; }
TextPart Message(absl::string_view text) {
  return {absl::StripAsciiWhitespace(text), /*special=*/false};
}

}  // namespace

absl::StatusOr<ChatTemplate> ChatTemplate::FromGguf(const GgufFile& file) {
  PTXSMITH_ASSIGN_OR_RETURN(const absl::string_view program,
                            file.GetString("tokenizer.chat_template"));
  for (const ChatFormat& format : kFormats) {
    if (std::all_of(format.signs.begin(), format.signs.end(),
                    [&](absl::string_view sign) { return absl::StrContains(program, sign); })) {
      return ChatTemplate(format);
    }
  }
  return absl::UnimplementedError(
      absl::StrCat("tokenizer.chat_template is not one of the known kinds; known: ", KnownNames()));
}

absl::StatusOr<ChatTemplate> ChatTemplate::FromName(absl::string_view name) {
  for (const ChatFormat& format : kFormats) {
    if (format.name == name) return ChatTemplate(format);
  }
  return absl::InvalidArgumentError(absl::StrCat("chat template '", absl::CHexEscape(name),
                                                 "' is not known; known: ", KnownNames()));
}

absl::string_view ChatTemplate::name() const { return format_->name; }

std::vector<TextPart> ChatTemplate::First(absl::string_view system, absl::string_view user) const {
  const ChatFormat& f = *format_;
  std::vector<TextPart> system_parts;
  if (!Message(system).text.empty()) {
    system_parts = {Marker(f.system_begin), Message(system), Marker(f.system_end)};
  }
  std::vector<TextPart> parts;
  if (!f.system_in_user) parts = system_parts;
  parts.push_back(Marker(f.user_begin));
  if (f.system_in_user) parts.insert(parts.end(), system_parts.begin(), system_parts.end());
  parts.push_back(Message(user));
  parts.push_back(Marker(f.user_end));
  return parts;
}

std::vector<TextPart> ChatTemplate::Next(absl::string_view user) const {
  const ChatFormat& f = *format_;
  return {Marker(f.answer_end), Marker(f.user_begin), Message(user), Marker(f.user_end)};
}

}  // namespace ptxsmith

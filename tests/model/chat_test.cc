#include "model/chat.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/model/gguf_writer.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

std::string Joined(const std::vector<TextPart>& parts) {
  std::string text;
  for (const TextPart& part : parts) absl::StrAppend(&text, part.text);
  return text;
}

absl::StatusOr<std::string> Recognised(const std::string& program) {
  const std::string bytes = TinyModel().Set("tokenizer.chat_template", Str(program)).Build();
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  PTXSMITH_ASSIGN_OR_RETURN(const ChatTemplate chat, ChatTemplate::FromGguf(file));
  return std::string(chat.name());
}

struct Conversation {
  const char* name;
  const char* program;  // the telling part of the template of a published model
  const char* first;    // with a system message
  const char* plain;    // without
  const char* next;
};

// What the templates of the models themselves give, without begin of sequence.
const Conversation kConversations[] = {
    {"chatml",
     "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
     "+ '<|im_end|>' + '\n'}}{% endfor %}",
     "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n",
     "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n",
     "<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"},
    {"phi4",
     "{% if message['role'] == 'user' %}{{'<|im_start|>user<|im_sep|>' + message['content'] + "
     "'<|im_end|>'}}",
     "<|im_start|>system<|im_sep|>S<|im_end|><|im_start|>user<|im_sep|>U<|im_end|><|im_start|>"
     "assistant<|im_sep|>",
     "<|im_start|>user<|im_sep|>U<|im_end|><|im_start|>assistant<|im_sep|>",
     "<|im_end|><|im_start|>user<|im_sep|>U<|im_end|><|im_start|>assistant<|im_sep|>"},
    {"llama2",
     "{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}"
     "{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}",
     "[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST]", "[INST] U [/INST]", " </s><s>[INST] U [/INST]"},
    {"mistral",
     "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}",
     "[INST] S\n\nU [/INST]", "[INST] U [/INST]", "</s>[INST] U [/INST]"},
    {"mistral-v1", "{{ ' [INST] ' + system_message + '\\n\\n' + message['content'] + ' [/INST]' }}",
     " [INST] S\n\nU [/INST]", " [INST] U [/INST]", "</s> [INST] U [/INST]"},
    {"mistral-v3", "{{- '[AVAILABLE_TOOLS] [' }}{{- '[INST] ' + message['content'] + '[/INST]' }}",
     "[INST] S\n\nU[/INST]", "[INST] U[/INST]", "</s>[INST] U[/INST]"},
    {"mistral-tekken",
     "{{- \"[AVAILABLE_TOOLS][\" }}{{- \"[INST]\" + message[\"content\"] + \"[/INST]\" }}",
     "[INST]S\n\nU[/INST]", "[INST]U[/INST]", "</s>[INST]U[/INST]"},
    {"phi3",
     "{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}",
     "<|system|>\nS<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\n",
     "<|user|>\nU<|end|>\n<|assistant|>\n", "<|end|>\n<|user|>\nU<|end|>\n<|assistant|>\n"},
    {"gemma",
     "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}",
     "<start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\n",
     "<start_of_turn>user\nU<end_of_turn>\n<start_of_turn>model\n",
     "<end_of_turn>\n<start_of_turn>user\nU<end_of_turn>\n<start_of_turn>model\n"},
    {"llama3",
     "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ "
     "message['content'] | trim + '<|eot_id|>' %}",
     "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user"
     "<|end_header_id|>\n\nU<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
     "<|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|><|start_header_id|>assistant"
     "<|end_header_id|>\n\n",
     "<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|><|start_header_id|>assistant"
     "<|end_header_id|>\n\n"},
};

TEST(ChatTest, EveryKind) {
  for (const Conversation& c : kConversations) {
    EXPECT_THAT(Recognised(c.program), IsOkAndHolds(c.name));
    ASSERT_OK_AND_ASSIGN(const ChatTemplate chat, ChatTemplate::FromName(c.name));
    EXPECT_EQ(Joined(chat.First("S", "U")), c.first);
    EXPECT_EQ(Joined(chat.First("", "U")), c.plain);
    EXPECT_EQ(Joined(chat.First("\n S ", " U\n")), c.first);
    EXPECT_EQ(Joined(chat.Next("U ")), c.next);
  }
}

TEST(ChatTest, UnknownTemplates) {
  EXPECT_THAT(Recognised("{{ messages[0] }}"),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("known: phi4, chatml, ")));
  EXPECT_THAT(ChatTemplate::FromName("klingon"),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("'klingon' is not known")));
  const std::string bytes = TinyModel().Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  EXPECT_THAT(ChatTemplate::FromGguf(file), StatusIs(StatusCode::kNotFound));
}

// Messages cannot forge markers: "<|end|>" is a control token of the tiny model.
TEST(ChatTest, MessagesAreNotMarkers) {
  const std::string bytes = TinyModel().Build();
  ASSERT_OK_AND_ASSIGN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Tokenizer::Create(file));
  EXPECT_THAT(tokenizer.EncodeParts({{"h", true}, {"e<|end|>", false}, {"<|end|>he", true}}, false),
              IsOkAndHolds(ElementsAre(kHe, '<', '|', 'e', 'n', 'd', '|', '>', kEnd, kHe)));
  // Nor can the two together: a marker that begins in one part does not end in the next.
  EXPECT_THAT(tokenizer.EncodeParts({{"<|en", true}, {"d|>", true}}, false),
              IsOkAndHolds(ElementsAre('<', '|', 'e', 'n', 'd', '|', '>')));
}

}  // namespace
}  // namespace ptxsmith

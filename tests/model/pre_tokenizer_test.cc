#include "model/pre_tokenizer.h"

#include <string>
#include <vector>

#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> Words(absl::string_view pre, absl::string_view text) {
  std::vector<std::string> words;
  const absl::StatusOr<PreTokenizer> splitter = PreTokenizer::Create(pre);
  EXPECT_OK(splitter);
  if (!splitter.ok()) return words;
  EXPECT_OK(splitter->Split(text, [&](absl::string_view word) { words.emplace_back(word); }));
  return words;
}

TEST(PreTokenizerTest, Gpt2) {
  EXPECT_THAT(Words("gpt-2", "it's 1234  you'LL\n\nx"),
              ElementsAre("it", "'s", " 1234", " ", " you", "'", "LL", "\n", "\n", "x"));
  EXPECT_THAT(Words("gpt-2", "\xc3\xa4h, \xc2\xbd!  "),
              ElementsAre("\xc3\xa4h", ",", " \xc2\xbd", "!", "  "));
}

TEST(PreTokenizerTest, Llama3) {
  for (const char* name : {"llama3", "llama-bpe", "llama-v3"}) {
    EXPECT_THAT(Words(name, "it'S 12345  you!!\n\n x"),
                ElementsAre("it", "'S", " ", "123", "45", " ", " you", "!!\n\n", " x"));
  }
  EXPECT_THAT(Words("llama3", "(a)\t\n  "), ElementsAre("(a", ")", "\t\n", "  "));
}

TEST(PreTokenizerTest, Qwen2) {
  EXPECT_THAT(Words("qwen2", "I'll 123\r\n"), ElementsAre("I", "'ll", " ", "1", "2", "3", "\r\n"));
}

TEST(PreTokenizerTest, Tekken) {
  EXPECT_THAT(Words("tekken", "helloWorld HTTPServer it's 12 a/b//\n x"),
              ElementsAre("hello", "World", " HTTPServer", " it", "'s", " ", "1", "2", " a", "/b",
                          "//\n", " x"));
  // A-umlaut is a capital; a combining accent belongs to its letter.
  EXPECT_THAT(Words("tekken", "xa\xc3\x84z e\xcc\x81t"),
              ElementsAre("xa", "\xc3\x84z", " e\xcc\x81t"));
}

TEST(PreTokenizerTest, SmolLm) {
  EXPECT_THAT(
      Words("smollm", "it's 1234  you  5\n\nx"),
      ElementsAre("it", "'s", " ", "1", "2", "3", "4", " ", " you", "  ", "5", "\n", "\n", "x"));
}

TEST(PreTokenizerTest, BytesThatAreNotUtf8AreWordsOfTheirOwn) {
  EXPECT_THAT(Words("gpt-2", "ab\xff\xfe cd\xe2\x82"),
              ElementsAre("ab", "\xff\xfe", " cd", "\xe2\x82"));
  EXPECT_THAT(Words("gpt-2", std::string("a\0b", 3)), ElementsAre("a", std::string(1, '\0'), "b"));
  EXPECT_THAT(Words("gpt-2", ""), ElementsAre());
}

TEST(PreTokenizerTest, UnknownNameListsTheKnownOnes) {
  EXPECT_THAT(PreTokenizer::Create("bert"),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("'bert'")));
  EXPECT_THAT(PreTokenizer::Create(""),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("gpt-2, ")));
}

}  // namespace
}  // namespace ptxsmith

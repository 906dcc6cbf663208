#include "model/tokenizer.h"

#include <chrono>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "model/gguf.h"
#include "tests/model/gguf_writer.h"
#include "tests/util/files.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

// Byte-level BPE and SentencePiece.
constexpr const char* kVocabularies[] = {"data/vocab/ggml-vocab-gpt-2.gguf",
                                         "data/vocab/ggml-vocab-llama-spm.gguf"};

absl::StatusOr<Tokenizer> Load(const std::string& test_file) {
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Open(TestPath(test_file)));
  return Tokenizer::Create(file);
}

absl::StatusOr<Tokenizer> Create(const GgufWriter& w) {
  const std::string bytes = w.Build();
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  return Tokenizer::Create(file);
}

// What encoding to `ids` started from.
std::string Text(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  const std::string text = tokenizer.Decode(ids);
  return tokenizer.space_prefix() && !ids.empty() ? text.substr(1) : text;
}

// llama.cpp's test strings, with the ids that its tokenizers give.
TEST(TokenizerTest, LlamaCppVectors) {
  const std::string inputs_text = ReadTestFile("data/vocab/ggml-vocab.inp");
  const std::vector<std::string> inputs = absl::StrSplit(inputs_text, "\n__ggml_vocab_test__\n");
  ASSERT_EQ(inputs.size(), 47u);  // and an empty one after the last separator
  for (const char* vocab : kVocabularies) {
    ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Load(vocab));
    std::istringstream outputs(ReadTestFile(absl::StrCat(vocab, ".out")));
    for (size_t i = 0; i + 1 < inputs.size(); ++i) {
      std::string line;
      ASSERT_TRUE(std::getline(outputs, line));
      std::vector<TokenId> expected;
      std::istringstream numbers(line);
      for (TokenId id; numbers >> id;) expected.push_back(id);
      ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> ids,
                           tokenizer.Encode(inputs[i], {.add_bos = false}));
      EXPECT_EQ(ids, expected) << vocab << ", vector " << i << ": '" << inputs[i] << "'";
      EXPECT_EQ(Text(tokenizer, ids), inputs[i]) << vocab;
    }
  }
}

TEST(TokenizerTest, BundledModel) {
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Load("data/sample-q4_k_m.gguf"));
  // The ids are llama.cpp's for the same file.
  EXPECT_THAT(tokenizer.Encode("In the beginning", {}), IsOkAndHolds(ElementsAre(747, 259, 2512)));
  EXPECT_FALSE(tokenizer.add_bos());
  EXPECT_TRUE(tokenizer.IsEnd(0));
  EXPECT_FALSE(tokenizer.IsEnd(1));
}

TEST(TokenizerTest, RandomBytesSurviveSeed7) {
  for (const char* vocab : kVocabularies) {
    ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Load(vocab));
    Rng rng(7);
    for (int i = 0; i < 500; ++i) {
      std::string text(rng.Below(60), '\0');
      // Half of the texts mostly ASCII, so that words, spaces and broken UTF-8 meet.
      for (char& c : text) c = static_cast<char>(rng.Below(i % 2 == 0 ? 256 : 140));
      ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> ids,
                           tokenizer.Encode(text, {.add_bos = false}));
      ASSERT_EQ(Text(tokenizer, ids), text) << vocab << ", " << i;
      StreamDecoder stream(tokenizer);
      std::string streamed;
      for (const TokenId id : ids) streamed += stream.Next(id);
      ASSERT_EQ(streamed + stream.Finish(), tokenizer.Decode(ids)) << vocab << ", " << i;
    }
  }
}

TEST(TokenizerTest, StreamHoldsBackIncompleteCharacters) {
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Create(TinyModel()));
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.Next('a'), "a");
  EXPECT_EQ(stream.Next(0xf0), "");
  EXPECT_EQ(stream.Next(0x9f), "");
  EXPECT_EQ(stream.Next(0x9a), "");
  EXPECT_EQ(stream.Next(0x80), "\xf0\x9f\x9a\x80");
  EXPECT_EQ(stream.Next(0xe2), "");
  EXPECT_EQ(stream.Next('b'),
            "\xe2"
            "b");
  EXPECT_EQ(stream.Next(kEnd), "");
  EXPECT_EQ(stream.Next(0xc3), "");
  EXPECT_EQ(stream.Finish(), "\xc3");
  EXPECT_EQ(stream.Finish(), "");
}

TEST(TokenizerTest, SpecialTokens) {
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Create(TinyModel()));
  EXPECT_THAT(tokenizer.Encode("hello", {}), IsOkAndHolds(ElementsAre(kHell, 'o')));
  // User-defined tokens always count; control tokens only on request.
  EXPECT_THAT(tokenizer.Encode("<br>he<br>", {}), IsOkAndHolds(ElementsAre(kBr, kHe, kBr)));
  EXPECT_THAT(tokenizer.Encode("<|end|>", {}),
              IsOkAndHolds(ElementsAre('<', '|', 'e', 'n', 'd', '|', '>')));
  ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> ids,
                       tokenizer.Encode("a<|end|>", {.parse_special = true}));
  EXPECT_THAT(ids, ElementsAre('a', kEnd));
  EXPECT_EQ(tokenizer.Decode(ids), "a");
  EXPECT_EQ(tokenizer.Piece(kEnd), "<|end|>");
  EXPECT_TRUE(tokenizer.IsControl(kEnd));
  EXPECT_EQ(tokenizer.Piece(kTinyVocab), "");
  EXPECT_EQ(tokenizer.Decode({kTinyVocab, UINT32_MAX}), "");
}

TEST(TokenizerTest, LongestSpecialTokenWins) {
  std::vector<std::string> tokens = TinyTokens();
  tokens[kHe] = "<br><br>";
  tokens[kLl] = "<br><br>!";
  std::vector<int32_t> types(kTinyVocab, 1);
  types[kHe] = types[kBr] = 4;
  types[kLl] = 3;
  GgufWriter w = TinyModel();
  w.Set("tokenizer.ggml.tokens", Strs(tokens)).Set("tokenizer.ggml.token_type", Array(5, types));
  w.Set("tokenizer.ggml.merges", Strs({}));
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Create(w));
  EXPECT_THAT(tokenizer.Encode("<br><br><br", {}), IsOkAndHolds(ElementsAre(kHe, '<', 'b', 'r')));
  EXPECT_THAT(tokenizer.Encode("<br><br>!", {}), IsOkAndHolds(ElementsAre(kHe, '!')));
  EXPECT_THAT(tokenizer.Encode("<br><br>!", {.parse_special = true}),
              IsOkAndHolds(ElementsAre(kLl)));
}

TEST(TokenizerTest, BeginOfSequence) {
  GgufWriter w = TinyModel();
  w.Set("tokenizer.ggml.add_bos_token", Bool(1));
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Create(w));
  EXPECT_THAT(tokenizer.Encode("he", {}), IsOkAndHolds(ElementsAre(kEnd, kHe)));
  EXPECT_THAT(tokenizer.Encode("he", {.add_bos = false}), IsOkAndHolds(ElementsAre(kHe)));
  EXPECT_THAT(tokenizer.Encode("", {}), IsOkAndHolds(ElementsAre(kEnd)));
  // The llama 3 pre-tokenizer asks for it unless the file says otherwise.
  w.Set("tokenizer.ggml.pre", Str("llama-bpe")).Remove("tokenizer.ggml.add_bos_token");
  ASSERT_OK_AND_ASSIGN(const Tokenizer llama3, Create(w));
  EXPECT_THAT(llama3.Encode("he", {}), IsOkAndHolds(ElementsAre(kEnd, kHe)));
  w.Remove("tokenizer.ggml.bos_token_id");
  EXPECT_THAT(Create(w), StatusIs(StatusCode::kDataLoss, HasSubstr("bos_token_id")));
}

TEST(TokenizerTest, WholeWordsWhereThePreTokenizerIgnoresMerges) {
  GgufWriter w = TinyModel();
  w.Set("tokenizer.ggml.merges", Strs({"h e"}));  // no way to merge "hell"
  ASSERT_OK_AND_ASSIGN(const Tokenizer gpt2, Create(w));
  EXPECT_THAT(gpt2.Encode("hell", {}), IsOkAndHolds(ElementsAre(kHe, 'l', 'l')));
  w.Set("tokenizer.ggml.pre", Str("llama-bpe"));
  ASSERT_OK_AND_ASSIGN(const Tokenizer llama3, Create(w));
  EXPECT_THAT(llama3.Encode("hell hells", {}),
              IsOkAndHolds(ElementsAre(kHell, ' ', kHe, 'l', 'l', 's')));
}

TEST(TokenizerTest, EmptyPlaceholdersAreNeverProduced) {
  std::vector<std::string> tokens = TinyTokens();
  tokens.insert(tokens.end(), {"", ""});
  std::vector<int32_t> types(tokens.size(), 1);
  types.back() = 4;
  GgufWriter w = TinyModel();
  w.Set("tokenizer.ggml.tokens", Strs(tokens)).Set("tokenizer.ggml.token_type", Array(5, types));
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Create(w));
  EXPECT_THAT(tokenizer.Encode("he", {}), IsOkAndHolds(ElementsAre(kHe)));
  EXPECT_EQ(tokenizer.Decode({kTinyVocab, kTinyVocab + 1}), "");
}

// Quadratic merging of these texts takes minutes; they take well under a second each.
TEST(TokenizerTest, OneWordOfAMegabyte) {
  for (const char* vocab : kVocabularies) {
    ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Load(vocab));
    for (const char* unit : {"a", " ", "ab", "\n ", "\xff", "\xc3\xa4"}) {
      std::string text;
      while (text.size() < 1 << 20) text += unit;
      const auto start = std::chrono::steady_clock::now();
      ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> ids,
                           tokenizer.Encode(text, {.add_bos = false}));
      EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(20)) << unit;
      EXPECT_TRUE(Text(tokenizer, ids) == text) << vocab << " " << unit;
    }
  }
}

TEST(TokenizerHostileTest, UnknownKinds) {
  EXPECT_THAT(Create(TinyModel().Set("tokenizer.ggml.model", Str("rwkv"))),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("'rwkv'")));
  EXPECT_THAT(Create(TinyModel().Set("tokenizer.ggml.pre", Str("klingon"))),
              StatusIs(StatusCode::kUnimplemented, HasSubstr("'klingon'")));
  for (const char* key : {"model", "pre", "tokens", "merges"}) {
    const std::string name = absl::StrCat("tokenizer.ggml.", key);
    EXPECT_THAT(Create(TinyModel().Remove(name)), StatusIs(StatusCode::kNotFound, HasSubstr(name)));
    EXPECT_THAT(Create(TinyModel().Set(name, U32(1))),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(name)));
  }
}

TEST(TokenizerHostileTest, TokensAndTypes) {
  EXPECT_THAT(Create(TinyModel().Set("tokenizer.ggml.tokens", Strs({}))),
              StatusIs(StatusCode::kDataLoss, HasSubstr("0 elements")));
  std::vector<std::string> tokens = TinyTokens();
  tokens[kLl] = "he";
  EXPECT_THAT(Create(TinyModel().Set("tokenizer.ggml.tokens", Strs(tokens))),
              StatusIs(StatusCode::kDataLoss, HasSubstr("token 257 'he' repeats token 256")));
  const std::string types = "tokenizer.ggml.token_type";
  EXPECT_THAT(Create(TinyModel().Set(types, Array<int32_t>(5, {1, 1}))),
              StatusIs(StatusCode::kDataLoss, HasSubstr("2 elements for 261 tokens")));
  EXPECT_THAT(Create(TinyModel().Set(types, Array(6, std::vector<float>(kTinyVocab, 1)))),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr(types)));
  for (const int32_t type : {-1, 7}) {
    EXPECT_THAT(Create(TinyModel().Set(types, Array(5, std::vector<int32_t>(kTinyVocab, type)))),
                StatusIs(StatusCode::kDataLoss, HasSubstr(absl::StrCat("unknown type ", type))));
  }
  tokens = TinyTokens();
  tokens[kBr] = std::string(10 << 20, 'x');
  EXPECT_THAT(Create(TinyModel().Set("tokenizer.ggml.tokens", Strs(tokens))),
              StatusIs(StatusCode::kDataLoss, HasSubstr("limit is 1024")));
}

TEST(TokenizerHostileTest, MissingByteTokens) {
  std::vector<std::string> tokens = TinyTokens();
  tokens['x'] = "<0x-1>";
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer,
                       Create(TinyModel().Set("tokenizer.ggml.tokens", Strs(tokens))));
  EXPECT_THAT(tokenizer.Encode("xyz", {}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("byte 120")));
}

TEST(TokenizerHostileTest, Merges) {
  for (const char* merge : {"he", "", " ", " he", "h ", "h x", "q q", "zz h", "h e l"}) {
    EXPECT_THAT(Create(TinyModel().Set("tokenizer.ggml.merges", Strs({"h e", merge}))),
                StatusIs(StatusCode::kDataLoss, HasSubstr("merge 1 ")))
        << "'" << merge << "'";
  }
}

TEST(TokenizerHostileTest, SpecialIds) {
  for (const char* name : {"bos", "eos", "eot", "eom"}) {
    const std::string key = absl::StrCat("tokenizer.ggml.", name, "_token_id");
    for (const uint32_t id : {kTinyVocab, 0xffffffffu}) {
      EXPECT_THAT(Create(TinyModel().Set(key, U32(id))),
                  StatusIs(StatusCode::kDataLoss, HasSubstr(key)));
    }
    EXPECT_THAT(Create(TinyModel().Set(key, Value(5, int32_t{-1}))),
                StatusIs(StatusCode::kInvalidArgument, HasSubstr(key)));
  }
}

}  // namespace
}  // namespace ptxsmith

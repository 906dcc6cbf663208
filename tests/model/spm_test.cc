#include "model/spm.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/tokenizer.h"
#include "tests/model/gguf_writer.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr TokenId kUnk = 0, kBos = 1, kEos = 2, kByte0 = 3, kLetters = 259;

// The three usual first tokens, the 256 bytes, and `pieces` with their scores.
struct Vocabulary {
  std::vector<std::string> tokens = {"<unk>", "<s>", "</s>"};
  std::vector<float> scores = {0, 0, 0};
  std::vector<int32_t> types = {2, 3, 3};

  explicit Vocabulary(const std::vector<std::pair<std::string, float>>& pieces) {
    constexpr char kHex[] = "0123456789ABCDEF";
    for (int b = 0; b < 256; ++b) {
      Add(absl::StrCat("<0x", std::string{kHex[b / 16], kHex[b % 16]}, ">"), 0, 6);
    }
    for (const auto& [piece, score] : pieces) Add(piece, score, 1);
  }

  void Add(const std::string& token, float score, int32_t type) {
    tokens.push_back(token);
    scores.push_back(score);
    types.push_back(type);
  }

  GgufWriter Writer() const {
    return TinyModel()
        .Set("tokenizer.ggml.model", Str("llama"))
        .Remove("tokenizer.ggml.bos_token_id")
        .Remove("tokenizer.ggml.eos_token_id")
        .Remove("tokenizer.ggml.add_bos_token")
        .Set("tokenizer.ggml.tokens", Strs(tokens))
        .Set("tokenizer.ggml.scores", Array(6, scores))
        .Set("tokenizer.ggml.token_type", Array(5, types));
  }
};

absl::StatusOr<Tokenizer> Create(const GgufWriter& w) {
  const std::string bytes = w.Build();
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  return Tokenizer::Create(file);
}

// "▁" is U+2581.
const Vocabulary& Letters() {
  static const auto* const kVocabulary = new Vocabulary(
      {{"\u2581", -1}, {"a", -2}, {"b", -3}, {"ab", -4}, {"ba", -5}, {"bab", -9}, {"\u2581a", -8}});
  return *kVocabulary;
}
constexpr TokenId kSpace = kLetters, kA = kLetters + 1, kAb = kLetters + 3, kBa = kLetters + 4,
                  kBab = kLetters + 5, kSpaceA = kLetters + 6;

TEST(SpmTest, HighestScoreFirstThenLeftmost) {
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer,
                       Create(Letters().Writer().Set("tokenizer.ggml.add_space_prefix", Bool(0))));
  EXPECT_FALSE(tokenizer.space_prefix());
  const EncodeOptions plain{.add_bos = false};
  EXPECT_THAT(tokenizer.Encode("aba", plain), IsOkAndHolds(ElementsAre(kAb, kA)));
  EXPECT_THAT(tokenizer.Encode("bab", plain), IsOkAndHolds(ElementsAre(kBab)));
  EXPECT_THAT(tokenizer.Encode("baa", plain), IsOkAndHolds(ElementsAre(kBa, kA)));
  EXPECT_THAT(tokenizer.Encode("abab", plain), IsOkAndHolds(ElementsAre(kAb, kAb)));
  EXPECT_THAT(tokenizer.Encode(" a", plain), IsOkAndHolds(ElementsAre(kSpaceA)));
  EXPECT_THAT(tokenizer.Encode("", plain), IsOkAndHolds(ElementsAre()));
}

TEST(SpmTest, UnknownCharactersBecomeBytes) {
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Create(Letters().Writer()));
  ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> ids, tokenizer.Encode("a\xc3\xa4\xff", {}));
  EXPECT_THAT(ids, ElementsAre(kBos, kSpaceA, kByte0 + 0xc3, kByte0 + 0xa4, kByte0 + 0xff));
  EXPECT_EQ(tokenizer.Decode(ids), " a\xc3\xa4\xff");
  EXPECT_EQ(tokenizer.Piece(kByte0 + 0xc3), "\xc3");
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.Next(kByte0 + 0xc3), "");
  EXPECT_EQ(stream.Next(kByte0 + 0xa4), "\xc3\xa4");
}

TEST(SpmTest, ASpaceGoesBeforeTheTextAndAfterSpecialTokens) {
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Create(Letters().Writer()));
  EXPECT_TRUE(tokenizer.space_prefix());
  EXPECT_THAT(tokenizer.Encode("a</s>a</s></s>", {.parse_special = true}),
              IsOkAndHolds(ElementsAre(kBos, kSpaceA, kEos, kSpaceA, kEos, kEos)));
  EXPECT_THAT(tokenizer.Encode("", {}), IsOkAndHolds(ElementsAre(kBos)));
  EXPECT_THAT(tokenizer.Encode(" a", {}), IsOkAndHolds(ElementsAre(kBos, kSpace, kSpaceA)));
}

TEST(SpmTest, TheUsualIdsWhereTheFileNamesNone) {
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Create(Letters().Writer()));
  EXPECT_EQ(tokenizer.bos(), kBos);
  EXPECT_TRUE(tokenizer.IsEnd(kEos));
  EXPECT_FALSE(tokenizer.IsEnd(kUnk));
}

// Pieces that would merge to the spelling of a control or byte token do not make that token.
TEST(SpmTest, TextForgesNoControlToken) {
  Vocabulary v({{"\u2581", -13},
                {"<", -1},
                {"s", -2},
                {">", -3},
                {"<s", -4},
                {"<0x41", -5},
                {"<0x", -6},
                {"41", -7},
                {"0", -8},
                {"x", -9},
                {"4", -10},
                {"1", -11},
                {"<0", -12}});
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Create(v.Writer()));
  for (const char* text : {"<s>", "<0x41>", "<unk>"}) {
    ASSERT_OK_AND_ASSIGN(const std::vector<TokenId> ids,
                         tokenizer.Encode(text, {.add_bos = false}));
    EXPECT_GT(ids.size(), 1u);
    EXPECT_EQ(tokenizer.Decode(ids), absl::StrCat(" ", text));
  }
}

TEST(SpmTest, UserDefinedTokensCount) {
  Vocabulary v = Letters();
  v.Add("<br>", 0, 4);
  v.Add("\u2581\u2581", -1000, 4);  // as Gemma has them: found by merging
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Create(v.Writer()));
  EXPECT_THAT(tokenizer.Encode("<br>   <br>", {.add_bos = false}),
              IsOkAndHolds(ElementsAre(kLetters + 7, kLetters + 8, kLetters + 8, kLetters + 7)));
}

TEST(SpmHostileTest, Scores) {
  const std::string key = "tokenizer.ggml.scores";
  EXPECT_THAT(Create(Letters().Writer().Remove(key)),
              StatusIs(StatusCode::kNotFound, HasSubstr(key)));
  EXPECT_THAT(Create(Letters().Writer().Set(key, Array<float>(6, {1, 2}))),
              StatusIs(StatusCode::kDataLoss, HasSubstr("2 elements for 266 tokens")));
  EXPECT_THAT(Create(Letters().Writer().Set(key, Array(5, std::vector<int32_t>(266, 1)))),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr(key)));
  Vocabulary v = Letters();
  v.Add("c", NAN, 1);
  EXPECT_THAT(Create(v.Writer()), StatusIs(StatusCode::kDataLoss, HasSubstr("token 266 'c'")));
}

TEST(SpmHostileTest, ByteTokens) {
  for (const char* token : {"<0x-1>", "<0x100>", "<0xG0>", "<0x1>", "0x0A", "<0x0A", ""}) {
    Vocabulary v = Letters();
    v.Add(token, 0, 6);
    EXPECT_THAT(Create(v.Writer()), StatusIs(StatusCode::kDataLoss, HasSubstr("<0x00> to <0xFF>")))
        << token;
  }
  Vocabulary twice = Letters();
  twice.Add("<0x0a>", 0, 6);
  EXPECT_THAT(Create(twice.Writer()), StatusIs(StatusCode::kDataLoss, HasSubstr("token 266")));
  Vocabulary missing = Letters();
  missing.tokens[kByte0 + 'x'] = "y";
  missing.types[kByte0 + 'x'] = 1;
  ASSERT_OK_AND_ASSIGN(const Tokenizer tokenizer, Create(missing.Writer()));
  EXPECT_THAT(tokenizer.Encode("x", {}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("byte 120")));
}

TEST(SpmHostileTest, RepeatedTokens) {
  Vocabulary v = Letters();
  v.Add("ab", -4, 1);
  EXPECT_THAT(Create(v.Writer()),
              StatusIs(StatusCode::kDataLoss, HasSubstr("token 266 'ab' repeats token 262")));
}

}  // namespace
}  // namespace ptxsmith

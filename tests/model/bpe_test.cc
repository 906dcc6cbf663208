#include "model/bpe.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"

namespace ptxsmith {
namespace {

TEST(BpeSpellingTest, IsGpt2sTable) {
  EXPECT_EQ(SpellByte('!'), "!");
  EXPECT_EQ(SpellByte(0x00), "\u0100");
  EXPECT_EQ(SpellByte('\n'), "\u010a");
  EXPECT_EQ(SpellByte(' '), "\u0120");
  EXPECT_EQ(SpellByte(0x7f), "\u0121");
  EXPECT_EQ(SpellByte(0xa1), "\u00a1");
  EXPECT_EQ(SpellByte(0xad), "\u0143");
  EXPECT_EQ(SpellByte(0xff), "\u00ff");
}

TEST(BpeSpellingTest, EveryByteComesBack) {
  for (int b = 0; b < 256; ++b) {
    bool exact = false;
    EXPECT_EQ(UnspellBytes(SpellByte(b), &exact), std::string(1, static_cast<char>(b)));
    EXPECT_TRUE(exact);
  }
}

TEST(BpeSpellingTest, OtherCharactersStandForThemselves) {
  bool exact = true;
  EXPECT_EQ(UnspellBytes("a \u0120\u0144\u20ac\U0001f680", &exact), "a  \u0144\u20ac\U0001f680");
  EXPECT_FALSE(exact);
}

}  // namespace
}  // namespace ptxsmith

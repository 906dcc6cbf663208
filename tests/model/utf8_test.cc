#include "model/utf8.h"

#include <string>

#include "gtest/gtest.h"

namespace ptxsmith {
namespace {

TEST(Utf8Test, ValidPrefix) {
  for (const std::string valid : {"", "abc", "\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf",
                                  "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(ValidUtf8Prefix(valid), valid.size());
  }
  for (const std::string invalid :
       {"\x80", "\xc0\x80", "\xc1\xbf", "\xc2", "\xc2z", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xe2\x82",
        "\xe2\x82z", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xf0\x9f\x9a",
        "\xff"}) {
    EXPECT_EQ(ValidUtf8Prefix("ab" + invalid + "c"), 2u) << invalid;
  }
}

TEST(Utf8Test, IncompleteSuffix) {
  for (const std::string whole : {"", "abc", "a\xc3\xa4", "\xf0\x9f\x9a\x80"}) {
    EXPECT_EQ(IncompleteUtf8Suffix(whole), 0u) << whole;
  }
  EXPECT_EQ(IncompleteUtf8Suffix("a\xc3"), 1u);
  EXPECT_EQ(IncompleteUtf8Suffix("a\xe2\x82"), 2u);
  EXPECT_EQ(IncompleteUtf8Suffix("\xf0\x9f\x9a"), 3u);
  // Nothing can complete these.
  EXPECT_EQ(IncompleteUtf8Suffix("a\xff"), 0u);
  EXPECT_EQ(IncompleteUtf8Suffix("\xed\xa0"), 0u);
  EXPECT_EQ(IncompleteUtf8Suffix("\x80\x80\x80\x80"), 0u);
}

}  // namespace
}  // namespace ptxsmith

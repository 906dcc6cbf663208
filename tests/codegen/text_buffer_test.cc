#include "codegen/text_buffer.h"

#include <cstdint>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace ptxsmith {
namespace {

TEST(TextBufferTest, KeepsEveryPieceWhereverTheBufferIsFlushed) {
  TextBuffer text;
  std::string expected;
  for (uint64_t i = 0; i < 5000; ++i) {  // some thirty times the buffer
    text.Put("add.u32 ");
    text.Put('%');
    text.PutNumber(i * i * i);
    text.Put(absl::string_view(", 0x"));
    text.PutNumber(i, 16);
    absl::StrAppend(&expected, "add.u32 %", i * i * i, ", 0x", absl::Hex(i));
  }
  EXPECT_EQ(text.Take(), expected);
  EXPECT_EQ(text.Take(), "");
}

TEST(TextBufferTest, TakesWhatIsLongerThanTheBuffer) {
  const std::string longer(100'000, 'x');
  TextBuffer text;
  text.Put("a");
  text.Put(absl::string_view(longer));
  text.Put("b");
  EXPECT_EQ(text.Take(), absl::StrCat("a", longer, "b"));
}

TEST(TextBufferTest, LongestNumbers) {
  TextBuffer text;
  text.PutNumber(std::numeric_limits<int64_t>::min());
  text.Put(' ');
  text.PutNumber(std::numeric_limits<uint64_t>::max());
  text.Put(' ');
  text.PutNumber(std::numeric_limits<uint64_t>::max(), 16);
  EXPECT_EQ(text.Take(), "-9223372036854775808 18446744073709551615 ffffffffffffffff");
}

}  // namespace
}  // namespace ptxsmith

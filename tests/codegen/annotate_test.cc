#include "codegen/annotate.h"

#include <string>

#include "gtest/gtest.h"

namespace ptxsmith {
namespace {

constexpr char kText[] = "first\n  k.Store(0, x);  \nends with \\ \\\n";
const SourceFile kFiles[] = {{"codegen/other.cc", "wrong\nwrong\n"}, {"room/a.cc", kText}};

TEST(SourceLineTest, FindsTheFileByItsTail) {
  EXPECT_EQ(SourceLine(kFiles, {"/some/where/room/a.cc", 2}), "k.Store(0, x);");
  EXPECT_EQ(SourceLine(kFiles, {"room/a.cc", 1}), "first");
  EXPECT_EQ(SourceLine(kFiles, {"../room/a.cc", 1}), "first");
  EXPECT_EQ(SourceLine(kFiles, {"ballroom/a.cc", 1}), "");
  EXPECT_EQ(SourceLine(kFiles, {"a.cc", 1}), "");
  EXPECT_EQ(SourceLine(kFiles, {"room/a.cc", 0}), "");
  EXPECT_EQ(SourceLine(kFiles, {"room/a.cc", 99}), "");
}

TEST(AnnotateTest, OneCommentPerRunOfLines) {
  KernelSpec spec;
  spec.ptx = "header\n\ta;\n\tb;\n\tc;\n\td;\n\te;\n}\n";
  const SourceLoc first = {"/x/room/a.cc", 1};
  const SourceLoc third = {"/x/room/a.cc", 3};
  const SourceLoc unknown = {"/x/room/b.cc", 7};
  spec.lines = {{}, first, first, third, unknown, first, {}};
  EXPECT_EQ(Annotate(spec, kFiles),
            "header\n\t// a.cc:1  first\n\ta;\n\tb;\n\t// a.cc:3  ends with\n\tc;\n"
            "\t// b.cc:7\n\td;\n\t// a.cc:1  first\n\te;\n}\n");
}

}  // namespace
}  // namespace ptxsmith

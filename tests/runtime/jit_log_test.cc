#include "runtime/jit_log.h"

#include "gtest/gtest.h"

namespace ptxsmith {
namespace {

KernelSpec ThreeLines() {
  KernelSpec spec;
  spec.ptx = ".version 7.8\n  add.f32 %f1, %f1, x;\nret;";
  spec.lines = {{"", 0}, {"ptx_templates/gemv.cc", 31}};
  return spec;
}

TEST(AnnotateLogTest, ShowsThePtxLineAndItsSource) {
  EXPECT_EQ(AnnotateLog("ptxas application ptx input, line 2; error   : Unknown symbol 'x'\n"
                        "ptxas fatal   : Ptx assembly aborted due to errors\n",
                        ThreeLines()),
            "ptxas application ptx input, line 2; error   : Unknown symbol 'x'\n"
            "    2 | add.f32 %f1, %f1, x;   // gemv.cc:31\n"
            "ptxas fatal   : Ptx assembly aborted due to errors");
}

TEST(AnnotateLogTest, ShowsTheLineAloneWithoutASource) {
  EXPECT_EQ(AnnotateLog("line 1: bad version", ThreeLines()),
            "line 1: bad version\n    1 | .version 7.8");
  EXPECT_EQ(AnnotateLog("line 3: no", ThreeLines()), "line 3: no\n    3 | ret;");
}

TEST(AnnotateLogTest, LeavesOtherTextAlone) {
  for (const char* log : {"", "line 4; beyond the text", "line 0", "inline 2", "line", "line x",
                          "line 99999999999999999999999"}) {
    EXPECT_EQ(AnnotateLog(log, ThreeLines()), log);
  }
}

}  // namespace
}  // namespace ptxsmith

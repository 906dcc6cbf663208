// From text to Program: what is refused and how, what is accepted, and that no text, however
// broken, ends in anything but a Status.
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"
#include "tests/emu/op_runner.h"

namespace ptxsmith::emu {
namespace {

using testing::AllOf;
using testing::HasSubstr;

absl::Status Parse(const std::string& text) { return ParseProgram(text).status(); }

TEST(Program, KnowsItsEntriesParametersAndLimits) {
  ASSERT_OK_AND_ASSIGN(const auto program, ParseProgram(R"(
// A comment, /* and another */
.version 8.3
.target sm_90a, debug
.address_size 64
.file 1 "gemv.cc"
.extern .shared .align 16 .b8 dyn[];
.shared .align 4 .b8 fixed[100];
.visible .entry first(.param .u8 a, .param .align 8 .b8 b[20], .param .u64 .ptr .global .align 16 c)
.reqntid 64, 2
.minnctapersm 2
{
  .shared .align 32 .b8 mine[8];
  .reg .b32 %r<3>;
  .loc 1 7 3
  mov.u32 %r0, mine; /* spans
  lines */ mov.u32 %r1, dyn;
  { .reg .b32 %r0; mov.u32 %r0, 1; }
  ret;
}
.entry second() .maxntid 128 { exit; }
.section .debug_str { .b8 1, 2 }
)"));
  EXPECT_EQ(program->sm, 90);
  EXPECT_EQ(program->version_major * 10 + program->version_minor, 83);
  const Kernel* first = program->Find("first");
  ASSERT_NE(first, nullptr);
  ASSERT_NE(program->Find("second"), nullptr);
  EXPECT_EQ(program->Find("third"), nullptr);
  ASSERT_EQ(first->params.size(), 3u);
  EXPECT_EQ(first->params[1].offset, 8u);
  EXPECT_EQ(first->params[1].bytes, 20u);
  EXPECT_EQ(first->params[2].offset, 32u);
  EXPECT_EQ(first->param_bytes, 40u);
  EXPECT_EQ(first->reqntid, (std::array<uint32_t, 3>{64, 2, 1}));
  EXPECT_EQ(program->Find("second")->maxntid[0], 128u);
  EXPECT_EQ(first->static_shared, 136u);         // 100, aligned to 128, and 8
  EXPECT_EQ(first->dynamic_shared_begin, 144u);  // aligned to 16
}

TEST(Program, RefusesWithTheLine) {
  const struct {
    const char* body;
    const char* message;
    absl::StatusCode code = absl::StatusCode::kInvalidArgument;
  } kCases[] = {
      {"add.u32 %r2, %r3", "expected ';'"},
      {"add.u32 %r2, %r3, %r99;", "unknown register %r99"},
      {"add.u32 %r2, %r3, %d1;", "%d1 has 64 bits, the instruction takes 32"},
      {"add.u32 %d2, %r3, %r4;", "destination %d2 has 64 bits"},
      {"add.u32 %r2, %r3;", "has 2 operands, takes 3"},
      {"add.u32 5, %r3, %r4;", "destination is not a register"},
      {"frobnicate.u32 %r2;", "the emulator has no frobnicate.u32",
       absl::StatusCode::kUnimplemented},
      {"tcgen05.fence::before_thread_sync;", "tcgen05", absl::StatusCode::kUnimplemented},
      {"bra NOWHERE;", "label NOWHERE is not defined"},
      {"L: L: ret;", "label L defined twice"},
      {"@%r1 bra L; L:", "%r1 is not a predicate"},
      {"@%q bra L; L:", "undeclared predicate %q"},
      {"ld.global.u32 %r2, [%r3];", "address register %r3 has 32 bits"},
      {"ld.global.u32 %r2, %d1;", "expected an [address]"},
      {"ld.shared.u32 %r2, [nobody];", "unknown name nobody"},
      {"ld.global.u32 %r2, [pa];", "pa is not in the space"},
      {"ld.global.v2.u32 %r2, [%d1];", "has 1 registers for 2 elements"},
      {"ld.global.u64 %r2, [%d1];", "%r2 has 32 bits, the instruction gives 64"},
      {"ld.global.bogus.u32 %r2, [%d1];", "ld.global.bogus.u32", absl::StatusCode::kUnimplemented},
      {"cvt.f32.s32 %f2, %r2;", "needs a rounding modifier"},
      {"cvt.rn.f32.q32 %f2, %r2;", "cvt.rn.f32.q32", absl::StatusCode::kUnimplemented},
      {"mov.u32 %r2, 0x;", "malformed number"},
      {"mov.f32 %f2, 0f3F80;", "malformed number"},
      {"mov.u32 %r2, 99999999999999999999;", "malformed number"},
      {"cp.async.cg.shared.global [%r2], [%d1], 8;", "cannot copy 8 bytes"},
      {"mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1,%f2,%f3}, {%r1,%r1,%r1,%r1}, "
       "{%r1,%r1}, {%f1,%f1,%f1,%f1};",
       "found 3 registers where 4 are needed"},
      {"mov.u32 %r2, $;", "unknown name $"},
      {"mov.u32 %r2, ?;", "unexpected character"},
      {"/* never closed", "comment without an end"},
      {"{ {", "at the end of the text"},
      {".reg .b33 %x;", "unknown register type .b33"},
      {".reg .b32 %x<99999999>;", "range is not a number up to"},
      {".shared .b8 big[99999999999];", "array size"},
      {"call foo, ();", "", absl::StatusCode::kInvalidArgument},
  };
  for (const auto& c : kCases) {
    const absl::Status status = Parse(Module(c.body));
    EXPECT_EQ(status.code(), c.code) << c.body << " -> " << status;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(c.message), HasSubstr("PTX line ")))
        << c.body;
  }
  EXPECT_THAT(Parse(Module("\n\nadd.u32 %r2, %r3;")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("PTX line 20: add.u32")));
}

TEST(Program, RefusesModulesThatAreNone) {
  EXPECT_THAT(Parse(""), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(".version")));
  EXPECT_THAT(Parse(".version x.y"), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Parse(".version 7.0 .target foo"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sm_80")));
  EXPECT_THAT(Parse(".version 7.0 .target sm_80 .address_size 32"),
              StatusIs(absl::StatusCode::kUnimplemented));
  EXPECT_THAT(Parse(".version 7.0 .target sm_80 .func f() { ret; }"),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr(".func")));
  const std::string entry = ".entry e() { ret; }";
  EXPECT_THAT(Parse(absl::StrCat(".version 7.0 .target sm_80 ", entry, entry)),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("defined twice")));
}

TEST(Program, LaunchChecksTheGeometry) {
  ASSERT_OK_AND_ASSIGN(const auto program, ParseProgram(R"(.version 7.0
.target sm_80
.extern .shared .align 16 .b8 dyn[];
.shared .align 4 .b8 s[1000];
.entry e() .reqntid 32, 4, 1 { ret; }
.entry m() .maxntid 64 { ret; }
)"));
  Memory memory;
  Emulator emulator(1);
  LaunchConfig config;
  config.block = {32, 4, 1};
  EXPECT_OK(emulator.Launch(program, "e", config, memory));
  EXPECT_THAT(emulator.Launch(program, "nobody", config, memory),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nobody")));
  EXPECT_THAT(emulator.Launch(program, "m", config, memory),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(".maxntid")));
  config.dynamic_shared = 49000;
  config.max_shared = 49152;
  EXPECT_THAT(emulator.Launch(program, "e", config, memory),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("1000 static and 49000 dynamic"), HasSubstr("49152"))));
  config.dynamic_shared = 0;
  config.block = {128, 1, 1};
  EXPECT_THAT(emulator.Launch(program, "e", config, memory),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("block (128,1,1) differs from .reqntid (32,4,1)")));
  config.block = {1025, 1, 1};
  EXPECT_THAT(emulator.Launch(program, "m", config, memory),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("1 to 1024 threads")));
  config.block = {32, 4, 1};
  config.grid = {1, 70000, 1};
  EXPECT_THAT(emulator.Launch(program, "e", config, memory),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("too large")));
  config.grid = {0, 1, 1};
  EXPECT_OK(emulator.Launch(program, "e", config, memory));
}

// A kernel with most constructs, for mutation.
std::string Victim() {
  return Module(R"(
and.b32 %r2, %r0, 31;
shl.b32 %r3, %r0, 2;
mul.wide.u32 %d4, %r0, 4;
add.u64 %d5, %d1, %d4;
add.u64 %d6, %d2, %d4;
mov.u32 %r9, 0;
setp.eq.u32 %p4, %r0, 0;
@%p4 st.shared.u32 [s+512], 0;
LOOP:
ld.global.u32 %r4, [%d5];
st.shared.u32 [%r3], %r4;
bar.sync 0;
xor.b32 %r5, %r3, 124;
ld.shared.u32 %r6, [%r5];
setp.gt.u32 %p1, %r6, 9;
@%p1 bra BIG;
add.u32 %r6, %r6, 1;
bra NEXT;
BIG:
div.u32 %r6, %r6, %r4;
NEXT:
shfl.sync.bfly.b32 %r7|%p2, %r6, 1, 31, 0xffffffff;
vote.sync.ballot.b32 %r8, %p1, 0xffffffff;
cvt.rn.f32.u32 %f1, %r7;
fma.rn.f32 %f2, %f1, %f1, 0f3F800000;
mov.b64 %d7, {%r7, %r8};
mov.b64 {%r10, %r11}, %d7;
atom.shared.add.u32 %r12, [s+512], 1;
bar.sync 0;
add.u32 %r9, %r9, 1;
setp.lt.u32 %p3, %r9, 3;
@%p3 bra LOOP;
st.global.f32 [%d6], %f2;
)",
                ".shared .align 16 .b8 s[1024];\n");
}

absl::Status RunVictim(const std::string& text) {
  KernelRun run;
  run.text = text;
  run.block = {64, 1, 1};
  run.a.assign(64, 7);
  run.options.instruction_budget = 20000;
  return RunKernel(run).status();
}

TEST(Fuzz, MutatedLinesGiveAStatus) {
  const std::vector<std::string> original = absl::StrSplit(Victim(), '\n');
  std::mt19937 random(99);
  int clean = 0, refused = 0, faults = 0;
  ASSERT_OK(RunVictim(Victim()));
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::string> lines = original;
    for (int edits = 1 + static_cast<int>(random() % 2); edits > 0; --edits) {
      std::string& line = lines[random() % lines.size()];
      const std::string& other = original[random() % original.size()];
      switch (random() % 6) {
        case 0:
          line.clear();
          break;
        case 1:
          line = other;
          break;
        case 2:
          if (!line.empty()) line[random() % line.size()] = static_cast<char>(32 + random() % 95);
          break;
        case 3:
          if (!line.empty()) line.erase(random() % line.size(), 1 + random() % 4);
          break;
        case 4: {  // another digit: other registers, offsets, immediates
          const size_t at = line.find_first_of("0123456789", random() % (line.size() + 1));
          if (at != std::string::npos) line[at] = static_cast<char>('0' + random() % 10);
          break;
        }
        default:
          line.insert(random() % (line.size() + 1), other.substr(0, random() % 12));
          break;
      }
    }
    const absl::Status status = RunVictim(absl::StrJoin(lines, "\n"));
    switch (status.code()) {
      case absl::StatusCode::kOk:
        ++clean;
        break;
      case absl::StatusCode::kInvalidArgument:
      case absl::StatusCode::kUnimplemented:
      case absl::StatusCode::kNotFound:
      case absl::StatusCode::kFailedPrecondition:
        ++refused;
        break;
      case absl::StatusCode::kInternal:
      case absl::StatusCode::kDeadlineExceeded:
        ++faults;
        break;
      default:
        FAIL() << status;
    }
    EXPECT_TRUE(status.ok() || !status.message().empty());
  }
  // All three must occur, or the mutations are too tame or too wild to test anything.
  EXPECT_GT(clean, 100);
  EXPECT_GT(refused, 100);
  EXPECT_GT(faults, 100);
}

TEST(Fuzz, TruncatedAndShuffledTextGivesAStatus) {
  const std::string text = Victim();
  for (size_t n = 0; n < text.size(); n += 3) {
    const absl::Status status = RunVictim(text.substr(0, n));
    EXPECT_FALSE(status.ok() && n < text.size() / 2) << n;
  }
  std::mt19937 random(4);
  for (int round = 0; round < 200; ++round) {
    std::string noise(random() % 400, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    EXPECT_FALSE(Parse(noise).ok());
    EXPECT_FALSE(Parse(absl::StrCat(".version 7.0\n.target sm_80\n.entry e() {", noise)).ok());
  }
}

}  // namespace
}  // namespace ptxsmith::emu

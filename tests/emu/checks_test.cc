// Every check of the emulator: a tiny kernel that trips it and a clean twin, which differs in what
// is right and must pass. Both run on one and on two host threads, in natural order and under
// random schedules.
#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/emu/op_runner.h"

namespace ptxsmith::emu {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Pair {
  const char* name;
  const char* bad;  // body of Module()
  const char* good;
  const char* message;  // part of the fault
  uint32_t threads = 32;
  uint32_t blocks = 1;
  uint32_t dynamic_shared = 0;
  // The fault may be found only in natural order, because it is a matter of who comes first.
  bool natural_order_only = false;
  const char* globals = "";
};

// %d6 = address of this thread's word of b, %d5 = of a, %d7 = of c.
constexpr char kAddresses[] = R"(
mov.u32 %r60, %ctaid.x;
mov.u32 %r61, %ntid.x;
mad.lo.u32 %r62, %r60, %r61, %r0;
mul.wide.u32 %d4, %r62, 4;
add.u64 %d5, %d1, %d4;
add.u64 %d6, %d2, %d4;
add.u64 %d7, %d3, %d4;
shl.b32 %r63, %r0, 2;
)";
constexpr char kShared[] = ".shared .align 16 .b8 s[512];\n.extern .shared .align 16 .b8 dyn[];\n";

const Pair kPairs[] = {
    // Registers.
    {"RegisterAsOperand", "add.u32 %r2, %r3, 1;", "mov.u32 %r3, 1; add.u32 %r2, %r3, 1;",
     "register %r3, which this thread never wrote"},
    {"RegisterAsAddress", "ld.global.u32 %r2, [%d9];",
     "mov.u64 %d9, %d5; ld.global.u32 %r2, [%d9];", "register %d9"},
    {"RegisterStored", "st.global.u32 [%d6], %r3;", "mov.u32 %r3, 1; st.global.u32 [%d6], %r3;",
     "register %r3"},
    {"RegisterAsGuard", "@%p1 add.u32 %r2, %r0, 1;",
     "setp.eq.u32 %p1, %r0, 3; @%p1 add.u32 %r2, %r0, 1;", "register %p1"},
    {"RegisterAsBranch", "@%p1 bra L; mov.u32 %r2, 1; L:",
     "setp.eq.u32 %p1, %r0, 3; @%p1 bra L; mov.u32 %r2, 1; L:", "register %p1"},
    {"RegisterOfOneLane", "setp.ne.u32 %p1, %r0, 5; @%p1 mov.u32 %r3, 1; st.global.u32 [%d6], %r3;",
     "setp.ne.u32 %p1, %r0, 5; @%p1 mov.u32 %r3, 1; @%p1 st.global.u32 [%d6], %r3;",
     "thread (5,0,0)"},
    {"RegisterThroughMov", "mov.u32 %r4, %r3; add.u32 %r5, %r4, 1;", "mov.u32 %r4, %r3;",
     "register %r4"},
    {"RegisterOnOnePath",
     "setp.lt.u32 %p1, %r0, 16; @%p1 bra L; mov.u32 %r3, 1; L: add.u32 %r4, %r3, 1;",
     "setp.lt.u32 %p1, %r0, 16; mov.u32 %r3, 2; @%p1 bra L; mov.u32 %r3, 1; L: add.u32 %r4, %r3, "
     "1;",
     "thread (0,0,0)"},
    // Global memory.
    {"GlobalBeyondEnd", "ld.global.u32 %r2, [%d1+256];", "ld.global.u32 %r2, [%d1+252];",
     "out-of-bounds read of 4 bytes at global address"},
    {"GlobalBeforeBegin", "ld.global.u32 %r2, [%d1+-4];", "ld.global.u32 %r2, [%d1+4];",
     "out-of-bounds read"},
    {"GlobalStoreBeyondEnd", "st.global.v4.u32 [%d2+1016], {%r0, %r0, %r0, %r0};",
     "setp.eq.u32 %p1, %r0, 0; @%p1 st.global.v4.u32 [%d2+1008], {%r0, %r0, %r0, %r0};",
     "'b' + 1016 (1024 bytes)"},
    {"GlobalLastLaneBeyondEnd", "ld.global.u32 %r2, [%d5+132];", "ld.global.u32 %r2, [%d5+128];",
     "thread (31,0,0)"},
    {"GlobalNull", "mov.u64 %d9, 0; ld.global.u32 %r2, [%d9];", "ld.global.u32 %r2, [%d1];",
     "no allocation"},
    {"GlobalMisaligned", "ld.global.u32 %r2, [%d1+2];", "ld.global.u16 %h2, [%d1+2];",
     "misaligned read of 4 bytes"},
    {"GlobalMisalignedVector", "ld.global.v2.u32 {%r2, %r3}, [%d1+4];",
     "ld.global.v2.u32 {%r2, %r3}, [%d1+8];", "misaligned read of 8 bytes"},
    {"GlobalUndefined", "ld.global.u32 %r2, [%d7];", "ld.global.u32 %r2, [%d5];",
     "read of undefined memory: nobody wrote all of the 4 bytes at global address"},
    {"GlobalPartlyUndefined", "st.global.u8 [%d6], %r0; ld.global.u16 %h2, [%d6];",
     "st.global.u8 [%d6], %r0; ld.global.u8 %h2, [%d6];", "read of undefined memory"},
    {"GlobalUndefinedAtomic", "red.global.add.u32 [%d3], 1;",
     "setp.eq.u32 %p1, %r0, 0; @%p1 st.global.u32 [%d3], 0; bar.sync 0; red.global.add.u32 [%d3], "
     "1;",
     "read of undefined memory"},
    {"GlobalAddressOfShared", "mov.u64 %d9, s; cvta.shared.u64 %d9, %d9; ld.global.u32 %r2, [%d9];",
     "ld.global.u32 %r2, [%d5];", "wrong address space: read of 4 bytes of global memory", 32, 1, 0,
     false, kShared},
    // Shared memory.
    {"SharedBeyondEnd", "st.shared.u32 [%r63+512], %r0;", "st.shared.u32 [%r63+384], %r0;",
     "out-of-bounds write of 4 bytes at shared address 0x200 (512 bytes", 32, 1, 0, false, kShared},
    {"DynamicSharedBeyondEnd", "st.shared.u32 [dyn+64], %r0;",
     "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [dyn+60], %r0;", "64 dynamic", 32, 1, 64, false,
     kShared},
    {"SharedMisaligned", "st.shared.u32 [s+2], %r0;",
     "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [s+4], %r0;",
     "misaligned write of 4 bytes at shared", 32, 1, 0, false, kShared},
    {"SharedUndefined", "ld.shared.u32 %r2, [%r63];",
     "st.shared.u32 [%r63], %r0; ld.shared.u32 %r2, [%r63];", "read of undefined memory", 32, 1, 0,
     false, kShared},
    {"SharedUndefinedInNextBlock",
     "setp.eq.u32 %p1, %r60, 0; @%p1 st.shared.u32 [%r63], %r0; ld.shared.u32 %r2, [%r63];",
     "st.shared.u32 [%r63], %r0; ld.shared.u32 %r2, [%r63];", "block (1,0,0)", 32, 2, 0, false,
     kShared},
    {"SharedPartlyUndefined", "st.shared.u8 [%r63], %r0; ld.shared.u16 %h2, [%r63];",
     "st.shared.u8 [%r63], %r0; ld.shared.u8 %h2, [%r63];", "read of undefined memory", 32, 1, 0,
     false, kShared},
    {"SharedGenericAddress", "mov.u64 %d8, s; cvta.shared.u64 %d9, %d8; ld.shared.u32 %r2, [%d9];",
     "st.shared.u32 [%r63], %r0; mov.u64 %d8, s; cvta.shared.u64 %d9, %d8; mul.wide.u32 %d10, %r0, "
     "4;"
     "add.u64 %d9, %d9, %d10; ld.u32 %r2, [%d9];",
     "a generic address of shared memory", 32, 1, 0, false, kShared},
    {"SharedGlobalAddress", "ld.shared.u32 %r2, [%d5];",
     "st.shared.u32 [%r63], %r0; cvta.to.global.u64 %d9, %d5; ld.global.u32 %r2, [%d9];",
     "wrong address space", 32, 1, 0, false, kShared},
    {"GenericSharedOffset", "st.shared.u32 [%r63], %r0; mov.u64 %d9, s; ld.u32 %r2, [%d9];",
     "st.shared.u32 [%r63], %r0; mov.u64 %d9, s; ld.shared.u32 %r2, [%d9];", "no allocation", 1, 1,
     0, false, ".shared .align 16 .b8 s[512];\n"},
    // Races in shared memory.
    {"RaceReadAfterWrite",
     "st.shared.u32 [%r63], %r0; and.b32 %r2, %r63, 127; ld.shared.u32 %r3, [%r2];",
     "st.shared.u32 [%r63], %r0; bar.sync 0; and.b32 %r2, %r63, 127; ld.shared.u32 %r3, [%r2];",
     "without a barrier between", 64, 1, 0, false, kShared},
    {"RaceWriteAfterRead",
     "st.shared.u32 [%r63], %r0; bar.sync 0; xor.b32 %r2, %r63, 128; ld.shared.u32 %r3, [%r2];"
     "st.shared.u32 [%r63], %r3;",
     "st.shared.u32 [%r63], %r0; bar.sync 0; xor.b32 %r2, %r63, 128; ld.shared.u32 %r3, [%r2];"
     "bar.sync 0; st.shared.u32 [%r63], %r3;",
     "data race", 64, 1, 0, false, kShared},
    {"RaceWriteAfterManyReads",
     "st.shared.u32 [%r63], %r0; bar.sync 0; ld.shared.u32 %r3, [s];"
     "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [s], %r3;",
     "st.shared.u32 [%r63], %r0; bar.sync 0; ld.shared.u32 %r3, [s]; bar.sync 0;"
     "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [s], %r3;",
     "data race", 32, 1, 0, false, kShared},
    {"RaceWriteAfterWrite", "and.b32 %r2, %r63, 127; st.shared.u32 [%r2], %r0;",
     "and.b32 %r2, %r63, 255; st.shared.u32 [%r2], %r0;", "data race: write", 64, 1, 0, false,
     kShared},
    {"RaceInOneInstruction", "and.b32 %r2, %r63, 63; st.shared.u32 [%r2], %r0;",
     "and.b32 %r2, %r63, 127; st.shared.u32 [%r2], %r0;", "data race: write", 32, 1, 0, false,
     kShared},
    {"RaceInsideAWarp",
     "st.shared.u32 [%r63], %r0; xor.b32 %r2, %r63, 4; ld.shared.u32 %r3, [%r2];",
     "st.shared.u32 [%r63], %r0; bar.warp.sync 0xffffffff; xor.b32 %r2, %r63, 4;"
     "ld.shared.u32 %r3, [%r2];",
     "without a barrier between", 32, 1, 0, true, kShared},
    {"WarpSyncOrdersOnlyItsWarp",
     "st.shared.u32 [%r63], %r0; bar.warp.sync 0xffffffff; and.b32 %r2, %r63, 127;"
     "ld.shared.u32 %r3, [%r2];",
     "st.shared.u32 [%r63], %r0; bar.warp.sync 0xffffffff; xor.b32 %r2, %r63, 64;"
     "ld.shared.u32 %r3, [%r2];",
     "without a barrier between", 64, 1, 0, true, kShared},
    {"RaceAtomicAgainstStore",
     "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [s], %r0; red.shared.add.u32 [s], 1;",
     "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [s], %r0; bar.sync 0;"
     "red.shared.add.u32 [s], 1;",
     "data race", 32, 1, 0, true, kShared},
    {"RaceReadAfterAtomic",
     "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [s], %r0; bar.sync 0; red.shared.add.u32 [s], 1;"
     "ld.shared.u32 %r2, [s];",
     "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [s], %r0; bar.sync 0; red.shared.add.u32 [s], 1;"
     "bar.sync 0; ld.shared.u32 %r2, [s];",
     "data race", 32, 1, 0, true, kShared},
    {"NamedBarrierOrdersItsWarps",
     // Warps 0 and 1 meet at barrier 1; warp 2 reads what they wrote.
     "setp.lt.u32 %p1, %r0, 64; @%p1 st.shared.u32 [%r63], %r0; @%p1 bra A; bra B; A: "
     "bar.sync 1, 64; B: ld.shared.u32 %r3, [s];",
     "setp.lt.u32 %p1, %r0, 64; @%p1 st.shared.u32 [%r63], %r0; @%p1 bra A; bra B; A: "
     "bar.sync 1, 64; ld.shared.u32 %r3, [s]; B:",
     "data race", 96, 1, 0, true, kShared},
    // Races in global memory.
    {"GlobalRaceBetweenBlocks", "st.global.u32 [%d2], %r0;",
     "setp.eq.u32 %p1, %r60, 0; @%p1 st.global.u32 [%d2], %r0;", "conflicts with a store of block",
     1, 2},
    {"GlobalReadOfAnotherBlock",
     "st.global.u32 [%d6], %r60; sub.u32 %r2, 1, %r60; mul.wide.u32 %d8, %r2, 4;"
     "add.u64 %d8, %d2, %d8; setp.eq.u32 %p1, %r60, 1; @%p1 ld.global.u32 %r3, [%d8];",
     "st.global.u32 [%d6], %r60; setp.eq.u32 %p1, %r60, 1; @%p1 ld.global.u32 %r3, [%d6];",
     "conflicts with a store of block (0,0,0)", 1, 2, 0, true},
    {"GlobalRaceInABlock",
     "st.global.u32 [%d6], %r0; xor.b32 %r2, %r63, 128; cvt.u64.u32 %d8, %r2;"
     "add.u64 %d8, %d2, %d8; setp.ge.u32 %p1, %r0, 32; @%p1 ld.global.u32 %r3, [%d8];",
     "st.global.u32 [%d6], %r0; xor.b32 %r2, %r63, 128; cvt.u64.u32 %d8, %r2;"
     "add.u64 %d8, %d2, %d8; setp.ge.u32 %p1, %r0, 32; bar.sync 0;"
     "@%p1 ld.global.u32 %r3, [%d8];",
     "conflicts with a store of block (0,0,0) thread (0,0,0)", 64, 1, 0, true},
    // Local and constant memory, parameters.
    {"LocalUndefined", "ld.local.u32 %r2, [q];", "st.local.u32 [q], %r0; ld.local.u32 %r2, [q];",
     "read of undefined memory", 32, 1, 0, false, "LOCAL"},
    {"LocalBeyondEnd", "st.local.u32 [q+16], %r0;", "st.local.u32 [q+12], %r0;",
     "out-of-bounds write of 4 bytes at local address", 32, 1, 0, false, "LOCAL"},
    {"ConstBeyondEnd", "ld.const.u32 %r2, [k+16];", "ld.const.u32 %r2, [k+12];",
     "out-of-bounds read of 4 bytes at const", 32, 1, 0, false,
     ".const .align 4 .u32 k[4] = {1, 2, 3, 4};\n"},
    {"ConstWritten", "st.const.u32 [k], %r0;", "ld.const.u32 %r2, [k];",
     "write to read-only memory", 32, 1, 0, false, ".const .align 4 .u32 k[4] = {1, 2, 3, 4};\n"},
    {"ParamWritten", "st.param.u32 [pn], %r0;", "ld.param.u32 %r2, [pn];",
     "write to read-only memory"},
    {"ParamBeyondEnd", "ld.param.u32 %r2, [pn+4];", "ld.param.u32 %r2, [pn+0];", "out-of-bounds"},
    // Barriers and exchange.
    {"BarrierAfterExit", "setp.lt.u32 %p1, %r0, 8; @%p1 exit; bar.sync 0;",
     "setp.lt.u32 %p1, %r0, 8; bar.sync 0; @%p1 exit;", "divergent barrier", 64},
    {"BarrierOfOneWarp", "setp.lt.u32 %p1, %r0, 32; @%p1 bar.sync 0;", "bar.sync 0;",
     "divergent barrier", 64},
    {"BarrierInABranch",
     "setp.lt.u32 %p1, %r0, 8; @%p1 bra L; bar.sync 0; bra M; L: bar.sync 1; M:",
     "setp.lt.u32 %p1, %r0, 8; @%p1 bra L; mov.u32 %r2, 1; bra M; L: mov.u32 %r2, 2; M: bar.sync "
     "0;",
     "divergence: lanes"},
    {"BarrierCountOfThreads", "bar.sync 0, 48;", "bar.sync 0, 64;", "barrier operand 48", 64},
    {"BarrierNumber", "bar.sync 16;", "bar.sync 15;", "barrier operand 16"},
    {"ShuffleOutsideItsMask", "shfl.sync.idx.b32 %r2, %r0, 0, 31, 0x0000ffff;",
     "setp.lt.u32 %p1, %r0, 16; @%p1 shfl.sync.idx.b32 %r2, %r0, 0, 31, 0x0000ffff;",
     "not in its own member mask 0x0000ffff"},
    {"ShuffleOfLanesElsewhere",
     "setp.lt.u32 %p1, %r0, 16; @%p1 shfl.sync.idx.b32 %r2, %r0, 0, 31, 0xffffffff; bar.sync 0;",
     "setp.lt.u32 %p1, %r0, 16; @%p1 shfl.sync.idx.b32 %r2, %r0, 0, 31, 0x0000ffff; bar.sync 0;",
     "divergence: lanes 0x0000ffff wait"},
    {"ShuffleFromInactiveLane",
     "setp.lt.u32 %p1, %r0, 16; @!%p1 bra L; shfl.sync.idx.b32 %r2, %r0, 20, 31, 0x0000ffff;"
     "add.u32 %r3, %r2, 1; L:",
     "setp.lt.u32 %p1, %r0, 16; @!%p1 bra L; shfl.sync.idx.b32 %r2, %r0, 12, 31, 0x0000ffff;"
     "add.u32 %r3, %r2, 1; L:",
     "register %r2"},
    {"ShuffleOfUndefined",
     "setp.ne.u32 %p1, %r0, 3; @%p1 mov.u32 %r2, 1; shfl.sync.bfly.b32 %r3, %r2, 1, 31, -1;"
     "add.u32 %r4, %r3, 1;",
     "mov.u32 %r2, 1; shfl.sync.bfly.b32 %r3, %r2, 1, 31, -1; add.u32 %r4, %r3, 1;",
     "thread (2,0,0)"},
    {"VoteMasksDisagree",
     "setp.lt.u32 %p1, %r0, 16; selp.u32 %r2, 0xffffffff, 0xffff0000, %p1;"
     "vote.sync.any.pred %p2, %p1, %r2;",
     "setp.lt.u32 %p1, %r0, 16; selp.u32 %r2, 0x0000ffff, 0xffff0000, %p1;"
     "vote.sync.any.pred %p2, %p1, %r2;",
     "disagree about the mask"},
    {"MmaInABranch",
     "setp.lt.u32 %p1, %r0, 16; mov.b32 %r2, 0; mov.f32 %f1, 0f00000000; @%p1 "
     "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f2,%f3,%f4,%f5}, {%r2,%r2}, {%r2}, "
     "{%f1,%f1,%f1,%f1};",
     "setp.lt.u32 %p1, %r0, 99; mov.b32 %r2, 0; mov.f32 %f1, 0f00000000; @%p1 "
     "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f2,%f3,%f4,%f5}, {%r2,%r2}, {%r2}, "
     "{%f1,%f1,%f1,%f1};",
     "divergence: lanes"},
    // Asynchronous copies.
    {"CopyNotAwaited",
     "and.b32 %r2, %r63, 255; mov.u64 %d8, s; cp.async.ca.shared.global [%r63], [%d5], 4;"
     "cp.async.commit_group; ld.shared.u32 %r3, [%r63];",
     "and.b32 %r2, %r63, 255; mov.u64 %d8, s; cp.async.ca.shared.global [%r63], [%d5], 4;"
     "cp.async.commit_group; cp.async.wait_group 0; ld.shared.u32 %r3, [%r63];",
     "unfinished cp.async", 32, 1, 0, false, kShared},
    {"CopyOfTheYoungestGroup",
     "cp.async.ca.shared.global [%r63], [%d5], 4; cp.async.commit_group;"
     "cp.async.ca.shared.global [%r63+128], [%d5], 4; cp.async.commit_group;"
     "cp.async.wait_group 1; ld.shared.u32 %r3, [%r63+128];",
     "cp.async.ca.shared.global [%r63], [%d5], 4; cp.async.commit_group;"
     "cp.async.ca.shared.global [%r63+128], [%d5], 4; cp.async.commit_group;"
     "cp.async.wait_group 1; ld.shared.u32 %r3, [%r63];",
     "unfinished cp.async", 32, 1, 0, false, kShared},
    {"CopyAwaitedWithoutBarrier",
     "cp.async.ca.shared.global [%r63], [%d5], 4; cp.async.wait_all;"
     "xor.b32 %r2, %r63, 4; ld.shared.u32 %r3, [%r2];",
     "cp.async.ca.shared.global [%r63], [%d5], 4; cp.async.wait_all; bar.sync 0;"
     "xor.b32 %r2, %r63, 4; ld.shared.u32 %r3, [%r2];",
     "data race", 32, 1, 0, true, kShared},
    {"CopyMisaligned", "cp.async.ca.shared.global [%r63], [%d5], 8; cp.async.wait_all;",
     "shl.b32 %r2, %r63, 1; mul.wide.u32 %d8, %r0, 8; add.u64 %d8, %d1, %d8;"
     "cp.async.ca.shared.global [%r2], [%d8], 8; cp.async.wait_all;",
     "misaligned", 32, 1, 0, false, kShared},
    // The rest.
    {"DivisionByZero", "div.u32 %r2, 7, %r0;", "add.u32 %r2, %r0, 1; div.u32 %r2, 7, %r2;",
     "integer division by zero"},
    {"RemainderByZero", "cvt.s64.s32 %d8, %r0; rem.s64 %d9, 7, %d8;",
     "cvt.s64.s32 %d8, %r0; add.s64 %d8, %d8, 1; rem.s64 %d9, 7, %d8;", "integer division by zero"},
    {"DivisionByZeroInOneLane", "setp.ge.u32 %p1, %r0, 0; @%p1 div.s32 %r2, 7, %r0;",
     "setp.gt.u32 %p1, %r0, 0; @%p1 div.s32 %r2, 7, %r0;", "thread (0,0,0)"},
    {"Trap", "setp.eq.u32 %p1, %r0, 9; @%p1 trap;", "setp.eq.u32 %p1, %r0, 99; @%p1 trap;",
     "trap; block (0,0,0), thread (9,0,0)"},
    {"Budget", "L: bra L;",
     "mov.u32 %r2, 9; L: sub.u32 %r2, %r2, 1; setp.ne.u32 %p1, %r2, 0; @%p1 bra L;",
     "instruction budget of 100000"},
    {"BranchIndex", "brx.idx %r0, T; A: mov.u32 %r2, 1; B: mov.u32 %r3, 1; T: .branchtargets A, B;",
     "and.b32 %r4, %r0, 1; brx.idx %r4, T; A: mov.u32 %r2, 1; B: mov.u32 %r3, 1; "
     "T: .branchtargets A, B;",
     "branch index"},
};

std::string TextOf(const Pair& pair, const char* body) {
  // Local variables are declared in the body.
  const bool local = std::string(pair.globals) == "LOCAL";
  return Module(absl::StrCat(local ? ".local .align 16 .b8 q[16];\n" : "", kAddresses, body),
                local ? "" : pair.globals);
}

absl::Status Execute(const Pair& pair, const char* body, int threads, uint64_t seed) {
  KernelRun run;
  run.text = TextOf(pair, body);
  run.block[0] = pair.threads;
  run.grid[0] = pair.blocks;
  run.dynamic_shared = pair.dynamic_shared;
  run.a.assign(64, 3);
  run.threads = threads;
  run.options.schedule_seed = seed;
  run.options.instruction_budget = 100000;
  return RunKernel(run).status();
}

// Names a parameter in messages of GoogleTest.
void PrintTo(const Pair& pair, std::ostream* out) { *out << pair.name; }

class Checks : public testing::TestWithParam<Pair> {};
INSTANTIATE_TEST_SUITE_P(All, Checks, testing::ValuesIn(kPairs),
                         [](const auto& info) { return std::string(info.param.name); });

TEST_P(Checks, TripsOnTheBadKernel) {
  const Pair& pair = GetParam();
  for (const int threads : {1, 2}) {
    EXPECT_THAT(
        Execute(pair, pair.bad, threads, 0).ToString(),
        AllOf(HasSubstr(pair.message), HasSubstr("kernel kernel: "), HasSubstr("PTX line ")));
  }
  if (pair.natural_order_only) return;
  for (uint64_t seed = 2; seed < 10; seed += 2) {
    EXPECT_FALSE(Execute(pair, pair.bad, 1, seed).ok()) << "seed " << seed;
  }
}

TEST_P(Checks, PassesTheGoodTwin) {
  const Pair& pair = GetParam();
  for (const int threads : {1, 2}) {
    for (uint64_t seed = 0; seed < 12; ++seed) {
      EXPECT_OK(Execute(pair, pair.good, threads, seed)) << "seed " << seed;
    }
  }
}

TEST(CheckMessages, NameEverything) {
  const std::string text = Module(absl::StrCat(kAddresses, "\nld.global.u32 %r2, [%d1+256];\n"));
  const absl::Status status = RunKernel({.text = text, .a = std::vector<uint32_t>(64)}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(
      std::string(status.message()),
      AllOf(HasSubstr("kernel kernel: out-of-bounds read of 4 bytes at global address 0x"),
            HasSubstr("= 'a' + 256 (256 bytes)"), HasSubstr("block (0,0,0), thread (0,0,0)"),
            HasSubstr(": ld.global.u32 %r2, [%d1+256];")));
}

TEST(CheckOptions, WithoutChecksOnlyBoundsAreKept) {
  KernelRun run;
  run.text = Module(absl::StrCat(kAddresses, "ld.global.u32 %r2, [%d7]; add.u32 %r3, %r4, 1;"));
  run.options.checks = false;
  EXPECT_OK(RunKernel(run));
  run.text = Module(absl::StrCat(kAddresses, "ld.global.u32 %r2, [%d7+4096];"));
  EXPECT_THAT(RunKernel(run).status(), StatusIs(absl::StatusCode::kInternal, HasSubstr("'c'")));
}

TEST(CheckOptions, BudgetIsDeadlineExceeded) {
  KernelRun run;
  run.text = Module("L: bra L;");
  run.options.instruction_budget = 5000;
  EXPECT_THAT(RunKernel(run).status(), StatusIs(absl::StatusCode::kDeadlineExceeded));
}

TEST(CheckMemory, UseAfterFree) {
  ASSERT_OK_AND_ASSIGN(const auto program, ParseProgram(Module("ld.global.u32 %r2, [%d1];")));
  Memory memory;
  Emulator emulator(1);
  ASSERT_OK_AND_ASSIGN(uint64_t a, memory.Allocate(64, "old"));
  ASSERT_OK(memory.Fill(a, 1, 64));
  uint32_t n = 0;
  void* params[] = {&a, &a, &a, &n};
  LaunchConfig config;
  config.params = params;
  EXPECT_OK(emulator.Launch(program, "kernel", config, memory));
  ASSERT_OK(memory.Free(a));
  EXPECT_THAT(emulator.Launch(program, "kernel", config, memory),
              StatusIs(absl::StatusCode::kInternal,
                       AllOf(HasSubstr("use after free"), HasSubstr("'old'"), HasSubstr("freed"))));
  EXPECT_THAT(memory.Free(a), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("twice")));
}

}  // namespace
}  // namespace ptxsmith::emu

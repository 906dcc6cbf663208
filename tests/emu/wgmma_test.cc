// Products of warp groups: the plain product of the matrices that descriptors name, for every type,
// and what happens when a fence, a wait or an order is missing.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "tests/emu/op_runner.h"
#include "tests/emu/rounding.h"

namespace ptxsmith::emu {
namespace {

using testing::HasSubstr;

constexpr int kRows = 64, kRowBytes = 128;

struct Type {
  const char* name;
  int bytes;
  double (*value)(uint32_t bits);
};
double E4M3Value(uint32_t bits) {
  const int exponent = static_cast<int>(bits >> 3 & 15);
  const double fraction = (bits & 7) / 8.0;
  const double value =
      exponent == 0 ? std::ldexp(fraction, -6) : std::ldexp(1 + fraction, exponent - 7);
  return (bits & 0x80) != 0 ? -value : value;
}
constexpr Type kTypes[] = {{"f16", 2, [](uint32_t bits) { return double{HalfValue(bits, false)}; }},
                           {"bf16", 2, [](uint32_t bits) { return double{HalfValue(bits, true)}; }},
                           {"e4m3", 1, E4M3Value}};

// 64 rows of A and `columns` of B, 128 bytes each, of finite numbers.
struct Matrices {
  const Type& type;
  std::vector<uint8_t> bytes;

  Matrices(const Type& t, int columns, uint32_t seed)
      : type(t), bytes(static_cast<size_t>(kRows + columns) * kRowBytes) {
    std::mt19937 random(seed);
    for (size_t i = 0; i < bytes.size(); i += type.bytes) {
      uint32_t bits = random();
      if (type.bytes == 2) bits = (bits & 0x83ff) | (random() % 24 + 4) << 10;  // f16's exponent
      if (std::string(type.name) == "bf16") bits = (bits & 0x807f) | (random() % 20 + 118) << 7;
      if (type.bytes == 1 && (bits & 0x7f) == 0x7f) bits = 0;
      std::memcpy(&bytes[i], &bits, type.bytes);
    }
  }
  int depth() const { return kRowBytes / type.bytes; }
  double At(int row, int k) const {
    uint32_t bits = 0;
    std::memcpy(&bits, &bytes[row * kRowBytes + k * type.bytes], type.bytes);
    return type.value(bits);
  }
  // As they lie in shared memory: 16-byte pieces swizzled.
  std::vector<uint32_t> Image() const {
    std::vector<uint32_t> image(bytes.size() / 4);
    for (size_t piece = 0; piece < bytes.size() / 16; ++piece) {
      const size_t row = piece / 8;
      std::memcpy(&image[(row * 8 + (piece % 8 ^ row % 8)) * 4], &bytes[piece * 16], 16);
    }
    return image;
  }
  // start + A B^T, rounded after every instruction.
  float Expected(int m, int n, float start) const {
    float sum = start;
    const int step = depth() / 4;
    for (int first = 0; first < depth(); first += step) {
      double products = 0;
      for (int k = first; k < first + step; ++k) products += At(m, k) * At(kRows + n, k);
      sum = static_cast<float>(double{sum} + products);
    }
    return sum;
  }
};

std::string Accumulators(int columns) {
  std::string list = "{";
  for (int i = 0; i < columns / 2; ++i) absl::StrAppend(&list, i == 0 ? "" : ", ", "%a", i);
  return absl::StrCat(list, "}");
}

// One warp group brings both matrices by a bulk copy, multiplies them to accumulators that start
// with 1.5, and stores these: lane after lane.
std::string Body(const Type& type, int columns) {
  const int bytes = (kRows + columns) * kRowBytes;
  std::string body = absl::StrCat(R"(
.reg .f32 %a<128>;
mov.u32 %r20, s; mov.u32 %r21, bars;
setp.ne.u32 %p1, %r0, 0;
@%p1 bra READY;
mbarrier.init.shared.b64 [%r21], 1;
fence.mbarrier_init.release.cluster;
READY:
bar.sync 0;
@%p1 bra WAIT;
mbarrier.arrive.expect_tx.shared.b64 _, [%r21], )",
                                  bytes, R"(;
cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%r20], [%d1], )",
                                  bytes, R"(, [%r21];
WAIT:
mbarrier.try_wait.parity.shared.b64 %p2, [%r21], 0;
@!%p2 bra WAIT;
shr.u32 %r22, %r20, 4; cvt.u64.u32 %d10, %r22; add.u64 %d10, %d10, 0x4000004000010000;
add.u64 %d11, %d10, 512;
)");
  for (int i = 0; i < columns / 2; ++i) absl::StrAppend(&body, "mov.f32 %a", i, ", 0f3FC00000;\n");
  absl::StrAppend(&body, "wgmma.fence.sync.aligned;\n");
  for (int i = 0; i < 4; ++i) {
    absl::StrAppend(&body, "add.u64 %d12, %d10, ", 2 * i, "; add.u64 %d13, %d11, ", 2 * i, ";\n",
                    "wgmma.mma_async.sync.aligned.m64n", columns, "k", 32 / type.bytes, ".f32.",
                    type.name, ".", type.name, " ", Accumulators(columns), ", %d12, %d13, 1, 1, 1",
                    type.bytes == 2 ? ", 0, 0" : "", ";\n");
  }
  absl::StrAppend(&body, "wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;\n",
                  "mul.wide.u32 %d14, %r0, ", columns * 2, "; add.u64 %d14, %d2, %d14;\n");
  for (int i = 0; i < columns / 2; ++i) {
    absl::StrAppend(&body, "st.global.f32 [%d14+", 4 * i, "], %a", i, ";\n");
  }
  return body;
}

KernelRun RunOf(const std::string& body, const Matrices& matrices, int columns) {
  KernelRun run;
  run.text = Module(body, ".shared .align 1024 .b8 s[40960];\n.shared .align 8 .b8 bars[64];\n");
  run.block = {128, 1, 1};
  run.a = matrices.Image();
  run.b_words = static_cast<size_t>(kRows) * columns;
  run.options.instruction_budget = 10'000'000;
  return run;
}

TEST(WgmmaTest, IsAProduct) {
  for (const Type& type : kTypes) {
    for (const int columns : {8, 24, 256}) {
      const Matrices matrices(type, columns, 7);
      for (const uint64_t seed : {0, 1, 2, 3}) {
        KernelRun run = RunOf(Body(type, columns), matrices, columns);
        run.options.schedule_seed = seed;
        ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel(run));
        for (int m = 0; m < kRows; ++m) {
          for (int n = 0; n < columns; ++n) {
            const int thread = m / 16 * 32 + m % 8 * 4 + n % 8 / 2;
            const int element = n / 8 * 4 + m % 16 / 8 * 2 + n % 2;
            ASSERT_EQ(Bits<float>(got.b[thread * columns / 2 + element]),
                      matrices.Expected(m, n, 1.5f))
                << type.name << " row " << m << " column " << n << " of " << columns;
          }
        }
      }
    }
  }
}

// A as the fragment of mma.m16n8k16, which lanes load from where the matrix lies.
TEST(WgmmaTest, TakesAFromRegisters) {
  constexpr int kColumns = 8;
  const Type& type = kTypes[0];
  const Matrices matrices(type, kColumns, 8);
  std::string body = Body(type, kColumns);
  const std::string from = "%d12, %d13, 1, 1, 1, 0, 0;";
  std::string load =
      "shr.u32 %r30, %r0, 2; and.b32 %r30, %r30, 7; shr.u32 %r31, %r0, 5;"
      "mad.lo.u32 %r30, %r31, 16, %r30; and.b32 %r31, %r30, 7; and.b32 %r32, %r0, 3;\n";
  for (int i = 0; i < 16; ++i) {  // word i / 4: four of each product
    const int piece = i / 4 * 2 + i % 4 / 2, far = i % 2;
    absl::StrAppend(&load, "xor.b32 %r33, %r31, ", piece, "; shl.b32 %r33, %r33, 4;",
                    "mad.lo.u32 %r33, %r32, 4, %r33; mad.lo.u32 %r33, %r30, 128, %r33;",
                    "add.u32 %r33, %r33, %r20; ld.shared.u32 %r", 40 + i, ", [%r33+", far * 1024,
                    "];\n");
  }
  body = absl::StrReplaceAll(body, {{"wgmma.fence", load + "wgmma.fence"}});
  for (int i = 0; i < 4; ++i) {
    const size_t at = body.find(from);
    ASSERT_NE(at, std::string::npos);
    body.replace(at, from.size(),
                 absl::StrCat("{%r", 40 + 4 * i, ", %r", 41 + 4 * i, ", %r", 42 + 4 * i, ", %r",
                              43 + 4 * i, "}, %d13, 1, -1, 1, 0;"));
  }
  ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel(RunOf(body, matrices, kColumns)));
  for (int m = 0; m < kRows; ++m) {
    const int thread = m / 16 * 32 + m % 8 * 4, element = m % 16 / 8 * 2;
    EXPECT_EQ(Bits<float>(got.b[thread * kColumns / 2 + element]), -matrices.Expected(m, 0, -1.5f))
        << m;
  }
}

class WgmmaFaults : public testing::Test {
 protected:
  // The kernel with other words at one place, which must exist.
  static std::string With(const std::string& what, const std::string& instead) {
    const std::string body = Body(kTypes[0], kColumns);
    EXPECT_NE(body.find(what), std::string::npos) << what;
    return absl::StrReplaceAll(body, {{what, instead}});
  }
  static absl::Status StatusOf(const std::string& body, uint64_t seed = 0, uint32_t threads = 128) {
    KernelRun run = RunOf(body, Matrices(kTypes[0], kColumns, 9), kColumns);
    run.block[0] = threads;
    run.options.schedule_seed = seed;
    return RunKernel(run).status();
  }
  // In natural order and under random schedules.
  static void ExpectFault(const std::string& body, const std::string& message) {
    for (uint64_t seed = 0; seed < 8; ++seed) {
      EXPECT_THAT(StatusOf(body, seed), StatusIs(absl::StatusCode::kInternal, HasSubstr(message)));
    }
  }

  static constexpr int kColumns = 16;
  static constexpr char kFence[] = "wgmma.fence.sync.aligned;\n";
  static constexpr char kCommit[] = "wgmma.commit_group.sync.aligned;\n";
  static constexpr char kWait[] = "wgmma.wait_group.sync.aligned 0;\n";
};

TEST_F(WgmmaFaults, Registers) {
  ASSERT_OK(StatusOf(Body(kTypes[0], kColumns)));
  ExpectFault(With(kFence, ""), "no wgmma.fence since registers of products were last touched");
  ExpectFault(With(kFence, absl::StrCat(kFence, "mov.f32 %f1, %a3;\n")), "no wgmma.fence");
  const char* const in_flight = "%a3, into which a wgmma.mma_async may still write";
  ExpectFault(With(kWait, absl::StrCat("mov.f32 %a3, 0f00000000;\n", kWait)), in_flight);
  ExpectFault(With(kWait, absl::StrCat("add.f32 %f1, %a3, %a3;\n", kWait)), in_flight);
  ExpectFault(With(kCommit, ""), "into which a wgmma.mma_async may still write");
  ExpectFault(With("wait_group.sync.aligned 0", "wait_group.sync.aligned 1"),
              "into which a wgmma.mma_async may still write");
  ExpectFault(With("mov.f32 %a3, 0f3FC00000;\n", ""), "%a3, which this thread never wrote");
  ExpectFault(With(kWait, "ret;\n"), "the block ends while this may be under way");
  // Other accumulators than the product before, some of them the same.
  ExpectFault(With("add.u64 %d12, %d10, 6;",
                   "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%a4, %a5, %a6, %a7}, %d12, "
                   "%d13, 1, 1, 1, 0, 0;\nadd.u64 %d12, %d10, 6;"),
              "%a4, into which");
}

TEST_F(WgmmaFaults, SharedMemory) {
  const auto store_before = [&](const std::string& fence) {
    return With(kFence, absl::StrCat("bar.sync 0;\n@!%p1 st.shared.u32 [%r20+256], %r0;\n", fence,
                                     "bar.sync 0;\n", kFence));
  };
  ExpectFault(store_before(""), "no fence.proxy.async between what thread (0,0,0) stored");
  EXPECT_OK(StatusOf(store_before("fence.proxy.async.shared::cta;\n")));
  // Bytes that a product reads are written: by a thread, also behind a barrier, and by a copy.
  const std::string store = "@!%p1 st.shared.u32 [%r20+8448], %r0;\n";
  const char* const reading = "a wgmma.mma_async that may still read it";
  ExpectFault(With(kWait, absl::StrCat("bar.sync 0;\n", store, kWait)), reading);
  ExpectFault(With(kWait, absl::StrCat(kWait, store)), "race");  // with the other warps
  EXPECT_OK(StatusOf(With(kWait, absl::StrCat(kWait, "bar.sync 0;\n", store)), 3));
  const std::string copy =
      "@%p1 bra OVER;\nmbarrier.arrive.expect_tx.shared.b64 _, [%r21], 512;\n"
      "cp.async.bulk.shared::cta.global.mbarrier::complete_tx::bytes [%r20], [%d1], 512, [%r21];\n"
      "MORE: mbarrier.try_wait.parity.shared.b64 %p2, [%r21], 1;\n@!%p2 bra MORE;\nOVER:\n";
  ExpectFault(With(kWait, absl::StrCat("bar.sync 0;\n", copy, kWait)), reading);
  EXPECT_OK(StatusOf(With(kWait, absl::StrCat(kWait, "bar.sync 0;\n", copy))));
  ExpectFault(With("@!%p2 bra WAIT;\n", ""), "16 bytes");
  ExpectFault(With("add.u64 %d11, %d10, 512;", "add.u64 %d11, %d10, 1024;"), "nobody wrote");
  ExpectFault(With("add.u64 %d11, %d10, 512;", "add.u64 %d11, %d10, 2624;"), "out-of-bounds");
}

TEST_F(WgmmaFaults, Arguments) {
  ExpectFault(With("add.u64 %d11, %d10, 512;", "add.u64 %d11, %d10, 520;"), "descriptor 0x");
  ExpectFault(With("0x4000004000010000", "0x8000004000010000"), "descriptor 0x8000");
  ExpectFault(With("0x4000004000010000", "0x4000000800010000"), "descriptor 0x40000008");
  ExpectFault(With("cvt.u64.u32 %d10, %r22;", "mad.wide.u32 %d10, %r0, 2, 0;"),
              "an operand differs between the lanes");
  EXPECT_THAT(StatusOf(With("1, 1, 1, 0, 0", "1, 2, 1, 0, 0")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("neither 1 nor -1")));
  EXPECT_THAT(StatusOf(With("1, 1, 1, 0, 0", "1, 1, 1, 0, 1")),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("transposed")));
  EXPECT_THAT(StatusOf(With("m64n16k16", "m64n20k16")),
              StatusIs(absl::StatusCode::kUnimplemented, HasSubstr("m64n20k16")));
}

TEST_F(WgmmaFaults, Warps) {
  const char* const incomplete = "not all 32 lanes of the four warps of a warp group are here";
  EXPECT_THAT(StatusOf(Body(kTypes[0], kColumns), 0, 96),
              StatusIs(absl::StatusCode::kInternal, HasSubstr(incomplete)));
  ExpectFault(With(kFence, absl::StrCat("@!%p1 ret;\n", kFence)), incomplete);
  ExpectFault(With(kFence, absl::StrCat("setp.ge.u32 %p3, %r0, 96;\n@%p3 ret;\n", kFence)),
              "different numbers of products, by -4");
}

}  // namespace
}  // namespace ptxsmith::emu

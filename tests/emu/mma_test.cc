// Matrix multiplication: ldmatrix and mma together are a plain product of matrices, for every shape
// and type, whatever their lanes hold; stmatrix inverts ldmatrix.
#include <cmath>
#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/emu/op_runner.h"
#include "tests/emu/rounding.h"

namespace ptxsmith::emu {
namespace {

constexpr char kDeclare[] = ".shared .align 16 .b8 s[4096];\n";

// Copies the `bytes` bytes of a to shared memory.
std::string Upload(int bytes) {
  std::string text = "shl.b32 %r2, %r0, 2; mul.wide.u32 %d4, %r0, 4; add.u64 %d5, %d1, %d4;\n";
  for (int at = 0; at < bytes; at += 128) {
    absl::StrAppend(&text, "ld.global.u32 %r3, [%d5+", at, "]; st.shared.u32 [%r2+", at,
                    "], %r3;\n");
  }
  return absl::StrCat(text, "bar.sync 0;\n");
}

// Address of the row this lane gives to ldmatrix.x4 for the four 8x8 blocks of a row-major matrix
// with `row_bytes`: left half of both row halves first.
std::string RowAddress(const char* reg, int base, int row_bytes) {
  return absl::StrCat("and.b32 %r4, %r0, 15; mul.lo.u32 %r5, %r4, ", row_bytes,
                      "; shr.u32 %r6, %r0, 4; shl.b32 %r6, %r6, 4; add.u32 ", reg,
                      ", %r5, %r6; add.u32 ", reg, ", ", reg, ", ", base, ";\n");
}

constexpr char kStoreSums[] = R"(
shr.u32 %r4, %r0, 2; and.b32 %r5, %r0, 3; shl.b32 %r5, %r5, 1; mad.lo.u32 %r6, %r4, 8, %r5;
mul.wide.u32 %d6, %r6, 4; add.u64 %d6, %d2, %d6;
st.global.v2.u32 [%d6], {%r40, %r41}; st.global.v2.u32 [%d6+256], {%r42, %r43};
)";

double Value(const std::string& type, uint32_t bits) {
  if (type == "f16") return HalfValue(bits, false);
  if (type == "bf16") return HalfValue(bits, true);
  if (type == "s8") return static_cast<int8_t>(bits);
  return static_cast<uint8_t>(bits);
}

class HalfMma : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Types, HalfMma, testing::Values("f16", "bf16"),
                         [](const auto& info) { return std::string(info.param); });

// A: 16 x 16 row-major, B: 8 x 16, column by column, both 16-bit, loaded by ldmatrix.
TEST_P(HalfMma, M16N8K16IsAProduct) {
  const std::string type = GetParam();
  const bool bf = type == "bf16";
  std::mt19937 random(11);
  std::vector<uint16_t> halves(16 * 16 + 8 * 16);
  for (uint16_t& h : halves) {
    h = static_cast<uint16_t>(RoundHalf(Quad(static_cast<int>(random() % 2001) - 1000) / 64, bf));
  }
  std::vector<uint32_t> a(halves.size() / 2);
  std::memcpy(a.data(), halves.data(), 2 * halves.size());
  const std::string body = absl::StrCat(
      Upload(768), RowAddress("%r7", 0, 32),
      "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r20, %r21, %r22, %r23}, [%r7];\n",
      // B needs two 8x8 blocks: rows are its columns, lanes 0-7 the first 8 of k, 8-15 the rest.
      "and.b32 %r4, %r0, 7; shl.b32 %r5, %r4, 5; shr.u32 %r6, %r0, 3; and.b32 %r6, %r6, 1;"
      "shl.b32 %r6, %r6, 4; add.u32 %r8, %r5, %r6;\n"
      "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r24, %r25}, [%r8+512];\n",
      "cvt.rn.f32.u32 %f1, %r0; mov.f32 %f2, 0fC0000000;\n",
      "mma.sync.aligned.m16n8k16.row.col.f32.", type, ".", type,
      ".f32 {%f3, %f4, %f5, %f6}, {%r20, %r21, %r22, %r23}, {%r24, %r25}, {%f1, %f2, %f1, %f2};\n",
      "mov.b32 %r40, %f3; mov.b32 %r41, %f4; mov.b32 %r42, %f5; mov.b32 %r43, %f6;\n", kStoreSums);
  ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel({.text = Module(body, kDeclare), .a = a}));
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      const int lane = m % 8 * 4 + n / 2;
      double sum = n % 2 == 0 ? lane : -2.0;
      for (int k = 0; k < 16; ++k) {
        sum += HalfValue(halves[16 * m + k], bf) * HalfValue(halves[256 + 16 * n + k], bf);
      }
      EXPECT_EQ(Bits<float>(got.b[8 * m + n]), static_cast<float>(sum)) << m << " " << n;
    }
  }
}

// B given row-major and transposed by ldmatrix.
TEST_P(HalfMma, M16N8K8WithATransposedLoad) {
  const std::string type = GetParam();
  const bool bf = type == "bf16";
  std::mt19937 random(12);
  std::vector<uint16_t> halves(16 * 8 + 8 * 8);
  for (uint16_t& h : halves) {
    h = static_cast<uint16_t>(RoundHalf(Quad(static_cast<int>(random() % 2001) - 1000) / 64, bf));
  }
  std::vector<uint32_t> a(96);
  std::memcpy(a.data(), halves.data(), 384);
  const std::string body = absl::StrCat(
      Upload(384),
      "and.b32 %r4, %r0, 15; shl.b32 %r7, %r4, 4;\n"
      "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r20, %r21}, [%r7];\n"
      "and.b32 %r4, %r0, 7; shl.b32 %r8, %r4, 4;\n"
      "ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r24}, [%r8+256];\nmov.f32 %f1, "
      "0f00000000;\n"
      "mma.sync.aligned.m16n8k8.row.col.f32.",
      type, ".", type, ".f32 {%f3, %f4, %f5, %f6}, {%r20, %r21}, {%r24}, {%f1, %f1, %f1, %f1};\n",
      "mov.b32 %r40, %f3; mov.b32 %r41, %f4; mov.b32 %r42, %f5; mov.b32 %r43, %f6;\n", kStoreSums);
  ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel({.text = Module(body, kDeclare), .a = a}));
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      double sum = 0;
      for (int k = 0; k < 8; ++k) {
        sum += HalfValue(halves[8 * m + k], bf) * HalfValue(halves[128 + 8 * k + n], bf);
      }
      EXPECT_EQ(Bits<float>(got.b[8 * m + n]), static_cast<float>(sum)) << m << " " << n;
    }
  }
}

struct ByteCase {
  int depth;
  const char* a;
  const char* b;
  bool saturate;
};
class ByteMma : public testing::TestWithParam<ByteCase> {};
INSTANTIATE_TEST_SUITE_P(
    Types, ByteMma,
    testing::Values(ByteCase{16, "s8", "s8", false}, ByteCase{16, "u8", "u8", false},
                    ByteCase{16, "s8", "u8", false}, ByteCase{16, "u8", "s8", false},
                    ByteCase{32, "s8", "s8", false}, ByteCase{32, "u8", "u8", false},
                    ByteCase{32, "s8", "u8", true}, ByteCase{32, "u8", "s8", true}),
    [](const auto& info) {
      return absl::StrCat("k", info.param.depth, info.param.a, info.param.b,
                          info.param.saturate ? "sat" : "");
    });

// The fragments of 8-bit matrices are those of 16-bit ones of half the depth, so ldmatrix fits.
TEST_P(ByteMma, IsAProduct) {
  const ByteCase& c = GetParam();
  std::mt19937 random(13);
  std::vector<uint8_t> bytes(24 * c.depth);
  for (uint8_t& v : bytes) v = static_cast<uint8_t>(random());
  std::vector<uint32_t> a(6 * c.depth);
  std::memcpy(a.data(), bytes.data(), bytes.size());
  const bool deep = c.depth == 32;
  const std::string load_a =
      deep ? RowAddress("%r7", 0, 32) +
                 "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r20, %r21, %r22, %r23}, [%r7];\n"
           : "and.b32 %r4, %r0, 15; shl.b32 %r7, %r4, 4;\n"
             "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r20, %r21}, [%r7];\n";
  const std::string load_b =
      deep ? "and.b32 %r4, %r0, 7; shl.b32 %r5, %r4, 5; shr.u32 %r6, %r0, 3; and.b32 %r6, %r6, 1;"
             "shl.b32 %r6, %r6, 4; add.u32 %r8, %r5, %r6;\n"
             "ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%r24, %r25}, [%r8+512];\n"
           : "and.b32 %r4, %r0, 7; shl.b32 %r8, %r4, 4;\n"
             "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r24}, [%r8+256];\n";
  const std::string body = absl::StrCat(
      Upload(24 * c.depth), load_a, load_b, "mov.u32 %r30, 0x7fffffff; mov.u32 %r31, %r0;\n",
      "mma.sync.aligned.m16n8k", c.depth, ".row.col", c.saturate ? ".satfinite" : "", ".s32.", c.a,
      ".", c.b, ".s32 {%r40, %r41, %r42, %r43}, ",
      deep ? "{%r20, %r21, %r22, %r23}, {%r24, %r25}" : "{%r20, %r21}, {%r24}",
      ", {%r30, %r31, %r30, %r31};\n", kStoreSums);
  ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel({.text = Module(body, kDeclare), .a = a}));
  for (int m = 0; m < 16; ++m) {
    for (int n = 0; n < 8; ++n) {
      int64_t sum = n % 2 == 0 ? 0x7fffffff : m % 8 * 4 + n / 2;
      for (int k = 0; k < c.depth; ++k) {
        sum += static_cast<int64_t>(Value(c.a, bytes[c.depth * m + k])) *
               static_cast<int64_t>(Value(c.b, bytes[16 * c.depth + c.depth * n + k]));
      }
      if (c.saturate) sum = std::min<int64_t>(std::max<int64_t>(sum, INT32_MIN), INT32_MAX);
      EXPECT_EQ(got.b[8 * m + n], static_cast<uint32_t>(sum)) << m << " " << n;
    }
  }
}

TEST(MatrixMove, StmatrixInvertsLdmatrix) {
  for (const std::string trans : {"", ".trans"}) {
    std::vector<uint32_t> a(128);
    for (uint32_t i = 0; i < 128; ++i) a[i] = 0x10000 * (2 * i + 1) + 2 * i;
    const std::string body = absl::StrCat(
        Upload(512), "shl.b32 %r7, %r0, 4;\nldmatrix.sync.aligned.m8n8.x4", trans,
        ".shared.b16 {%r20, %r21, %r22, %r23}, [%r7];\n"
        "stmatrix.sync.aligned.m8n8.x4",
        trans,
        ".shared.b16 [%r7+1024], {%r20, %r21, %r22, %r23};\nbar.sync 0;\n"
        "ld.shared.v4.u32 {%r30, %r31, %r32, %r33}, [%r7+1024]; mul.wide.u32 %d6, %r0, 16;"
        "add.u64 %d6, %d2, %d6; st.global.v4.u32 [%d6], {%r30, %r31, %r32, %r33};");
    ASSERT_OK_AND_ASSIGN(const KernelResult got,
                         RunKernel({.text = Module(body, kDeclare), .a = a}));
    for (int i = 0; i < 128; ++i) EXPECT_EQ(got.b[i], a[i]) << trans << i;
  }
}

TEST(Mma, TensorFloat32DropsLowBits) {
  // All of A is 1 + 2^-12, which tf32 cannot hold; B is 2: the sum over 8 is 16.
  const std::string body = absl::StrCat(R"(
mov.b32 %r20, 0x3f800800; mov.b32 %r21, 0x40000000; mov.f32 %f1, 0f3F800000;
mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f3, %f4, %f5, %f6}, {%r20, %r20, %r20, %r20},
 {%r21, %r21}, {%f1, %f1, %f1, %f1};
mov.b32 %r40, %f3; mov.b32 %r41, %f4; mov.b32 %r42, %f5; mov.b32 %r43, %f6;
)",
                                        kStoreSums);
  ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel({.text = Module(body)}));
  for (int i = 0; i < 128; ++i) EXPECT_EQ(got.b[i], Bits<uint32_t>(17.0f));
}

TEST(Mma, HalfAccumulatorRoundsOnce) {
  const std::string body = R"(
mov.b32 %r20, 0x3c003c00; mov.b32 %r21, 0x10011001; mov.b32 %r22, 0x68006800;
mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r40, %r41}, {%r20, %r20, %r20, %r20},
 {%r21, %r21}, {%r22, %r22};
mul.wide.u32 %d6, %r0, 8; add.u64 %d6, %d2, %d6; st.global.v2.u32 [%d6], {%r40, %r41};
)";
  ASSERT_OK_AND_ASSIGN(const KernelResult got, RunKernel({.text = Module(body)}));
  const uint64_t expected =
      RoundHalf(16 * Quad(HalfValue(0x1001, false)) + Quad(HalfValue(0x6800, false)), false);
  EXPECT_EQ(got.b[0], expected | expected << 16);
}

}  // namespace
}  // namespace ptxsmith::emu

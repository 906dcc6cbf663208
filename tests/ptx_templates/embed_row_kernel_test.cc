// Every decoder against ggml's own floats, bit for bit, through the kernel that does nothing else.

#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "ptx_templates/embed_row.h"
#include "tests/util/expect_close.h"
#include "tests/util/files.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/kernel_runner.h"
#include "tools/fuzz/reference/float_formats.h"

namespace ptxsmith {
namespace {

class DecoderTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    absl::StatusOr<KernelRunner> runner = KernelRunner::Open(GetParam());
    if (absl::IsUnavailable(runner.status())) GTEST_SKIP() << runner.status().message();
    ASSERT_OK(runner);
    runner_ = std::make_unique<KernelRunner>(*std::move(runner));
  }

  // Decodes a whole table of rows of 1024 weights.
  absl::StatusOr<std::vector<float>> Decode(QuantType type, const Bytes& w) {
    const size_t row_bytes = size_t{kRow} / Info(type).block_weights * Info(type).block_bytes;
    std::vector<uint32_t> tokens(w.size() / row_bytes);
    for (uint32_t i = 0; i < tokens.size(); ++i) tokens[i] = i;
    const auto rows = static_cast<uint32_t>(tokens.size());
    KernelCase test = CaseOf(EmbedRowSpec{type, kRow, rows, rows}, BuildEmbedRow);
    test.args = {Bytes(rows * kRow * sizeof(float)), w, ToBytes(tokens)};
    PTXSMITH_ASSIGN_OR_RETURN(const std::vector<Bytes> after, runner_->Run(test));
    return FromBytes<float>(after[0]);
  }

  static constexpr uint32_t kRow = 1024;
  std::unique_ptr<KernelRunner> runner_;
};

Bytes GoldenFile(const std::string& name) {
  const std::string text = ReadTestFile("data/golden_blocks/" + name);
  return Bytes(text.begin(), text.end());
}

TEST_P(DecoderTest, GoldenBlocksGiveGgmlsFloats) {
  for (const Decoder& decoder : AllDecoders()) {
    if (Info(decoder.type).block_weights == 1) continue;  // ggml has no decoder to compare with
    const std::string name(ToString(decoder.type));
    const std::vector<float> want = FromBytes<float>(GoldenFile(name + ".f32"));
    ASSERT_GE(want.size(), kRow) << name;
    ASSERT_OK_AND_ASSIGN(const std::vector<float> got,
                         Decode(decoder.type, GoldenFile(name + ".blocks")));
    EXPECT_TRUE(SameBits(got, want)) << name;
  }
}

TEST_P(DecoderTest, EveryFiniteHalfWidensExactly) {
  std::vector<uint16_t> halves;
  std::vector<float> want;
  for (uint32_t bits = 0; bits <= UINT16_MAX; ++bits) {
    const float value = reference::HalfToFloat(static_cast<uint16_t>(bits));
    const bool nan = std::isnan(value);  // the payload of a NaN is no concern of a model
    halves.push_back(nan ? uint16_t{0} : static_cast<uint16_t>(bits));
    want.push_back(nan ? 0.0f : value);
  }
  ASSERT_OK_AND_ASSIGN(const std::vector<float> got, Decode(QuantType::kF16, ToBytes(halves)));
  EXPECT_TRUE(SameBits(got, want));
}

TEST_P(DecoderTest, FloatsAreCopied) {
  std::vector<float> values(4 * kRow);
  for (size_t i = 0; i < values.size(); ++i) {
    const auto bits = static_cast<uint32_t>(i * 0x9e3779b9u);  // all exponents, with their NaNs
    std::memcpy(&values[i], &bits, sizeof bits);
  }
  ASSERT_OK_AND_ASSIGN(const std::vector<float> got, Decode(QuantType::kF32, ToBytes(values)));
  EXPECT_TRUE(SameBits(got, values));
}

INSTANTIATE_TEST_SUITE_P(Devices, DecoderTest, testing::Values("emu:sm90", "cuda:0"),
                         [](const auto& info) {
                           return std::string(info.param) == "cuda:0" ? "Cuda" : "Emulator";
                         });

}  // namespace
}  // namespace ptxsmith

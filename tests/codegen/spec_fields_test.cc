#include "codegen/spec_fields.h"

#include <bit>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/codegen/comma_locale.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

enum class Color { kRed = 3, kBlue = 5 };
absl::string_view FieldText(Color color) { return color == Color::kRed ? "red" : "blue"; }
absl::Status ParseFieldText(absl::string_view text, Color* color) {
  if (text != "red" && text != "blue") return absl::InvalidArgumentError("no such color");
  *color = text == "red" ? Color::kRed : Color::kBlue;
  return absl::OkStatus();
}

struct TestSpec {
  std::optional<uint32_t> n;
  uint32_t threads = 256;
  float scale = 0.1f;
  bool causal = true;
  Color color = Color::kBlue;
  uint32_t heads = 4;

  static constexpr absl::string_view kFamily = "test";
  static constexpr auto kFields =
      Fields(Field("n", &TestSpec::n, AtLeast(32, 32), "elements"),
             Field("threads", &TestSpec::threads, OneOf(128, 256), "threads per block"),
             Field("scale", &TestSpec::scale, {}, "factor"),
             Field("causal", &TestSpec::causal, {}, "mask the future"),
             Field("color", &TestSpec::color, OneOf(Color::kRed, Color::kBlue), "hue"),
             Field("heads", &TestSpec::heads, Between(1, 8), "heads"));
};

constexpr char kDefaults[] = "n=any,threads=256,scale=0.1,causal=1,color=blue,heads=4";

TEST(SpecFieldsTest, KeyText) {
  EXPECT_EQ(FieldsText(TestSpec{}), kDefaults);
  EXPECT_EQ(KeyOf(TestSpec{4096, 128, 1e-5f, false, Color::kRed, 8}, Target::Parse("sm90").value()),
            "test:n=4096,threads=128,scale=1e-05,causal=0,color=red,heads=8@sm_90.ptx78");
}

TEST(SpecFieldsTest, ParseIsTheInverse) {
  for (const char* text : {kDefaults, "n=96,threads=128,scale=-2.5,causal=0,color=red,heads=1"}) {
    ASSERT_OK_AND_ASSIGN(const TestSpec spec, ParseFields<TestSpec>(text));
    EXPECT_EQ(FieldsText(spec), text);
  }
  ASSERT_OK_AND_ASSIGN(const TestSpec some, ParseFields<TestSpec>("heads=2,n=64"));
  EXPECT_EQ(FieldsText(some), "n=64,threads=256,scale=0.1,causal=1,color=blue,heads=2");
  ASSERT_OK_AND_ASSIGN(const TestSpec none, ParseFields<TestSpec>(""));
  EXPECT_EQ(FieldsText(none), kDefaults);
}

TEST(SpecFieldsTest, Errors) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"bogus=1", "test: unknown field 'bogus'; known: n, threads, scale, causal, color, heads"},
      {"n", "test: 'n' is not of the form field=value"},
      {"=3", "test: '=3' is not of the form field=value"},
      {"n=32,", "test: '' is not of the form field=value"},
      {"n=32,n=64", "test: field 'n' is given twice"},
      {"n=33", "test: n=33 must be any, or at least 32 and a multiple of 32"},
      {"n=0", "test: n=0 must be any, or at least 32 and a multiple of 32"},
      {"n=", "test: n: '' is not a number from 0 to 4294967295"},
      {"n=4294967296", "test: n: '4294967296' is not a number from 0 to 4294967295"},
      {"n=-32", "test: n: '-32' is not a number from 0 to 4294967295"},
      {"threads=any", "test: threads: 'any' is not a number from 0 to 4294967295"},
      {"threads=64", "test: threads=64 must be one of 128, 256"},
      {"heads=9", "test: heads=9 must be from 1 to 8"},
      {"scale=x", "test: scale: 'x' is not a finite number"},
      {"scale=inf", "test: scale: 'inf' is not a finite number"},
      {"scale=nan", "test: scale: 'nan' is not a finite number"},
      {"causal=2", "test: causal: '2' is neither 0 nor 1"},
      {"color=green", "test: color: no such color"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(ParseFields<TestSpec>(text), StatusIs(absl::StatusCode::kInvalidArgument, message));
  }
}

TEST(SpecFieldsTest, CheckFieldsFindsWhatWasSetInCode) {
  EXPECT_OK(CheckFields(TestSpec{}));
  EXPECT_THAT(CheckFields(TestSpec{.n = 40}), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(
      CheckFields(TestSpec{.color = static_cast<Color>(4)}),
      StatusIs(absl::StatusCode::kInvalidArgument, testing::HasSubstr("must be one of red, blue")));
}

TEST(SpecFieldsTest, Help) {
  const std::vector<FieldHelp> help = DescribeFields<TestSpec>();
  ASSERT_EQ(help.size(), 6u);
  EXPECT_EQ(help[0].name, "n");
  EXPECT_EQ(help[0].allowed, "any, or at least 32 and a multiple of 32");
  EXPECT_EQ(help[0].default_value, "any");
  EXPECT_EQ(help[0].help, "elements");
  EXPECT_EQ(help[2].allowed, "a number");
  EXPECT_EQ(help[3].allowed, "0 or 1");
  EXPECT_EQ(help[4].allowed, "one of red, blue");
  EXPECT_EQ(help[5].allowed, "from 1 to 8");
}

void ExpectRoundTrip(float value) {
  const std::string text = FieldsText(TestSpec{.scale = value});
  ASSERT_OK_AND_ASSIGN(const TestSpec back, ParseFields<TestSpec>(text));
  EXPECT_EQ(std::bit_cast<uint32_t>(back.scale), std::bit_cast<uint32_t>(value)) << text;
}

TEST(SpecFieldsTest, FloatsRoundTripToTheBit) {
  using Limits = std::numeric_limits<float>;
  for (const float value : {0.0f, -0.0f, 1.0f, 1e-5f, 1e-6f, 10000.0f, 500000.0f, 0.088388346f,
                            Limits::max(), Limits::lowest(), Limits::min(), Limits::denorm_min(),
                            16777215.0f, 1.0f + Limits::epsilon()}) {
    ExpectRoundTrip(value);
  }
  Rng rng(5);
  for (int i = 0; i < 20000; ++i) {
    const float value = std::bit_cast<float>(static_cast<uint32_t>(rng.Bits()));
    if (value - value == 0.0f) ExpectRoundTrip(value);
  }
}

TEST(SpecFieldsTest, FloatsIgnoreTheLocale) {
  const CommaLocale locale;
  if (!locale.found()) GTEST_SKIP() << "no locale with a decimal comma is installed";
  ExpectRoundTrip(2.5e-7f);
  EXPECT_THAT(FieldsText(TestSpec{.scale = 0.5f}), testing::HasSubstr("scale=0.5,"));
}

}  // namespace
}  // namespace ptxsmith

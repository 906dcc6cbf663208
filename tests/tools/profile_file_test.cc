#include "tools/profile_file.h"

#include <string>

#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "tests/util/status_matchers.h"
#include "tools/tune_report.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;
using testing::Not;

const GemvProblem kProblem{QuantType::kQ4K, 4096, 1024};

class ProfileFileTest : public testing::Test {
 protected:
  void SetUp() override {
    device_.description = "NVIDIA H200";
    device_.driver_version = 13000;
    ASSERT_OK_AND_ASSIGN(device_.target, Target::ForSm(90));
    profile_ = ProfileFor(device_);
    profile_.read_bandwidth = 4.5e12;
    profile_.dense_rows = 24;
    GemvSpec spec = DefaultGemvSpec(kProblem);
    spec.warps_per_output = 4;
    spec.outputs_per_block = 2;
    profile_.choices[ProblemName(kProblem)] = {spec, 2.5, 3.5};
    ASSERT_OK_AND_ASSIGN(text_, ProfileText(profile_, device_.target));
  }

  DeviceProfile device_;
  GpuProfile profile_;
  std::string text_;
};

TEST_F(ProfileFileTest, ComesBackAsItWasWritten) {
  size_t ignored = 1;
  ASSERT_OK_AND_ASSIGN(const GpuProfile got, ParseProfile(text_, device_, &ignored));
  EXPECT_EQ(ignored, 0u);
  EXPECT_EQ(got.read_bandwidth, 4.5e12);
  EXPECT_EQ(got.dense_rows, 24u);
  ASSERT_EQ(got.choices.size(), 1u);
  EXPECT_EQ(FieldsText(got.GemvFor(kProblem)), FieldsText(profile_.GemvFor(kProblem)));
  EXPECT_NE(FieldsText(got.GemvFor(kProblem)), FieldsText(DefaultGemvSpec(kProblem)));
}

TEST_F(ProfileFileTest, WhatWasNotTunedFollowsTheRules) {
  GemvProblem other = kProblem;
  other.n = 4096;
  EXPECT_EQ(FieldsText(profile_.GemvFor(other)), FieldsText(DefaultGemvSpec(other)));
}

// The split over warps decides the bits, which must not depend on the number of tokens.
TEST_F(ProfileFileTest, SeveralTokensKeepTheSplitOfOne) {
  for (const uint32_t m : {2u, 8u, 32u}) {
    GemvProblem several = kProblem;
    several.m = m;
    const GemvSpec spec = profile_.GemvFor(several);
    EXPECT_EQ(spec.m, m);
    EXPECT_EQ(spec.warps_per_output, 4u);
    EXPECT_OK(BuildGemv(spec, device_.target));
  }
}

TEST_F(ProfileFileTest, StaleChoicesAreLeftOut) {
  size_t ignored = 0;
  DeviceProfile other = device_;
  other.description = "NVIDIA A100";
  ASSERT_OK_AND_ASSIGN(GpuProfile got, ParseProfile(text_, other, &ignored));
  EXPECT_EQ(ignored, 1u);
  EXPECT_TRUE(got.choices.empty());
  other = device_;
  other.driver_version = 13010;
  ASSERT_OK_AND_ASSIGN(got, ParseProfile(text_, other, &ignored));
  EXPECT_EQ(ignored, 1u);
  // The text of the kernel has changed, or its fields.
  const size_t hash = text_.find("\"ptx_hash\": \"") + 13;
  std::string changed = text_;
  changed[hash] = changed[hash] == '0' ? '1' : '0';
  ASSERT_OK_AND_ASSIGN(got, ParseProfile(changed, device_, &ignored));
  EXPECT_EQ(ignored, 1u);
  changed = absl::StrReplaceAll(text_, {{"warps_per_output", "warps_of_old"}});
  ASSERT_OK_AND_ASSIGN(got, ParseProfile(changed, device_, &ignored));
  EXPECT_EQ(ignored, 1u);
}

TEST_F(ProfileFileTest, RefusesWhatIsNoProfile) {
  size_t ignored = 0;
  for (const std::string text : {"", "{", "[]", "{}", "{\"device\": 1}"}) {
    EXPECT_THAT(ParseProfile(text, device_, &ignored),
                StatusIs(absl::StatusCode::kDataLoss, HasSubstr("not a profile")))
        << text;
  }
  EXPECT_THAT(ParseProfile(absl::StrReplaceAll(text_, {{"\"us\"", "\"ms\""}}), device_, &ignored),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("not a choice of a kernel")));
}

TEST_F(ProfileFileTest, TheReportIsOnePageWithABarForEachCandidate) {
  TuningResult result{kProblem};
  result.candidates = {{profile_.GemvFor(kProblem), 2.5, 9}, {DefaultGemvSpec(kProblem), 3.5, 9}};
  result.default_microseconds = 3.5;
  const std::string html = TuneReport(profile_, {result});
  EXPECT_THAT(html, HasSubstr("<svg"));
  EXPECT_THAT(html, HasSubstr("q4_k 4096x1024 m=1"));
  EXPECT_THAT(html, HasSubstr("40.0 %"));  // faster
  EXPECT_THAT(html, HasSubstr("class=\"best\""));
  EXPECT_THAT(html, HasSubstr("class=\"other\""));
  EXPECT_THAT(html, Not(HasSubstr("http")));
}

}  // namespace
}  // namespace ptxsmith

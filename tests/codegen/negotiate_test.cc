// Every driver against every GPU and every feature: what is agreed on is what the driver takes, by
// a table written here a second time from NVIDIA's release notes.
#include "codegen/negotiate.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/features.h"
#include "gtest/gtest.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// CUDA release of a driver and the newest `.version` it takes times ten.
const std::vector<std::pair<int, int>> kReleases = {
    {8000, 50},  {9000, 60},  {9010, 61},  {9020, 62},  {10000, 63}, {10010, 64}, {10020, 65},
    {11000, 70}, {11010, 71}, {11020, 72}, {11030, 73}, {11040, 74}, {11050, 75}, {11060, 76},
    {11070, 77}, {11080, 78}, {12000, 80}, {12010, 81}, {12020, 82}, {12030, 83}, {12040, 84},
    {12050, 85}, {12060, 85}, {12070, 86}, {12080, 87}, {12090, 88}, {13000, 90}, {13010, 91},
    {13020, 92}, {13030, 93}, {13040, 94},
};

// Known architectures and the first release whose driver takes text for them; 99 and 130 are GPUs
// nobody has told us of.
const std::vector<std::pair<int, int>> kArchitectures = {
    {61, 8000},   {70, 9000},   {72, 9010},   {75, 10000},  {80, 11000},  {86, 11010},
    {87, 11040},  {89, 11080},  {90, 11080},  {99, 99999},  {100, 12070}, {103, 12090},
    {110, 13000}, {120, 12080}, {121, 12090}, {130, 99999},
};

int Number(PtxVersion version) { return version.major * 10 + version.minor; }

TEST(NegotiateTest, EveryCombinationLoadsOrSaysWhyNot) {
  int agreed = 0;
  int refused = 0;
  for (const auto& [driver, newest] : kReleases) {
    for (const auto& [capability, unused] : kArchitectures) {
      const Platform platform{"cuda:3", driver, capability};
      SCOPED_TRACE(absl::StrCat("driver ", driver, ", capability ", capability));
      // The newest architecture of the GPU's age or older that the driver knows.
      int expected = 0;
      for (const auto& [sm, first] : kArchitectures) {
        if (sm <= capability && first <= driver) expected = sm;
      }
      ASSERT_OK_AND_ASSIGN(const Target target, NewestTarget(platform));
      EXPECT_EQ(target.sm, expected);
      EXPECT_LE(Number(target.isa), newest);
      for (const Feature& feature : AllFeatures()) {
        if (feature.min_sm > target.sm) continue;  // refused when the kernel is finished
        SCOPED_TRACE(std::string(feature.prefix));
        const NeededVersion needed = LeastVersion(target, {feature.prefix});
        EXPECT_EQ(Number(needed.version),
                  std::max(Number(target.isa), Number(feature.min_version)));
        const absl::Status status = CheckText(platform, target, needed);
        if (Number(needed.version) <= newest) {
          EXPECT_OK(status);
          ++agreed;
          continue;
        }
        ++refused;
        // The target never asks for more than the driver has, so it is the instruction.
        EXPECT_EQ(needed.needed_by, feature.prefix);
        EXPECT_THAT(status, StatusIs(absl::StatusCode::kFailedPrecondition,
                                     AllOf(HasSubstr(std::string(feature.prefix) + " needs PTX " +
                                                     feature.min_version.ToString()),
                                           HasSubstr("the driver of cuda:3 is for CUDA "))));
        // The driver it asks for does take it, and the one before does not.
        int before = 0;
        for (const auto& [release, version] : kReleases) {
          if (version >= Number(needed.version)) {
            EXPECT_EQ(MinDriverForPtxVersion(needed.version), release);
            break;
          }
          before = release;
        }
        EXPECT_FALSE(CheckText({"", before, capability}, target, needed).ok());
        EXPECT_OK(
            CheckText({"", MinDriverForPtxVersion(needed.version), capability}, target, needed));
      }
    }
  }
  EXPECT_GT(agreed, 4000);
  EXPECT_GT(refused, 200);
}

TEST(NegotiateTest, SaysWhatIsMissing) {
  ASSERT_OK_AND_ASSIGN(const Target target, Target::Parse("sm_90"));
  const NeededVersion bulk = LeastVersion(target, {"add.f32", "elect.sync", "bar.warp.sync"});
  EXPECT_EQ(bulk.version.ToString(), "8.0");
  EXPECT_THAT(CheckText({"cuda:0", 11080, 90}, target, bulk),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       "elect.sync needs PTX 8.0, which takes a driver for CUDA 12.0 or newer; the "
                       "driver of cuda:0 is for CUDA 11.8 (PTX up to 7.8)"));
  EXPECT_THAT(
      CheckText({"cuda:0", 13000, 86}, target, bulk),
      StatusIs(absl::StatusCode::kFailedPrecondition, "the text is for sm_90; cuda:0 is sm_86"));
  EXPECT_THAT(
      CheckText({"cuda:0", 13040, 90}, target, {{9, 9}, "sm_90"}),
      StatusIs(absl::StatusCode::kFailedPrecondition,
               HasSubstr("sm_90 needs PTX 9.9, which takes a driver for a CUDA not known")));
  EXPECT_THAT(NewestTarget({"cuda:0", 7050, 90}),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       HasSubstr("cuda:0 is sm_90 with a driver for CUDA 7.5 (PTX up to 0.0)")));
  EXPECT_THAT(NewestTarget({"cuda:0", 13000, 52}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("cuda:0 is sm_52")));
}

// sm_90a runs on compute capability 9.0 and nowhere else.
TEST(NegotiateTest, SpecificTargetsFitOneArchitecture) {
  ASSERT_OK_AND_ASSIGN(const Target target, Target::Parse("sm_90a"));
  const NeededVersion needed = LeastVersion(target, {"setmaxnreg.dec.sync.aligned.u32"});
  EXPECT_EQ(needed.version.ToString(), "8.0");
  EXPECT_EQ(needed.needed_by, "sm_90a");
  EXPECT_OK(CheckText({"cuda:0", 13000, 90}, target, needed));
  for (const int capability : {89, 100}) {
    EXPECT_THAT(
        CheckText({"cuda:0", 13000, capability}, target, needed),
        StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("the text is for sm_90a")));
  }
}

// Instructions of one architecture alone run on no other, not even on a later one.
TEST(NegotiateTest, ASpecificTargetNeedsExactlyItsGpu) {
  ASSERT_OK_AND_ASSIGN(const Target target, Target::Parse("sm_90a"));
  const NeededVersion needed = LeastVersion(target, {"add.f32"});
  EXPECT_EQ(needed.version.ToString(), "8.0");
  EXPECT_OK(CheckText({"cuda:0", 12000, 90}, target, needed));
  for (const int other : {86, 100, 103, 120}) {
    EXPECT_THAT(CheckText({"cuda:0", 13000, other}, target, needed),
                StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("is for sm_90a")));
  }
  EXPECT_THAT(CheckText({"cuda:0", 11080, 90}, target, needed),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("sm_90a needs PTX 8.0")));
}

// A floor that the caller asks for is nobody's instruction.
TEST(NegotiateTest, AFloorOfTheTargetCounts) {
  ASSERT_OK_AND_ASSIGN(const Target target, Target::Parse("sm_80.ptx84"));
  const NeededVersion needed = LeastVersion(target, {"ldmatrix.sync.aligned.m8n8.x4.shared.b16"});
  EXPECT_EQ(needed.version.ToString(), "8.4");
  EXPECT_EQ(needed.needed_by, "sm_80");
}

}  // namespace
}  // namespace ptxsmith

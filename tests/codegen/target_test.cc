#include "codegen/target.h"

#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(TargetTest, ParsesAndPrints) {
  for (const auto& [text, printed] :
       std::vector<std::pair<std::string, std::string>>{{"sm_90", "sm_90.ptx78"},
                                                        {"sm90", "sm_90.ptx78"},
                                                        {"sm_90.ptx78", "sm_90.ptx78"},
                                                        {"sm_90.ptx84", "sm_90.ptx84"},
                                                        {"sm75", "sm_75.ptx63"},
                                                        {"sm_80.ptx70", "sm_80.ptx70"},
                                                        {"sm_120.ptx90", "sm_120.ptx90"},
                                                        {"sm_90a", "sm_90a.ptx80"},
                                                        {"sm103a.ptx90", "sm_103a.ptx90"}}) {
    ASSERT_OK_AND_ASSIGN(const Target target, Target::Parse(text));
    EXPECT_EQ(target.ToString(), printed);
    EXPECT_THAT(Target::Parse(target.ToString()), IsOkAndHolds(target));
  }
}

TEST(TargetTest, RefusesWhatItDoesNotKnow) {
  for (const char* text : {"", "sm", "sm_", "sm_1", "90", "compute_90", "sm_89a", "sm_90b",
                           "sm_90aa", "sm_a", "gfx90", "sm__90", "sm_-90", "sm_999999999999"}) {
    EXPECT_THAT(Target::Parse(text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         AllOf(HasSubstr(std::string("unknown target '") + text + "'"),
                               HasSubstr("known: sm_61, sm_70"), HasSubstr("sm_121"))));
  }
  for (const char* text : {"sm_90.", "sm_90.ptx", "sm_90.ptx9", "sm_90.ptx100", "sm_90.78",
                           "sm_90.ptx7x", "sm_90.ptx-78"}) {
    EXPECT_THAT(Target::Parse(text),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         HasSubstr("expected a PTX version such as ptx78 after the dot")))
        << text;
  }
  EXPECT_THAT(Target::Parse("sm_90.ptx77"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "target 'sm_90.ptx77': sm_90 needs PTX 7.8 or newer"));
  EXPECT_THAT(Target::Parse("sm_90a.ptx78"),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "target 'sm_90a.ptx78': sm_90a needs PTX 8.0 or newer"));
  EXPECT_THAT(Target::ForSm(42), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("sm_42")));
}

TEST(TargetTest, Limits) {
  EXPECT_EQ(Target::ForSm(75)->limits().max_shared, 64u * 1024);
  EXPECT_EQ(Target::ForSm(80)->limits().max_shared, 163u * 1024);
  EXPECT_EQ(Target::ForSm(86)->limits().max_shared, 99u * 1024);
  EXPECT_EQ(Target::ForSm(89)->limits().max_shared, 99u * 1024);
  EXPECT_EQ(Target::ForSm(90)->limits().max_shared, 227u * 1024);
  EXPECT_EQ(Target::ForSm(100)->limits().max_shared, 227u * 1024);
  EXPECT_EQ(Target::ForSm(120)->limits().max_shared, 99u * 1024);
}

// The first CUDA release that knows each architecture: its driver must accept the version that
// kernels for the architecture are printed with, and the release before it must not.
TEST(PtxVersionTest, EachArchitectureRunsFromTheDriverThatIntroducedIt) {
  struct Row {
    int sm;
    int before, first;  // CUDA releases, as cuDriverGetVersion counts
  };
  constexpr Row kRows[] = {
      {61, 7050, 8000},    {70, 8000, 9000},    {72, 9000, 9010},    {75, 9020, 10000},
      {80, 10020, 11000},  {86, 11000, 11010},  {87, 11030, 11040},  {89, 11070, 11080},
      {90, 11070, 11080},  {100, 12060, 12070}, {103, 12080, 12090}, {110, 12090, 13000},
      {120, 12070, 12080}, {121, 12080, 12090},
  };
  for (const Row& row : kRows) {
    SCOPED_TRACE(row.sm);
    const PtxVersion needed = MinPtxVersionForSm(row.sm);
    EXPECT_GT(needed, (PtxVersion{0, 0}));
    EXPECT_GT(needed, MaxPtxVersionForDriver(row.before));
    EXPECT_LE(needed, MaxPtxVersionForDriver(row.first));
    EXPECT_EQ(Target::ForSm(row.sm)->isa, needed);
  }
  EXPECT_EQ(MinPtxVersionForSm(50), (PtxVersion{0, 0}));
}

TEST(PtxVersionTest, DriversOnlyEverAcceptMore) {
  PtxVersion last;
  for (int version = 7000; version <= 20000; version += 10) {
    const PtxVersion now = MaxPtxVersionForDriver(version);
    EXPECT_GE(now, last) << version;
    last = now;
  }
  EXPECT_EQ(MaxPtxVersionForDriver(7050).ToString(), "0.0");
  EXPECT_EQ(MaxPtxVersionForDriver(12020).ToString(), "8.2");
  EXPECT_EQ(MaxPtxVersionForDriver(12060).ToString(), "8.5");
  EXPECT_EQ(MaxPtxVersionForDriver(12065).ToString(), "8.5");  // between two rows
  EXPECT_EQ(MaxPtxVersionForDriver(13000).ToString(), "9.0");
  EXPECT_EQ(MaxPtxVersionForDriver(99990), MaxPtxVersionForDriver(13040));
}

}  // namespace
}  // namespace ptxsmith

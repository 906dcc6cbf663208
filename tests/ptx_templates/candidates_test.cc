// Every candidate for a problem builds on every architecture and computes the product, on problems
// at the edges: one block, odd sizes, few and many tokens.
#include "ptx_templates/candidates.h"

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "ptx_templates/registry.h"
#include "tests/util/expect_close.h"
#include "tests/util/status_matchers.h"
#include "tools/fuzz/kernel_runner.h"
#include "tools/fuzz/reference/projection.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

Target Sm(int sm) { return Target::ForSm(sm).value(); }

std::vector<GemvProblem> Problems() {
  return {{QuantType::kQ4K, 256, 1, 1},     {QuantType::kQ8_0, 288, 13, 1},
          {QuantType::kQ6K, 2304, 7, 3},    {QuantType::kF16, 1056, 9, 2},
          {QuantType::kMXFP4, 544, 17, 33}, {QuantType::kQ5_0, 512, 33, 9}};
}

TEST(CandidatesTest, EachIsCorrect) {
  const Target target = Sm(90);
  ASSERT_OK_AND_ASSIGN(KernelRunner runner, KernelRunner::Open("emu:sm90"));
  for (const GemvProblem& p : Problems()) {
    Rng rng(7);
    const Bytes w = rng.Blocks(p.quant, size_t{p.k} / Info(p.quant).block_weights * p.n);
    const std::vector<float> x = rng.Floats(Values::kNormal, size_t{p.k} * p.m);
    const reference::Matrix matrix = {p.quant, w, p.n};
    const Bytes blocks = reference::QuantizeQ8_1(x);
    const std::vector<uint16_t> halves = reference::AppendF16(x);
    const reference::Expected exact = reference::Project(matrix, x);
    const reference::Expected quantised =
        reference::Project(matrix, reference::DequantizeQ8_1(blocks));
    const reference::Expected in_f16 = reference::ProjectF16(matrix, halves);
    for (const std::string& key : GemvCandidates(p, target)) {
      SCOPED_TRACE(absl::StrCat(key, " m=", p.m));
      const bool gemm = absl::StartsWith(key, "gemm:");
      const bool q8_1 = absl::StartsWith(key, "gemv_q8_1:");
      KernelCase test;
      test.key = [&](const Target&) { return key; };
      test.build = [&](const Target&) { return BuildFromKey(key, Target{}); };
      test.args = {Bytes(size_t{p.n} * p.m * sizeof(float)), w,
                   gemm   ? ToBytes(halves)
                   : q8_1 ? blocks
                          : ToBytes(x)};
      if (gemm) test.args.emplace_back(p.m);
      ASSERT_OK_AND_ASSIGN(const std::vector<Bytes> after, runner.Run(test));
      EXPECT_TRUE(IsClose(FromBytes<float>(after[0]), gemm ? in_f16 : q8_1 ? quantised : exact));
    }
  }
}

TEST(CandidatesTest, EachBuildsOnEveryArchitectureAndTheDefaultIsOne) {
  std::vector<GemvProblem> problems = Problems();
  for (const uint32_t m : {1, 8, 9, 32, 512}) {
    problems.push_back({QuantType::kQ4K, 4096, 14336, m});
    problems.push_back({QuantType::kQ8_0, 14336, 512, m});
  }
  for (const int sm : {75, 80, 86, 89, 90, 100, 120}) {
    for (const GemvProblem& p : problems) {
      const std::vector<std::string> keys = GemvCandidates(p, Sm(sm));
      for (const std::string& key : keys) EXPECT_OK(BuildFromKey(key, Target{})) << key;
      EXPECT_EQ(std::set<std::string>(keys.begin(), keys.end()).size(), keys.size());
      EXPECT_THAT(keys, testing::Contains(DefaultGemv(p, Sm(sm))));
    }
  }
}

TEST(CandidatesTest, DefaultsFollowTheProblem) {
  const auto key = [](const GemvProblem& p) { return DefaultGemv(p, Sm(90)); };
  // Enough rows for every SM: one warp each. Few rows: the warps share them.
  EXPECT_THAT(key({QuantType::kQ4K, 4096, 14336, 1}), testing::HasSubstr("warps_per_output=1,"));
  EXPECT_THAT(key({QuantType::kQ4K, 4096, 512, 1}), testing::HasSubstr("warps_per_output=4,"));
  EXPECT_THAT(key({QuantType::kQ4K, 256, 1, 1}), testing::HasSubstr("warps_per_output=1,"));
  EXPECT_THAT(key({QuantType::kQ4K, 4096, 4096, 8}), testing::StartsWith("gemv:"));
  EXPECT_THAT(key({QuantType::kQ4K, 4096, 4096, 9}), testing::StartsWith("gemm:"));
  EXPECT_THAT(key({QuantType::kQ4K, 4096, 4096, 512}), testing::HasSubstr("tokens=32,"));
}

TEST(CandidatesTest, NoneWhereTheTypeDoesNotFit) {
  EXPECT_THAT(GemvCandidates({QuantType::kQ4K, 288, 4, 1}, Sm(90)), testing::IsEmpty());
  EXPECT_EQ(DefaultGemv({QuantType::kQ4K, 288, 4, 1}, Sm(90)), "");
  EXPECT_THAT(GemvCandidates({QuantType::kQ8_0, 0, 4, 1}, Sm(90)), testing::IsEmpty());
}

}  // namespace
}  // namespace ptxsmith

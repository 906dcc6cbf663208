#include "runtime/cache_explain.h"

#include "gtest/gtest.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

CubinId Id(const std::string& key, const std::string& ptx = "text") {
  return {key, HashOf(ptx), "ptxas 13.0", "sm_90"};
}

DiskCache::Entry Entry(const CubinId& id, absl::Status status = absl::OkStatus()) {
  return {"/cache/" + id.Name() + ".cubin", status.ok() ? id : CubinId(), 1234, 0, status};
}

TEST(CacheExplainTest, AHitNamesItsFile) {
  const CubinId id = Id("gemv:k=4096,n=512@sm_90.ptx78");
  EXPECT_EQ(ExplainLookup({Entry(Id("argmax:n=5@sm_90.ptx78")), Entry(id)}, id),
            "hit: /cache/" + id.Name() + ".cubin, 1234 bytes");
}

TEST(CacheExplainTest, EachPartOfTheIdIsNamed) {
  const CubinId wanted = Id("gemv:k=4096,n=512@sm_90.ptx78");
  CubinId other = wanted;
  other.arch = "sm_80";
  EXPECT_THAT(ExplainLookup({Entry(other)}, wanted), HasSubstr("it is for sm_80, wanted sm_90"));
  other = wanted;
  other.compiler = "ptxas 12.9";
  EXPECT_THAT(ExplainLookup({Entry(other)}, wanted),
              HasSubstr("it was compiled by ptxas 12.9, here is ptxas 13.0"));
  other = Id(wanted.key, "older text");
  const std::string text = ExplainLookup({Entry(other)}, wanted);
  EXPECT_THAT(text, StartsWith("miss: no entry of gemv:k=4096,n=512@sm_90.ptx78 fits\n"));
  EXPECT_THAT(text, HasSubstr("its text was another (" + ToHex(other.ptx_hash) + ", now " +
                              ToHex(wanted.ptx_hash) + "): the generator has changed"));
}

TEST(CacheExplainTest, DamageIsTold) {
  const CubinId id = Id("gemv:k=4096,n=512@sm_90.ptx78");
  EXPECT_THAT(ExplainLookup({Entry(id, absl::DataLossError("the checksum is wrong"))}, id),
              HasSubstr(".cubin: the checksum is wrong"));
}

TEST(CacheExplainTest, TheNearestKeyIsShownWithItsDifferences) {
  const CubinId wanted = Id("gemv:quant=q4_k,k=4096,n=512,m=2@sm_90.ptx78");
  EXPECT_EQ(ExplainLookup({Entry(Id("argmax:n=512@sm_90.ptx78")),
                           Entry(Id("gemv:quant=q6_k,k=64,n=8@sm_80.ptx70")),
                           Entry(Id("gemv:quant=q4_k,k=4096,n=256,unroll=2@sm_90.ptx78"))},
                          wanted),
            "miss: gemv:quant=q4_k,k=4096,n=512,m=2@sm_90.ptx78 was never compiled here\n"
            "nearest: gemv:quant=q4_k,k=4096,n=256,unroll=2@sm_90.ptx78: n=256, wanted n=512; "
            "unroll=2 more than wanted; without m=2");
  EXPECT_EQ(ExplainLookup({Entry(Id("argmax:n=512@sm_90.ptx78"))}, wanted),
            "miss: " + wanted.key + " was never compiled here, nor was any gemv (1 entries)");
  EXPECT_THAT(ExplainLookup({}, Id("odd")), HasSubstr("nor was any odd (0 entries)"));
}

}  // namespace
}  // namespace ptxsmith

#include "tools/trace_layers.h"

#include <cmath>
#include <memory>

#include "gtest/gtest.h"
#include "runtime/device.h"
#include "tests/model/models.h"
#include "tests/util/status_matchers.h"

namespace ptxsmith {
namespace {

using testing::HasSubstr;

absl::StatusOr<LayerTrace> Trace(const std::vector<TokenId>& tokens) {
  PTXSMITH_ASSIGN_OR_RETURN(const auto device, Device::Open("emu:sm90"));
  ModuleCache cache(device);
  const std::string bytes = Write(RandomModel{}).Build();
  PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(Bytes(bytes)));
  PTXSMITH_ASSIGN_OR_RETURN(const auto model, Transformer::Load(file, cache, {}));
  return TraceLayers(*model, tokens);
}

TEST(TraceLayersTest, NamesTheFirstStageThatDiffers) {
  ASSERT_OK_AND_ASSIGN(const LayerTrace trace, Trace({1, 2}));
  EXPECT_EQ(trace.front().Name(), "position 0, embedding");
  EXPECT_EQ(trace.back().Name(), "position 1, output");
  EXPECT_THAT(Describe(trace), HasSubstr("position 1, layer 1, ffn_down"));
  EXPECT_THAT(Compare(trace, trace), HasSubstr("the same bits in all"));

  LayerTrace other = trace;
  size_t at = 0;
  while (other[at].Name() != "position 1, layer 0, attention") ++at;
  other[at].values[5] = std::nextafter(other[at].values[5], 100.0f);
  other[at + 1].values[0] += 1;
  EXPECT_THAT(Compare(trace, other),
              HasSubstr("first difference: position 1, layer 0, attention, element 5: "));
  other.resize(at);
  EXPECT_EQ(Compare(trace, other), "only one of them has position 1, layer 0, attention");
}

TEST(TraceLayersTest, OtherTokensDifferInTheEmbedding) {
  ASSERT_OK_AND_ASSIGN(const LayerTrace a, Trace({1, 2}));
  ASSERT_OK_AND_ASSIGN(const LayerTrace b, Trace({1, 3}));
  EXPECT_THAT(Compare(a, b), HasSubstr("first difference: position 1, embedding, element"));
}

}  // namespace
}  // namespace ptxsmith

#include "codegen/features.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>

namespace ptxsmith {
namespace {

// Measured with ptxas 13.0: the least target and version that accept the form. By first letter.
constexpr Feature kFeatures[] = {
    {"activemask", 30, {6, 2}},
    {"atom.global.add.noftz.f16x2", 60, {6, 2}},
    {"atom.global.add.noftz.bf16x2", 90, {7, 8}},
    {"bar.warp.sync", 30, {6, 0}},
    {"barrier.sync", 30, {6, 0}},
    {"barrier.cluster", 90, {7, 8}},
    {"cp.async.bulk", 90, {8, 0}},
    {"createpolicy", 80, {7, 4}},
    {"cp.async", 80, {7, 0}},
    {"cvt.rn.bf16.f32", 80, {7, 0}},
    {"cvt.rn.bf16x2.f32", 80, {7, 0}},
    {"cvt.rn.f16x2.f32", 80, {7, 0}},
    {"cvt.rn.satfinite.e4m3x2.f32", 89, {8, 1}},
    {"cvt.f32.bf16", 80, {7, 1}},
    {"dp2a", 61, {5, 0}},
    {"dp4a", 61, {5, 0}},
    {"elect.sync", 90, {8, 0}},
    {"ex2.approx.f16x2", 75, {7, 0}},
    {"fence.mbarrier_init", 90, {8, 0}},
    {"fence.proxy.async", 90, {8, 0}},
    {"fence", 70, {6, 0}},
    {"fma.rn.bf16x2", 80, {7, 0}},
    {"griddepcontrol", 90, {7, 8}},
    {"ld.acquire", 70, {6, 0}},
    {"ld.relaxed", 70, {6, 0}},
    {"ldmatrix", 75, {6, 5}},
    {"match", 70, {6, 0}},
    {"max.f16x2", 80, {7, 0}},
    {"max.NaN", 80, {7, 0}},
    {"mbarrier.try_wait", 90, {7, 8}},
    {"mbarrier.arrive.expect_tx", 90, {8, 0}},
    {"mbarrier.arrive.release", 80, {8, 0}},
    {"mbarrier", 80, {7, 0}},
    {"min.f16x2", 80, {7, 0}},
    {"min.NaN", 80, {7, 0}},
    {"mma.sync.aligned.m16n8k8", 75, {6, 5}},
    {"mma.sync.aligned.m8n8k16", 75, {6, 5}},
    {"mma", 80, {7, 0}},
    {"nanosleep", 70, {6, 2}},
    {"redux.sync", 80, {7, 0}},
    {"setmaxnreg", 90, {8, 0}, true},
    {"shfl.sync", 30, {6, 0}},
    {"st.release", 70, {6, 0}},
    {"st.relaxed", 70, {6, 0}},
    {"stmatrix", 90, {7, 8}},
    {"tanh.approx", 75, {7, 0}},
    {"vote.sync", 30, {6, 0}},
    {"wgmma", 90, {8, 0}, true, 90},
};

// Where the features of a first letter begin; those of the next end them. Comparing every
// instruction with the whole table took a quarter of the time of making a text.
constexpr std::array<uint8_t, 129> kBegins = [] {
  std::array<uint8_t, 129> begins{};
  size_t at = 0;
  for (size_t letter = 0; letter < begins.size(); ++letter) {
    while (at < std::size(kFeatures) && static_cast<size_t>(kFeatures[at].prefix[0]) < letter) ++at;
    begins[letter] = static_cast<uint8_t>(at);
  }
  return begins;
}();
static_assert(std::is_sorted(std::begin(kFeatures), std::end(kFeatures),
                             [](const Feature& a, const Feature& b) {
                               return a.prefix[0] < b.prefix[0];
                             }));

}  // namespace

Feature FeatureOf(absl::string_view mnemonic) {
  static constexpr Feature kNone{"", 61, {5, 0}};
  if (mnemonic.empty()) return kNone;  // a bracketing marker
  const Feature* best = &kNone;
  const size_t letter = static_cast<unsigned char>(mnemonic[0]) % 128;
  for (size_t i = kBegins[letter]; i < kBegins[letter + 1]; ++i) {
    const Feature& feature = kFeatures[i];
    if (feature.prefix.size() > best->prefix.size() &&
        mnemonic.substr(0, feature.prefix.size()) == feature.prefix) {
      best = &feature;
    }
  }
  return *best;
}

absl::Span<const Feature> AllFeatures() { return kFeatures; }

}  // namespace ptxsmith

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "ptx_templates/read_stream.h"
#include "tools/fuzz/kernel_cases.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kPiece = 16384;  // words that a block reads at a time

CaseMaker Case(const ReadStreamSpec& spec, uint64_t seed) {
  const auto body = [=] {
    Rng rng(seed);
    std::vector<uint32_t> x(spec.words);
    std::vector<uint32_t> want(spec.blocks);
    for (uint32_t i = 0; i < spec.words; ++i) {
      x[i] = rng.Below(UINT32_MAX);
      want[i / kPiece % spec.blocks] ^= x[i];
    }
    KernelCase result = CaseOf(spec, BuildReadStream);
    result.args = {Bytes(spec.blocks * sizeof(uint32_t)), ToBytes(x)};
    result.check = [want](absl::Span<const Bytes> after) {
      return FromBytes<uint32_t>(after[0]) == want ? Verdict() : Wrong("another xor");
    };
    return result;
  };
  return {FieldsText(spec), absl::StrCat("seed=", seed), spec.words, body};
}

struct Fuzz {
  using Spec = ReadStreamSpec;
  using Sizes = NoSizes;
  static void Fit(Spec& spec, Sizes&) {
    spec.words = std::min(spec.words, 4 * kPiece);
    Limit(spec.blocks, 8);
  }
  static CaseMaker Make(const Spec& spec, const Sizes&, Values, uint64_t seed) {
    return Case(spec, seed);
  }
};

}  // namespace

std::vector<CaseMaker> ReadStreamCases(uint64_t seed) {
  std::vector<CaseMaker> cases;
  for (const ReadStreamSpec& spec : ReadStreamVariants()) cases.push_back(Case(spec, seed));
  return cases;
}

FuzzFamily ReadStreamFuzz() { return MakeFuzzFamily<Fuzz>(); }

}  // namespace ptxsmith

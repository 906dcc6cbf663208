// The cases of every kernel family: those listed (all of its Variants(), more shapes at their
// boundaries, the input distributions of rng.h) and how to draw more of them. A new family is one
// line in kernel_cases.cc.
//
//   for (const CaseFamily& family : AllCaseFamilies()) {
//     for (const CaseMaker& maker : family.cases(/*seed=*/1)) ... maker.make() ...
//   }
//
// Pure functions: the same seed gives the same inputs everywhere.
#ifndef PTXSMITH_TOOLS_FUZZ_KERNEL_CASES_H_
#define PTXSMITH_TOOLS_FUZZ_KERNEL_CASES_H_

#include <cstdint>
#include <ostream>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "tools/fuzz/fuzz_family.h"
#include "tools/fuzz/kernel_case.h"

namespace ptxsmith {

std::vector<CaseMaker> GemvCases(uint64_t seed);
std::vector<CaseMaker> GemvQ8_1Cases(uint64_t seed);
std::vector<CaseMaker> GemvNormCases(uint64_t seed);
std::vector<CaseMaker> GemvMultiCases(uint64_t seed);
std::vector<CaseMaker> GateUpCases(uint64_t seed);
std::vector<CaseMaker> GemmCases(uint64_t seed);
std::vector<CaseMaker> QuantizeQ8_1Cases(uint64_t seed);
std::vector<CaseMaker> DequantizeCases(uint64_t seed);
std::vector<CaseMaker> EmbedRowCases(uint64_t seed);
std::vector<CaseMaker> RmsNormCases(uint64_t seed);
std::vector<CaseMaker> LayerNormCases(uint64_t seed);
std::vector<CaseMaker> SoftmaxCases(uint64_t seed);
std::vector<CaseMaker> RopeCases(uint64_t seed);
std::vector<CaseMaker> KvAppendCases(uint64_t seed);
std::vector<CaseMaker> KvShiftCases(uint64_t seed);
std::vector<CaseMaker> AttentionCases(uint64_t seed);
std::vector<CaseMaker> SwigluCases(uint64_t seed);
std::vector<CaseMaker> GegluCases(uint64_t seed);
std::vector<CaseMaker> SiluCases(uint64_t seed);
std::vector<CaseMaker> GeluTanhCases(uint64_t seed);
std::vector<CaseMaker> GeluErfCases(uint64_t seed);
std::vector<CaseMaker> MultiplyCases(uint64_t seed);
std::vector<CaseMaker> SoftcapCases(uint64_t seed);
std::vector<CaseMaker> ResidualAddCases(uint64_t seed);
std::vector<CaseMaker> BiasAddCases(uint64_t seed);
std::vector<CaseMaker> ArgmaxCases(uint64_t seed);
std::vector<CaseMaker> AdvanceCases(uint64_t seed);
std::vector<CaseMaker> TopKCases(uint64_t seed);
std::vector<CaseMaker> SampleCases(uint64_t seed);
std::vector<CaseMaker> PenalizeCases(uint64_t seed);
std::vector<CaseMaker> ConvertCases(uint64_t seed);
std::vector<CaseMaker> QuantizeE4M3Cases(uint64_t seed);
std::vector<CaseMaker> AbsmaxCases(uint64_t seed);
std::vector<CaseMaker> AttentionCombineCases(uint64_t seed);
std::vector<CaseMaker> ReadStreamCases(uint64_t seed);
std::vector<CaseMaker> RepackCases(uint64_t seed);
std::vector<CaseMaker> GemvTilesCases(uint64_t seed);
std::vector<CaseMaker> GemmTilesCases(uint64_t seed);
std::vector<CaseMaker> JoinNormCases(uint64_t seed);
std::vector<CaseMaker> JoinGluCases(uint64_t seed);
std::vector<CaseMaker> JoinHeadsCases(uint64_t seed);
std::vector<CaseMaker> GroupAttentionCases(uint64_t seed);
std::vector<CaseMaker> JoinAttentionCases(uint64_t seed);
std::vector<CaseMaker> JoinSumCases(uint64_t seed);
std::vector<CaseMaker> DecodeTokenCases(uint64_t seed);
std::vector<CaseMaker> PrefillAttentionCases(uint64_t seed);
std::vector<CaseMaker> GemmHalfCases(uint64_t seed);
std::vector<CaseMaker> GemmBlockedCases(uint64_t seed);
std::vector<CaseMaker> QuantizeE4M3RowsCases(uint64_t seed);
std::vector<CaseMaker> GluHalfCases(uint64_t seed);

FuzzFamily GemvFuzz();
FuzzFamily GemvQ8_1Fuzz();
FuzzFamily GemvNormFuzz();
FuzzFamily GemvMultiFuzz();
FuzzFamily GateUpFuzz();
FuzzFamily GemmFuzz();
FuzzFamily QuantizeQ8_1Fuzz();
FuzzFamily DequantizeFuzz();
FuzzFamily EmbedRowFuzz();
FuzzFamily RmsNormFuzz();
FuzzFamily LayerNormFuzz();
FuzzFamily SoftmaxFuzz();
FuzzFamily RopeFuzz();
FuzzFamily KvAppendFuzz();
FuzzFamily KvShiftFuzz();
FuzzFamily AttentionFuzz();
FuzzFamily SwigluFuzz();
FuzzFamily GegluFuzz();
FuzzFamily SiluFuzz();
FuzzFamily GeluTanhFuzz();
FuzzFamily GeluErfFuzz();
FuzzFamily MultiplyFuzz();
FuzzFamily SoftcapFuzz();
FuzzFamily ResidualAddFuzz();
FuzzFamily BiasAddFuzz();
FuzzFamily ArgmaxFuzz();
FuzzFamily AdvanceFuzz();
FuzzFamily TopKFuzz();
FuzzFamily SampleFuzz();
FuzzFamily PenalizeFuzz();
FuzzFamily ConvertFuzz();
FuzzFamily QuantizeE4M3Fuzz();
FuzzFamily AbsmaxFuzz();
FuzzFamily AttentionCombineFuzz();
FuzzFamily ReadStreamFuzz();
FuzzFamily RepackFuzz();
FuzzFamily GemvTilesFuzz();
FuzzFamily GemmTilesFuzz();
FuzzFamily JoinNormFuzz();
FuzzFamily JoinGluFuzz();
FuzzFamily JoinHeadsFuzz();
FuzzFamily GroupAttentionFuzz();
FuzzFamily JoinAttentionFuzz();
FuzzFamily JoinSumFuzz();
FuzzFamily DecodeTokenFuzz();
FuzzFamily PrefillAttentionFuzz();
FuzzFamily GemmHalfFuzz();
FuzzFamily GemmBlockedFuzz();
FuzzFamily QuantizeE4M3RowsFuzz();
FuzzFamily GluHalfFuzz();

struct CaseFamily {
  absl::string_view name;  // of the registry
  std::vector<CaseMaker> (*cases)(uint64_t seed);
  FuzzFamily (*fuzz)();

  friend void PrintTo(const CaseFamily& family, std::ostream* out) { *out << family.name; }
};

absl::Span<const CaseFamily> AllCaseFamilies();

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_FUZZ_KERNEL_CASES_H_

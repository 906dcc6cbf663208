#include "ptx_templates/registry.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "codegen/status_macros.h"
#include "ptx_templates/absmax.h"
#include "ptx_templates/advance.h"
#include "ptx_templates/argmax.h"
#include "ptx_templates/attention.h"
#include "ptx_templates/convert.h"
#include "ptx_templates/dequantize.h"
#include "ptx_templates/elementwise.h"
#include "ptx_templates/embed_row.h"
#include "ptx_templates/gate_up.h"
#include "ptx_templates/gemm.h"
#include "ptx_templates/gemm_blocked.h"
#include "ptx_templates/gemm_half.h"
#include "ptx_templates/gemv.h"
#include "ptx_templates/gemv_multi.h"
#include "ptx_templates/gemv_norm.h"
#include "ptx_templates/gemv_q8_1.h"
#include "ptx_templates/glu_half.h"
#include "ptx_templates/kv_append.h"
#include "ptx_templates/kv_shift.h"
#include "ptx_templates/layer_norm.h"
#include "ptx_templates/prefill_attention.h"
#include "ptx_templates/quantize_e4m3.h"
#include "ptx_templates/quantize_e4m3_rows.h"
#include "ptx_templates/quantize_q8_1.h"
#include "ptx_templates/read_stream.h"
#include "ptx_templates/rms_norm.h"
#include "ptx_templates/rope.h"
#include "ptx_templates/sample.h"
#include "ptx_templates/softmax.h"
#include "ptx_templates/tiles/decode_token.h"
#include "ptx_templates/tiles/gemm_tiles.h"
#include "ptx_templates/tiles/gemv_tiles.h"
#include "ptx_templates/tiles/group_attention.h"
#include "ptx_templates/tiles/joins.h"
#include "ptx_templates/tiles/repack.h"
#include "ptx_templates/top_k.h"

namespace ptxsmith {
namespace {

template <class Spec, absl::StatusOr<KernelSpec> (*kBuild)(const Spec&, const Target&),
          std::vector<Spec> (*kVariants)()>
constexpr Family MakeFamily() {
  return {Spec::kFamily, Spec::kSummary, [] { return DescribeFields<Spec>(); },
          [](absl::string_view fields, const Target& target) -> absl::StatusOr<KernelSpec> {
            PTXSMITH_ASSIGN_OR_RETURN(const Spec spec, ParseFields<Spec>(fields));
            return kBuild(spec, target);
          },
          [] {
            std::vector<std::string> texts;
            for (const Spec& spec : kVariants()) texts.push_back(FieldsText(spec));
            return texts;
          }};
}

constexpr Family kFamilies[] = {
    MakeFamily<GemvSpec, BuildGemv, GemvVariants>(),
    MakeFamily<GemvQ8_1Spec, BuildGemvQ8_1, GemvQ8_1Variants>(),
    MakeFamily<GemvNormSpec, BuildGemvNorm, GemvNormVariants>(),
    MakeFamily<GemvMultiSpec, BuildGemvMulti, GemvMultiVariants>(),
    MakeFamily<GateUpSpec, BuildGateUp, GateUpVariants>(),
    MakeFamily<GemmSpec, BuildGemm, GemmVariants>(),
    MakeFamily<GemmHalfSpec, BuildGemmHalf, GemmHalfVariants>(),
    MakeFamily<GemmBlockedSpec, BuildGemmBlocked, GemmBlockedVariants>(),
    MakeFamily<ReadStreamSpec, BuildReadStream, ReadStreamVariants>(),
    MakeFamily<RepackSpec, BuildRepack, RepackVariants>(),
    MakeFamily<DecodeTokenSpec, BuildDecodeToken, DecodeTokenVariants>(),
    MakeFamily<GemvTilesSpec, BuildGemvTiles, GemvTilesVariants>(),
    MakeFamily<GemmTilesSpec, BuildGemmTiles, GemmTilesVariants>(),
    MakeFamily<JoinNormSpec, BuildJoinNorm, JoinNormVariants>(),
    MakeFamily<JoinGluSpec, BuildJoinGlu, JoinGluVariants>(),
    MakeFamily<JoinHeadsSpec, BuildJoinHeads, JoinHeadsVariants>(),
    MakeFamily<GroupAttentionSpec, BuildGroupAttention, GroupAttentionVariants>(),
    MakeFamily<JoinAttentionSpec, BuildJoinAttention, JoinAttentionVariants>(),
    MakeFamily<JoinSumSpec, BuildJoinSum, JoinSumVariants>(),
    MakeFamily<QuantizeQ8_1Spec, BuildQuantizeQ8_1, QuantizeQ8_1Variants>(),
    MakeFamily<QuantizeE4M3RowsSpec, BuildQuantizeE4M3Rows, QuantizeE4M3RowsVariants>(),
    MakeFamily<DequantizeSpec, BuildDequantize, DequantizeVariants>(),
    MakeFamily<RmsNormSpec, BuildRmsNorm, RmsNormVariants>(),
    MakeFamily<LayerNormSpec, BuildLayerNorm, LayerNormVariants>(),
    MakeFamily<SoftmaxSpec, BuildSoftmax, SoftmaxVariants>(),
    MakeFamily<RopeSpec, BuildRope, RopeVariants>(),
    MakeFamily<KvAppendSpec, BuildKvAppend, KvAppendVariants>(),
    MakeFamily<KvShiftSpec, BuildKvShift, KvShiftVariants>(),
    MakeFamily<AttentionSpec, BuildAttention, AttentionVariants>(),
    MakeFamily<AttentionCombineSpec, BuildAttentionCombine, AttentionCombineVariants>(),
    MakeFamily<PrefillAttentionSpec, BuildPrefillAttention, PrefillAttentionVariants>(),
    MakeFamily<SwigluSpec, BuildSwiglu, SwigluSpec::Variants>(),
    MakeFamily<GegluSpec, BuildGeglu, GegluSpec::Variants>(),
    MakeFamily<GluHalfSpec, BuildGluHalf, GluHalfVariants>(),
    MakeFamily<SiluSpec, BuildSilu, SiluSpec::Variants>(),
    MakeFamily<GeluTanhSpec, BuildGeluTanh, GeluTanhSpec::Variants>(),
    MakeFamily<GeluErfSpec, BuildGeluErf, GeluErfSpec::Variants>(),
    MakeFamily<MultiplySpec, BuildMultiply, MultiplySpec::Variants>(),
    MakeFamily<SoftcapSpec, BuildSoftcap, SoftcapSpec::Variants>(),
    MakeFamily<ResidualAddSpec, BuildResidualAdd, ResidualAddSpec::Variants>(),
    MakeFamily<BiasAddSpec, BuildBiasAdd, BiasAddVariants>(),
    MakeFamily<EmbedRowSpec, BuildEmbedRow, EmbedRowVariants>(),
    MakeFamily<ArgmaxSpec, BuildArgmax, ArgmaxVariants>(),
    MakeFamily<AdvanceSpec, BuildAdvance, AdvanceVariants>(),
    MakeFamily<TopKSpec, BuildTopK, TopKVariants>(),
    MakeFamily<SampleSpec, BuildSample, SampleVariants>(),
    MakeFamily<PenalizeSpec, BuildPenalize, PenalizeVariants>(),
    MakeFamily<ConvertSpec, BuildConvert, ConvertVariants>(),
    MakeFamily<QuantizeE4M3Spec, BuildQuantizeE4M3, QuantizeE4M3Variants>(),
    MakeFamily<AbsmaxSpec, BuildAbsmax, AbsmaxVariants>(),
};

}  // namespace

absl::Span<const Family> AllFamilies() { return kFamilies; }

absl::StatusOr<const Family*> FindFamily(absl::string_view name) {
  std::vector<absl::string_view> names;
  for (const Family& family : kFamilies) {
    if (family.name == name) return &family;
    names.push_back(family.name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown kernel family '", name, "'; known: ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<KernelSpec> BuildFromKey(absl::string_view key, const Target& default_target) {
  Target target = default_target;
  const size_t at = key.find('@');
  if (at != absl::string_view::npos) {
    PTXSMITH_ASSIGN_OR_RETURN(target, Target::Parse(key.substr(at + 1)));
  }
  const absl::string_view rest = key.substr(0, at);
  const size_t colon = rest.find(':');
  PTXSMITH_ASSIGN_OR_RETURN(const Family* family, FindFamily(rest.substr(0, colon)));
  const absl::string_view fields =
      colon == absl::string_view::npos ? absl::string_view() : rest.substr(colon + 1);
  return family->build(fields, target);
}

}  // namespace ptxsmith

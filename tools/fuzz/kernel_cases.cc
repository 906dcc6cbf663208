#include "tools/fuzz/kernel_cases.h"

namespace ptxsmith {
namespace {

constexpr CaseFamily kFamilies[] = {
    {"dequantize", DequantizeCases, DequantizeFuzz},
    {"quantize_q8_1", QuantizeQ8_1Cases, QuantizeQ8_1Fuzz},
    {"quantize_e4m3_rows", QuantizeE4M3RowsCases, QuantizeE4M3RowsFuzz},
    {"gemm", GemmCases, GemmFuzz},
    {"gemm_half", GemmHalfCases, GemmHalfFuzz},
    {"gemm_blocked", GemmBlockedCases, GemmBlockedFuzz},
    {"gate_up", GateUpCases, GateUpFuzz},
    {"gemv_multi", GemvMultiCases, GemvMultiFuzz},
    {"gemv_norm", GemvNormCases, GemvNormFuzz},
    {"gemv", GemvCases, GemvFuzz},
    {"gemv_q8_1", GemvQ8_1Cases, GemvQ8_1Fuzz},
    {"embed_row", EmbedRowCases, EmbedRowFuzz},
    {"rms_norm", RmsNormCases, RmsNormFuzz},
    {"rope", RopeCases, RopeFuzz},
    {"kv_append", KvAppendCases, KvAppendFuzz},
    {"kv_shift", KvShiftCases, KvShiftFuzz},
    {"attention", AttentionCases, AttentionFuzz},
    {"prefill_attention", PrefillAttentionCases, PrefillAttentionFuzz},
    {"swiglu", SwigluCases, SwigluFuzz},
    {"argmax", ArgmaxCases, ArgmaxFuzz},
    {"residual_add", ResidualAddCases, ResidualAddFuzz},
    {"geglu", GegluCases, GegluFuzz},
    {"glu_half", GluHalfCases, GluHalfFuzz},
    {"silu", SiluCases, SiluFuzz},
    {"gelu_tanh", GeluTanhCases, GeluTanhFuzz},
    {"gelu_erf", GeluErfCases, GeluErfFuzz},
    {"multiply", MultiplyCases, MultiplyFuzz},
    {"softcap", SoftcapCases, SoftcapFuzz},
    {"bias_add", BiasAddCases, BiasAddFuzz},
    {"layer_norm", LayerNormCases, LayerNormFuzz},
    {"softmax", SoftmaxCases, SoftmaxFuzz},
    {"advance", AdvanceCases, AdvanceFuzz},
    {"top_k", TopKCases, TopKFuzz},
    {"sample", SampleCases, SampleFuzz},
    {"penalize", PenalizeCases, PenalizeFuzz},
    {"convert", ConvertCases, ConvertFuzz},
    {"quantize_e4m3", QuantizeE4M3Cases, QuantizeE4M3Fuzz},
    {"absmax", AbsmaxCases, AbsmaxFuzz},
    {"attention_combine", AttentionCombineCases, AttentionCombineFuzz},
    {"read_stream", ReadStreamCases, ReadStreamFuzz},
    {"repack", RepackCases, RepackFuzz},
    {"gemv_tiles", GemvTilesCases, GemvTilesFuzz},
    {"gemm_tiles", GemmTilesCases, GemmTilesFuzz},
    {"join_norm", JoinNormCases, JoinNormFuzz},
    {"join_glu", JoinGluCases, JoinGluFuzz},
    {"join_heads", JoinHeadsCases, JoinHeadsFuzz},
    {"group_attention", GroupAttentionCases, GroupAttentionFuzz},
    {"join_attention", JoinAttentionCases, JoinAttentionFuzz},
    {"join_sum", JoinSumCases, JoinSumFuzz},
    {"decode_token", DecodeTokenCases, DecodeTokenFuzz},
};

}  // namespace

absl::Span<const CaseFamily> AllCaseFamilies() { return kFamilies; }

}  // namespace ptxsmith

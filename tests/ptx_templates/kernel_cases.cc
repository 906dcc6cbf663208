#include "tests/ptx_templates/kernel_cases.h"

namespace ptxsmith {
namespace {

constexpr CaseFamily kFamilies[] = {
    {"dequantize", DequantizeCases},
    {"quantize_q8_1", QuantizeQ8_1Cases},
    {"gemm", GemmCases},
    {"gate_up", GateUpCases},
    {"gemv_multi", GemvMultiCases},
    {"gemv_norm", GemvNormCases},
    {"gemv", GemvCases},
    {"gemv_q8_1", GemvQ8_1Cases},
    {"embed_row", EmbedRowCases},
    {"rms_norm", RmsNormCases},
    {"rope", RopeCases},
    {"kv_append", KvAppendCases},
    {"attention", AttentionCases},
    {"swiglu", SwigluCases},
    {"argmax", ArgmaxCases},
    {"residual_add", ResidualAddCases},
    {"geglu", GegluCases},
    {"silu", SiluCases},
    {"gelu_tanh", GeluTanhCases},
    {"gelu_erf", GeluErfCases},
    {"multiply", MultiplyCases},
    {"bias_add", BiasAddCases},
    {"layer_norm", LayerNormCases},
    {"softmax", SoftmaxCases},
    {"top_k", TopKCases},
    {"convert", ConvertCases},
    {"attention_combine", AttentionCombineCases},
};

}  // namespace

absl::Span<const CaseFamily> AllCaseFamilies() { return kFamilies; }

}  // namespace ptxsmith

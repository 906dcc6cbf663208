#include "ptx_templates/quant_type.h"

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

using enum QuantType;

// Block sizes: ggml-common.h and ggml.c of ggml, August 2026.
constexpr QuantTypeInfo kTable[] = {
    {kF32, "f32", 1, 4},
    {kF16, "f16", 1, 2},
    {kQ4_0, "q4_0", 32, 18},
    {kQ4_1, "q4_1", 32, 20},
    {kQ5_0, "q5_0", 32, 22},
    {kQ5_1, "q5_1", 32, 24},
    {kQ8_0, "q8_0", 32, 34},
    {kQ8_1, "q8_1", 32, 36},
    {kQ2K, "q2_k", 256, 84},
    {kQ3K, "q3_k", 256, 110},
    {kQ4K, "q4_k", 256, 144},
    {kQ5K, "q5_k", 256, 176},
    {kQ6K, "q6_k", 256, 210},
    {kQ8K, "q8_k", 256, 292},
    {kIQ2XXS, "iq2_xxs", 256, 66},
    {kIQ2XS, "iq2_xs", 256, 74},
    {kIQ3XXS, "iq3_xxs", 256, 98},
    {kIQ1S, "iq1_s", 256, 50},
    {kIQ4NL, "iq4_nl", 32, 18},
    {kIQ3S, "iq3_s", 256, 110},
    {kIQ2S, "iq2_s", 256, 82},
    {kIQ4XS, "iq4_xs", 256, 136},
    {kI8, "i8", 1, 1},
    {kI16, "i16", 1, 2},
    {kI32, "i32", 1, 4},
    {kI64, "i64", 1, 8},
    {kF64, "f64", 1, 8},
    {kIQ1M, "iq1_m", 256, 56},
    {kBF16, "bf16", 1, 2},
    {kTQ1_0, "tq1_0", 256, 54},
    {kTQ2_0, "tq2_0", 256, 66},
    {kMXFP4, "mxfp4", 32, 17},
};

const QuantTypeInfo* Find(uint32_t id) {
  const auto* row = std::find_if(std::begin(kTable), std::end(kTable), [&](const QuantTypeInfo& r) {
    return static_cast<uint32_t>(r.type) == id;
  });
  return row == std::end(kTable) ? nullptr : row;
}

}  // namespace

absl::Span<const QuantTypeInfo> AllQuantTypes() { return kTable; }

const QuantTypeInfo& Info(QuantType type) {
  const QuantTypeInfo* row = Find(static_cast<uint32_t>(type));
  if (row == nullptr)
    std::abort();  // a value that is no enumerator: broken invariant of the caller
  return *row;
}

std::optional<QuantType> QuantTypeFromId(uint32_t id) {
  const QuantTypeInfo* row = Find(id);
  if (row == nullptr) return std::nullopt;
  return row->type;
}

absl::StatusOr<QuantType> ParseQuantType(absl::string_view name) {
  const std::string lower = absl::AsciiStrToLower(name);
  std::vector<absl::string_view> names;
  for (const QuantTypeInfo& row : kTable) {
    if (row.name == lower) return row.type;
    names.push_back(row.name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("unknown quant type '", name, "'; known: ", absl::StrJoin(names, ", ")));
}

absl::Status ParseFieldText(absl::string_view text, QuantType* type) {
  PTXSMITH_ASSIGN_OR_RETURN(*type, ParseQuantType(text));
  return absl::OkStatus();
}

}  // namespace ptxsmith

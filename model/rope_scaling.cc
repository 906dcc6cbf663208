#include "model/rope_scaling.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

// Of llama 3, and the two of longrope.
constexpr absl::string_view kFactors = "rope_freqs.weight";
constexpr absl::string_view kShortFactors = "rope_factors_short.weight";
constexpr absl::string_view kLongFactors = "rope_factors_long.weight";

// The value of a key that is finite and above zero.
absl::StatusOr<float> PositiveOr(const GgufFile& file, const std::string& key, float fallback) {
  PTXSMITH_ASSIGN_OR_RETURN(const float value, OrDefault(file.GetF32(key), fallback));
  if (!std::isfinite(value) || value <= 0) {
    return absl::DataLossError(absl::StrCat(key, " = ", value, " is not a positive number"));
  }
  return value;
}

absl::StatusOr<std::vector<float>> ReadFactors(const GgufFile& file, absl::string_view name,
                                               uint32_t pairs) {
  const GgufTensor* tensor = file.FindTensor(name);
  if (tensor == nullptr) return absl::NotFoundError(absl::StrCat("tensor ", name, " is missing"));
  if (tensor->type != QuantType::kF32 || tensor->elements() != pairs) {
    return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " has ", tensor->elements(),
                                                   " elements of type ", ToString(tensor->type),
                                                   "; expected ", pairs, " of f32"));
  }
  std::vector<float> factors(pairs);
  std::memcpy(factors.data(), tensor->data.data(), tensor->data.size());
  for (const float factor : factors) {
    if (!std::isfinite(factor) || factor <= 0) {
      return absl::DataLossError(absl::StrCat(name, " holds ", factor));
    }
  }
  return factors;
}

// The pair whose wave turns `turns` times within the original context.
double PairOfTurns(const RopeShape& shape, double context, double turns) {
  return shape.dim * std::log(context / (turns * 2 * std::numbers::pi)) /
         (2 * std::log(double{shape.freq_base}));
}

}  // namespace

absl::StatusOr<RopeScaling> ReadRopeScaling(const GgufFile& file, absl::string_view prefix,
                                            const RopeShape& shape) {
  const auto key = [&](absl::string_view name) { return absl::StrCat(prefix, "rope.", name); };
  RopeScaling result;
  PTXSMITH_ASSIGN_OR_RETURN(
      const absl::string_view kind,
      OrDefault<absl::string_view>(file.GetString(key("scaling.type")), "linear"));
  if (kind != "none" && kind != "linear" && kind != "yarn" && kind != "longrope") {
    return absl::UnimplementedError(
        absl::StrCat(key("scaling.type"), " = '", absl::CHexEscape(kind),
                     "' is not supported; known: none, linear, yarn, longrope"));
  }
  PTXSMITH_ASSIGN_OR_RETURN(
      const uint32_t context,
      OrDefault(file.GetU32(key("scaling.original_context_length")), shape.context));
  if (context == 0) {
    return absl::DataLossError(absl::StrCat(key("scaling.original_context_length"), " = 0"));
  }
  // Tensors of factors hold whatever the kind is called: files of Phi 3 do not name theirs.
  const absl::string_view of_context = shape.positions > context ? kLongFactors : kShortFactors;
  if (file.FindTensor(kFactors) != nullptr) {
    PTXSMITH_ASSIGN_OR_RETURN(result.divisors, ReadFactors(file, kFactors, shape.dim / 2));
  } else if (kind == "longrope" || file.FindTensor(of_context) != nullptr) {
    PTXSMITH_ASSIGN_OR_RETURN(result.divisors, ReadFactors(file, of_context, shape.dim / 2));
  } else {
    result.divisors.assign(shape.dim / 2, 1.0f);
  }
  if (kind == "none") return result;
  // Older files give only the factor, under another name.
  PTXSMITH_ASSIGN_OR_RETURN(const float legacy, PositiveOr(file, key("scale_linear"), 1.0f));
  PTXSMITH_ASSIGN_OR_RETURN(const float factor, PositiveOr(file, key("scaling.factor"), legacy));
  PTXSMITH_ASSIGN_OR_RETURN(result.magnitude, PositiveOr(file, key("scaling.attn_factor"), 1.0f));
  if (kind != "yarn") {
    for (float& divisor : result.divisors) divisor *= factor;
    return result;
  }

  PTXSMITH_ASSIGN_OR_RETURN(const float fast,
                            PositiveOr(file, key("scaling.yarn_beta_fast"), 32.0f));
  PTXSMITH_ASSIGN_OR_RETURN(const float slow,
                            PositiveOr(file, key("scaling.yarn_beta_slow"), 1.0f));
  // Faster waves than `first` stay, slower ones than `last` are stretched.
  const double first = std::max(0.0, std::floor(PairOfTurns(shape, context, fast)));
  const double last = std::min(shape.dim - 1.0, std::ceil(PairOfTurns(shape, context, slow)));
  for (size_t i = 0; i < result.divisors.size(); ++i) {
    const double along = (static_cast<double>(i) - first) / std::max(0.001, last - first);
    const double stretched = std::clamp(along, 0.0, 1.0);
    result.divisors[i] =
        static_cast<float>(result.divisors[i] / (stretched / factor + (1 - stretched)));
  }
  result.magnitude *= static_cast<float>(1 + 0.1 * std::log(factor));
  return result;
}

}  // namespace ptxsmith

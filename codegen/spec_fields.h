// The fields of a kernel spec, listed once. The cache key, the parser, the validation, the list of
// variants and the help text all come from that list; a member that is missing from it does not
// compile.
//
//   struct ScaleSpec {
//     std::optional<uint32_t> n;
//     uint32_t threads = 256;
//     static constexpr absl::string_view kFamily = "scale";
//     static constexpr auto kFields = Fields(
//         Field("n", &ScaleSpec::n, AtLeast(1), "elements"),
//         Field("threads", &ScaleSpec::threads, OneOf(128, 256), "threads per block"));
//   };
//   KeyOf(ScaleSpec{4096}, target) == "scale:n=4096,threads=256@sm_90.ptx78"
//
// Types of members: uint32_t, float, bool, enums with FieldText / ParseFieldText found by their
// namespace, and std::optional of an integer: "any" when the size is a kernel parameter.
#ifndef PTXSMITH_CODEGEN_SPEC_FIELDS_H_
#define PTXSMITH_CODEGEN_SPEC_FIELDS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "codegen/status_macros.h"
#include "codegen/target.h"

namespace ptxsmith {

// Which values a field may have. Enums and booleans may have all of theirs unless choices are
// named.
struct FieldRule {
  uint32_t min = 0;
  uint32_t max = UINT32_MAX;
  uint32_t multiple_of = 1;
  std::array<uint32_t, 16> choices = {};
  uint32_t choice_count = 0;  // 0: no list

  std::string Describe() const;  // "one of 1, 2, 4", "a multiple of 32", ...
  bool Allows(uint64_t value) const;
};

constexpr FieldRule AtLeast(uint32_t min, uint32_t multiple_of = 1) {
  return {.min = min, .multiple_of = multiple_of};
}
constexpr FieldRule Between(uint32_t min, uint32_t max, uint32_t multiple_of = 1) {
  return {.min = min, .max = max, .multiple_of = multiple_of};
}
template <class... V>
constexpr FieldRule OneOf(V... values) {
  FieldRule rule;
  ((rule.choices[rule.choice_count++] = static_cast<uint32_t>(values)), ...);
  return rule;
}

template <class Spec, class T>
struct FieldDef {
  absl::string_view name;
  T Spec::*member;
  FieldRule rule;
  absl::string_view help;
};

template <class Spec, class T>
constexpr FieldDef<Spec, T> Field(absl::string_view name, T Spec::*member, FieldRule rule,
                                  absl::string_view help) {
  return {name, member, rule, help};
}

template <class... F>
constexpr std::tuple<F...> Fields(F... fields) {
  return {fields...};
}

namespace spec_internal {

struct Anything {
  template <class T>
  operator T() const;  // NOLINT: only named in unevaluated aggregate initialisation
};

template <class Spec, class... Init>
constexpr size_t Arity() {
  if constexpr (requires { Spec{Init{}..., Anything{}}; }) {
    return Arity<Spec, Init..., Anything>();
  } else {
    return sizeof...(Init);
  }
}

std::string NumberText(uint32_t value);
std::string FloatText(float value);  // shortest text that reads back to the same bits
absl::StatusOr<uint32_t> ParseNumber(absl::string_view text);
absl::StatusOr<float> ParseFloat(absl::string_view text);
absl::StatusOr<bool> ParseBool(absl::string_view text);

template <class T>
struct OptionalOf : std::false_type {};
template <class T>
struct OptionalOf<std::optional<T>> : std::true_type {};

template <class T>
std::string ToText(const T& value) {
  if constexpr (OptionalOf<T>::value) {
    return value ? ToText(*value) : "any";
  } else if constexpr (std::is_same_v<T, bool>) {
    return value ? "1" : "0";
  } else if constexpr (std::is_same_v<T, float>) {
    return FloatText(value);
  } else if constexpr (std::is_enum_v<T>) {
    return std::string(FieldText(value));
  } else {
    return NumberText(value);
  }
}

template <class T>
absl::StatusOr<T> FromText(absl::string_view text) {
  if constexpr (OptionalOf<T>::value) {
    if (text == "any") return T(std::nullopt);
    PTXSMITH_ASSIGN_OR_RETURN(auto value, FromText<typename T::value_type>(text));
    return T(value);
  } else if constexpr (std::is_same_v<T, bool>) {
    return ParseBool(text);
  } else if constexpr (std::is_same_v<T, float>) {
    return ParseFloat(text);
  } else if constexpr (std::is_enum_v<T>) {
    T value{};
    PTXSMITH_RETURN_IF_ERROR(ParseFieldText(text, &value));
    return value;
  } else {
    return ParseNumber(text);
  }
}

// The value as the rule sees it; nothing for open sizes and floats, which rules do not limit.
template <class T>
std::optional<uint64_t> RuleValue(const T& value) {
  if constexpr (OptionalOf<T>::value) {
    return value ? RuleValue(*value) : std::nullopt;
  } else if constexpr (std::is_same_v<T, float>) {
    return std::nullopt;
  } else {
    return static_cast<uint64_t>(value);
  }
}

// What a field may be, with the names of an enum's values.
template <class T>
std::string RuleText(const FieldRule& rule) {
  if constexpr (std::is_enum_v<T>) {
    std::string text = "one of";
    for (uint32_t i = 0; i < rule.choice_count; ++i) {
      text += (i == 0 ? " " : ", ") + ToText(static_cast<T>(rule.choices[i]));
    }
    return text;
  } else if constexpr (std::is_same_v<T, bool>) {
    return "0 or 1";
  } else if constexpr (OptionalOf<T>::value) {
    return "any, or " + RuleText<typename T::value_type>(rule);
  } else {
    return rule.Describe();
  }
}

absl::Status BadValue(absl::string_view family, absl::string_view field, absl::string_view value,
                      absl::string_view rule);
// Splits "a=1,b=2"; InvalidArgument on anything else.
absl::StatusOr<std::vector<std::pair<absl::string_view, absl::string_view>>> SplitFields(
    absl::string_view family, absl::string_view text);
absl::Status UnknownField(absl::string_view family, absl::string_view field,
                          const std::vector<std::string>& known);
absl::Status Annotate(const absl::Status& status, absl::string_view family,
                      absl::string_view field);

}  // namespace spec_internal

// Calls visit(field) for each field of the spec in order.
template <class Spec, class F>
void ForEachField(F&& visit) {
  static_assert(std::tuple_size_v<std::remove_cvref_t<decltype(Spec::kFields)>> ==
                    spec_internal::Arity<Spec>(),
                "kFields must list every member of the spec: the cache key is made of it");
  std::apply([&](const auto&... field) { (visit(field), ...); }, Spec::kFields);
}

// "quant=q4_k,k=4096,n=any"
template <class Spec>
std::string FieldsText(const Spec& spec) {
  std::string text;
  ForEachField<Spec>([&](const auto& field) {
    if (!text.empty()) text += ",";
    text += std::string(field.name);
    text += "=";
    text += spec_internal::ToText(spec.*field.member);
  });
  return text;
}

// "gemv:quant=q4_k,k=4096,n=any@sm_90.ptx78": everything the text depends on, and a valid CLI
// argument.
template <class Spec>
std::string KeyOf(const Spec& spec, const Target& target) {
  return absl::StrCat(Spec::kFamily, ":", FieldsText(spec), "@", target.ToString());
}

// InvalidArgument names the first field that breaks its rule: "gemv: k=4000 is not a multiple of
// 256".
template <class Spec>
absl::Status CheckFields(const Spec& spec) {
  absl::Status status;
  ForEachField<Spec>([&](const auto& field) {
    const std::optional<uint64_t> value = spec_internal::RuleValue(spec.*field.member);
    if (!status.ok() || !value || field.rule.Allows(*value)) return;
    using T = std::remove_cvref_t<decltype(spec.*field.member)>;
    status = spec_internal::BadValue(Spec::kFamily, field.name,
                                     spec_internal::ToText(spec.*field.member),
                                     spec_internal::RuleText<T>(field.rule));
  });
  return status;
}

// One field for people: its name, what it may be, its default and what it means.
struct FieldHelp {
  std::string name;
  std::string allowed;
  std::string default_value;
  std::string help;
};

template <class Spec>
std::vector<FieldHelp> DescribeFields() {
  std::vector<FieldHelp> fields;
  const Spec defaults;
  ForEachField<Spec>([&](const auto& field) {
    using T = std::remove_cvref_t<decltype(defaults.*field.member)>;
    fields.push_back({std::string(field.name), spec_internal::RuleText<T>(field.rule),
                      spec_internal::ToText(defaults.*field.member), std::string(field.help)});
  });
  return fields;
}

// The inverse of FieldsText; fields left out keep their defaults. Checks the rules too.
template <class Spec>
absl::StatusOr<Spec> ParseFields(absl::string_view text) {
  Spec spec;
  PTXSMITH_ASSIGN_OR_RETURN(auto pairs, spec_internal::SplitFields(Spec::kFamily, text));
  for (const auto& pair : pairs) {
    const absl::string_view name = pair.first;
    const absl::string_view value = pair.second;
    bool found = false;
    absl::Status status;
    std::vector<std::string> known;
    ForEachField<Spec>([&](const auto& field) {
      known.push_back(std::string(field.name));
      if (field.name != name) return;
      found = true;
      using T = std::remove_cvref_t<decltype(spec.*field.member)>;
      absl::StatusOr<T> parsed = spec_internal::FromText<T>(value);
      if (parsed.ok()) {
        spec.*field.member = *parsed;
      } else {
        status = spec_internal::Annotate(parsed.status(), Spec::kFamily, name);
      }
    });
    if (!found) return spec_internal::UnknownField(Spec::kFamily, name, known);
    PTXSMITH_RETURN_IF_ERROR(status);
  }
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  return spec;
}

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_SPEC_FIELDS_H_

#include "codegen/spec_fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace ptxsmith {

std::string FieldRule::Describe() const {
  if (choice_count > 0) {
    return absl::StrCat("one of ",
                        absl::StrJoin(choices.begin(), choices.begin() + choice_count, ", "));
  }
  std::string text;
  if (max != UINT32_MAX) {
    text = absl::StrCat("from ", min, " to ", max);
  } else if (min > 0) {
    text = absl::StrCat("at least ", min);
  }
  if (multiple_of > 1) {
    absl::StrAppend(&text, text.empty() ? "" : " and ", "a multiple of ", multiple_of);
  }
  return text.empty() ? "a number" : text;
}

bool FieldRule::Allows(uint64_t value) const {
  if (choice_count > 0) {
    return std::find(choices.begin(), choices.begin() + choice_count, value) !=
           choices.begin() + choice_count;
  }
  return value >= min && value <= max && value % multiple_of == 0;
}

namespace spec_internal {

std::string NumberText(uint32_t value) { return absl::StrCat(value); }

std::string FloatText(float value) {
  char text[32];
  return {text, std::to_chars(text, text + sizeof(text), value).ptr};  // blind to the locale
}

absl::StatusOr<uint32_t> ParseNumber(absl::string_view text) {
  uint32_t value = 0;
  if (absl::SimpleAtoi(text, &value)) return value;
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is not a number from 0 to ", UINT32_MAX));
}

absl::StatusOr<float> ParseFloat(absl::string_view text) {
  float value = 0;
  if (absl::SimpleAtof(text, &value) && std::isfinite(value)) return value;
  return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not a finite number"));
}

absl::StatusOr<bool> ParseBool(absl::string_view text) {
  if (text == "0") return false;
  if (text == "1") return true;
  return absl::InvalidArgumentError(absl::StrCat("'", text, "' is neither 0 nor 1"));
}

absl::Status BadValue(absl::string_view family, absl::string_view field, absl::string_view value,
                      absl::string_view rule) {
  return absl::InvalidArgumentError(
      absl::StrCat(family, ": ", field, "=", value, " must be ", rule));
}

absl::StatusOr<std::vector<std::pair<absl::string_view, absl::string_view>>> SplitFields(
    absl::string_view family, absl::string_view text) {
  std::vector<std::pair<absl::string_view, absl::string_view>> pairs;
  if (text.empty()) return pairs;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    const size_t equals = part.find('=');
    if (equals == absl::string_view::npos || equals == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(family, ": '", part, "' is not of the form field=value"));
    }
    for (const auto& [name, value] : pairs) {
      if (name == part.substr(0, equals)) {
        return absl::InvalidArgumentError(
            absl::StrCat(family, ": field '", name, "' is given twice"));
      }
    }
    pairs.emplace_back(part.substr(0, equals), part.substr(equals + 1));
  }
  return pairs;
}

absl::Status UnknownField(absl::string_view family, absl::string_view field,
                          const std::vector<std::string>& known) {
  return absl::InvalidArgumentError(
      absl::StrCat(family, ": unknown field '", field, "'; known: ", absl::StrJoin(known, ", ")));
}

absl::Status Annotate(const absl::Status& status, absl::string_view family,
                      absl::string_view field) {
  return absl::Status(status.code(), absl::StrCat(family, ": ", field, ": ", status.message()));
}

}  // namespace spec_internal
}  // namespace ptxsmith

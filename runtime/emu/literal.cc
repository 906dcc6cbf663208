#include "runtime/emu/literal.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"

namespace ptxsmith::emu {
namespace {

bool ParseHex(absl::string_view digits, size_t max_digits, uint64_t& value) {
  if (digits.empty() || digits.size() > max_digits) return false;
  value = 0;
  for (char c : digits) {
    if (!absl::ascii_isxdigit(c)) return false;
    const char lower = absl::ascii_tolower(c);
    value = value * 16 + (absl::ascii_isdigit(lower) ? lower - '0' : lower - 'a' + 10);
  }
  return true;
}

bool ParseBinary(absl::string_view digits, uint64_t& value) {
  if (digits.empty() || digits.size() > 64) return false;
  value = 0;
  for (char c : digits) {
    if (c != '0' && c != '1') return false;
    value = value * 2 + (c - '0');
  }
  return true;
}

bool ParseInteger(absl::string_view text, uint64_t& value) {
  if (text.back() == 'U' || text.back() == 'u') text.remove_suffix(1);
  const absl::string_view prefix = text.substr(0, 2);
  if (prefix == "0x" || prefix == "0X") return ParseHex(text.substr(2), 16, value);
  if (prefix == "0b" || prefix == "0B") return ParseBinary(text.substr(2), value);
  return absl::SimpleAtoi(text, &value);
}

}  // namespace

std::optional<OperandSyntax> ParseLiteral(absl::string_view text, bool minus) {
  OperandSyntax number;
  const absl::string_view prefix = text.substr(0, 2);
  bool ok = false;
  if (prefix == "0f" || prefix == "0F") {
    number.kind = OperandSyntax::kFloat32;
    ok = text.size() == 10 && ParseHex(text.substr(2), 8, number.bits);
    if (minus) number.bits ^= 0x80000000u;
  } else if (prefix == "0d" || prefix == "0D") {
    number.kind = OperandSyntax::kFloat64;
    ok = text.size() == 18 && ParseHex(text.substr(2), 16, number.bits);
    if (minus) number.bits ^= uint64_t{1} << 63;
  } else if (text.find('.') != absl::string_view::npos) {
    number.kind = OperandSyntax::kFloat64;
    double value = 0;
    ok = absl::SimpleAtod(text, &value);
    if (minus) value = -value;
    __builtin_memcpy(&number.bits, &value, sizeof(value));
  } else {
    number.kind = OperandSyntax::kInteger;
    ok = ParseInteger(text, number.bits);
    if (minus) number.bits = 0 - number.bits;
  }
  if (!ok) return std::nullopt;
  return number;
}

}  // namespace ptxsmith::emu

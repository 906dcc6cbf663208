#include "tests/mutation/mutate.h"

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace ptxsmith {
namespace {

// "\t@!%p0 bra $else_0;" in parts. Operands are what stands between commas; a vector's braces stay
// with its first and last element.
struct Line {
  std::string guard;     // "@!%p0"
  std::string mnemonic;  // "bra"
  std::vector<std::string> operands;

  bool Is(absl::string_view prefix) const { return absl::StartsWith(mnemonic, prefix); }
  std::string Text() const {
    return absl::StrCat("\t", guard, guard.empty() ? "" : " ", mnemonic,
                        operands.empty() ? "" : " ", absl::StrJoin(operands, ", "), ";");
  }
};

std::optional<Line> Parse(absl::string_view text) {
  if (!absl::ConsumePrefix(&text, "\t") || !absl::ConsumeSuffix(&text, ";")) return std::nullopt;
  if (absl::StartsWith(text, ".")) return std::nullopt;  // a declaration
  Line line;
  if (absl::StartsWith(text, "@")) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits(' ', 1));
    line.guard = parts.first;
    text.remove_prefix(line.guard.size() + 1);
  }
  const size_t space = text.find(' ');
  line.mnemonic = std::string(text.substr(0, space));
  if (space != absl::string_view::npos) {
    line.operands = absl::StrSplit(text.substr(space + 1), ", ");
  }
  return line;
}

// The letters of a register's class: "%rd12" gives "%rd".
std::string ClassOf(absl::string_view reg) {
  return std::string(reg.substr(0, reg.find_first_of("0123456789")));
}

// Where the register's name stands in the operand, as in "[%rd8+16]" or "{%r9"; empty when it has
// none of the numbered ones.
absl::string_view RegisterIn(absl::string_view operand) {
  const size_t begin = operand.find('%');
  if (begin == absl::string_view::npos) return {};
  size_t end = begin + 1;
  while (end < operand.size() && absl::ascii_isalnum(operand[end])) ++end;
  const absl::string_view name = operand.substr(begin, end - begin);
  return absl::ascii_isdigit(name.back()) ? name : absl::string_view();
}

std::optional<int64_t> IntegerIn(absl::string_view operand) {
  int64_t value = 0;
  if (absl::StartsWith(operand, "0x") ? absl::SimpleHexAtoi(operand, &value)
                                      : absl::SimpleAtoi(operand, &value)) {
    return value;
  }
  return std::nullopt;
}

// The operands that are read: all but the first one or, of a vector load, the first braces.
size_t FirstSource(const Line& line) {
  if (line.Is("st.") || line.Is("bra")) return 0;
  for (size_t i = 0; i < line.operands.size(); ++i) {
    const bool in_vector = absl::StartsWith(line.operands[0], "{");
    if (!in_vector || absl::EndsWith(line.operands[i], "}")) return i + 1;
  }
  return line.operands.size();
}

// What mutations may look at beyond their line.
struct Context {
  std::map<std::string, std::vector<std::string>> registers;  // by class
  Rng& rng;
};

template <class T>
const T& Pick(const std::vector<T>& choices, Rng& rng) {
  return choices[rng.Below(static_cast<uint32_t>(choices.size()))];
}

// A mutation changes the line and says whether it applies to it.
using Mutation = bool (*)(Line& line, Context& context);

bool AddToInteger(std::string& operand, Rng& rng) {
  const std::optional<int64_t> value = IntegerIn(operand);
  if (!value) return false;
  const int64_t step = *value == 0 || rng.Below(2) == 0 ? 1 : -1;
  operand = absl::StrCat(static_cast<uint32_t>(*value + step));
  return true;
}

bool IsShift(const Line& line) { return line.Is("shl.") || line.Is("shr.") || line.Is("bfe."); }

// Changes one of the integer operands from `first` on.
bool ChangeInteger(Line& line, size_t first, Rng& rng) {
  std::vector<size_t> places;
  for (size_t i = first; i < line.operands.size(); ++i) {
    if (IntegerIn(line.operands[i])) places.push_back(i);
  }
  return !places.empty() && AddToInteger(line.operands[Pick(places, rng)], rng);
}

bool ChangeImmediate(Line& line, Context& context) {
  if (IsShift(line) || line.Is("shfl.") || line.Is("bar.")) return false;
  return ChangeInteger(line, 1, context.rng);
}

bool ChangeShift(Line& line, Context& context) {
  return IsShift(line) && ChangeInteger(line, 2, context.rng);
}

bool ReplaceRegister(Line& line, Context& context) {
  std::vector<size_t> places;
  for (size_t i = FirstSource(line); i < line.operands.size(); ++i) {
    if (!RegisterIn(line.operands[i]).empty()) places.push_back(i);
  }
  if (places.empty()) return false;
  std::string& operand = line.operands[Pick(places, context.rng)];
  const std::string old(RegisterIn(operand));
  const std::string& other = Pick(context.registers[ClassOf(old)], context.rng);
  operand.replace(operand.find(old), old.size(), other);
  return other != old;
}

bool SwapOperands(Line& line, Context&) {
  // Where the order of the first two does not matter, the second and the third are exchanged.
  const bool commutes = line.Is("fma.") || line.Is("mad.lo");
  const bool orders = line.Is("sub.") || line.Is("div.") || line.Is("setp.") || line.Is("selp.") ||
                      line.Is("shl.") || line.Is("shr.") || line.Is("prmt.");
  if (!commutes && !orders) return false;
  std::swap(line.operands[commutes ? 2 : 1], line.operands[commutes ? 3 : 2]);
  return true;
}

bool ChangeComparison(Line& line, Context& context) {
  if (!line.Is("setp.")) return false;
  std::vector<std::string> parts = absl::StrSplit(line.mnemonic, '.');
  parts[1] = Pick<std::string>({"eq", "ne", "lt", "le", "gt", "ge"}, context.rng);
  line.mnemonic = absl::StrJoin(parts, ".");
  return true;
}

bool ChangeShuffle(Line& line, Context& context) {
  if (!line.Is("shfl.")) return false;
  const std::optional<int64_t> lane = IntegerIn(line.operands[2]);  // none: in a register
  if (context.rng.Below(4) == 0 || !lane) {
    line.operands[4] = "0x7fffffff";  // the lanes that take part
  } else {
    line.operands[2] = absl::StrCat(context.rng.Below(2) == 0 ? *lane * 2 % 32 : *lane / 2);
  }
  return true;
}

bool ChangeOffset(Line& line, Context& context) {
  if (!line.Is("ld.global") && !line.Is("ld.shared") && !line.Is("st.")) return false;
  // By what one thread moves, so that the access stays aligned.
  uint32_t bytes = 0;
  for (const auto& [suffix, size] : {std::pair("8", 1u), {"16", 2u}, {"32", 4u}, {"64", 8u}}) {
    if (absl::EndsWith(line.mnemonic, suffix)) bytes = size;
  }
  if (absl::StrContains(line.mnemonic, ".v2.")) bytes *= 2;
  if (absl::StrContains(line.mnemonic, ".v4.")) bytes *= 4;
  const auto address =
      std::find_if(line.operands.begin(), line.operands.end(),
                   [](const std::string& operand) { return absl::StartsWith(operand, "["); });
  const absl::string_view reg = RegisterIn(*address);
  int64_t offset = 0;
  const size_t plus = address->find_first_of("+-");
  if (plus != std::string::npos) {
    (void)absl::SimpleAtoi(address->substr(plus, address->size() - plus - 1), &offset);
  }
  offset += context.rng.Below(2) == 0 ? int64_t{bytes} : -int64_t{bytes};
  *address = absl::StrCat("[", reg, offset < 0 ? "" : "+", offset, "]");
  return true;
}

bool Exchange(Line& line, absl::string_view a, absl::string_view b) {
  for (const auto& [from, to] : {std::pair(a, b), std::pair(b, a)}) {
    if (!line.Is(from)) continue;
    line.mnemonic = absl::StrCat(to, absl::string_view(line.mnemonic).substr(from.size()));
    return true;
  }
  return false;
}

bool AndOr(Line& line, Context&) { return Exchange(line, "and.", "or."); }
bool AddSub(Line& line, Context&) { return Exchange(line, "add.", "sub."); }
bool MinMax(Line& line, Context&) { return Exchange(line, "min.", "max."); }

bool ChangeNegation(Line& line, Context&) {
  if (line.guard.empty()) return false;
  line.guard = line.guard[1] == '!' ? absl::StrCat("@", line.guard.substr(2))
                                    : absl::StrCat("@!", line.guard.substr(1));
  return true;
}

// Droppers leave no mnemonic.
bool Drop(Line& line, bool applies) {
  if (applies) line.mnemonic.clear();
  return applies;
}
bool DropBarrier(Line& line, Context&) { return Drop(line, line.Is("bar.")); }
bool DropStore(Line& line, Context&) { return Drop(line, line.Is("st.")); }
bool DropOther(Line& line, Context&) {
  return Drop(line, !line.Is("bar.") && !line.Is("st.") && !line.Is("ret"));
}

constexpr std::pair<absl::string_view, Mutation> kMutations[] = {
    {kDropBarrier, DropBarrier},
    {"dropped store", DropStore},
    {"dropped instruction", DropOther},
    {"immediate off by one", ChangeImmediate},
    {"shift or field off by one", ChangeShift},
    {"another register", ReplaceRegister},
    {"operands swapped", SwapOperands},
    {"another comparison", ChangeComparison},
    {"shuffle lane or mask", ChangeShuffle},
    {"address offset", ChangeOffset},
    {"and / or", AndOr},
    {"add / sub", AddSub},
    {"min / max", MinMax},
    {"guard negated", ChangeNegation},
};

}  // namespace

std::vector<Mutant> MakeMutants(absl::string_view ptx, size_t per_kind, Rng& rng) {
  const std::vector<std::string> lines = absl::StrSplit(ptx, '\n');
  Context context{{}, rng};
  std::set<std::string> registers;
  for (const std::string& text : lines) {
    const std::optional<Line> line = Parse(text);
    if (!line) continue;
    for (const std::string& operand : line->operands) {
      const absl::string_view reg = RegisterIn(operand);
      if (!reg.empty()) registers.insert(std::string(reg));
    }
  }
  for (const std::string& reg : registers) context.registers[ClassOf(reg)].push_back(reg);

  std::vector<Mutant> mutants;
  for (const auto& [kind, mutate] : kMutations) {
    std::vector<Mutant> found;
    for (size_t i = 0; i < lines.size(); ++i) {
      std::optional<Line> line = Parse(lines[i]);
      if (!line || !mutate(*line, context)) continue;
      const std::string after = line->mnemonic.empty() ? "" : line->Text();
      if (after != lines[i]) found.push_back({kind, i, lines[i], after});
    }
    // The first `per_kind` of a random order.
    const size_t kept = kind == kDropBarrier ? found.size() : std::min(per_kind, found.size());
    for (size_t i = 0; i < kept; ++i) {
      std::swap(found[i], found[i + rng.Below(static_cast<uint32_t>(found.size() - i))]);
      mutants.push_back(found[i]);
    }
  }
  return mutants;
}

std::string Apply(absl::string_view ptx, const Mutant& mutant) {
  std::vector<std::string> lines = absl::StrSplit(ptx, '\n');
  lines[mutant.line] = mutant.after;
  return absl::StrJoin(lines, "\n");
}

}  // namespace ptxsmith

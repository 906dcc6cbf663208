#include <algorithm>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/emu/literal.h"
#include "runtime/emu/syntax.h"
#include "runtime/emu/token_cursor.h"

namespace ptxsmith::emu {
namespace {

// A hostile text must not make the parser allocate without bound.
constexpr uint64_t kMaxVariableBytes = uint64_t{1} << 26;
constexpr uint32_t kMaxRegisterRange = 1 << 20;
constexpr int kMaxDepth = 64;

// Size in bits of a fundamental type such as ".u32"; 1 for ".pred", 0 when it is none.
uint8_t TypeBits(absl::string_view type) {
  static constexpr std::pair<absl::string_view, uint8_t> kTypes[] = {
      {".pred", 1}, {".b8", 8},   {".u8", 8},     {".s8", 8},     {".b16", 16},
      {".u16", 16}, {".s16", 16}, {".f16", 16},   {".bf16", 16},  {".b32", 32},
      {".u32", 32}, {".s32", 32}, {".f32", 32},   {".b64", 64},   {".u64", 64},
      {".s64", 64}, {".f64", 64}, {".f16x2", 32}, {".bf16x2", 32}};
  for (const auto& [name, bits] : kTypes) {
    if (name == type) return bits;
  }
  return 0;
}

// The space a variable is declared in; nothing when `word` is no such directive.
std::optional<SpaceKind> SpaceOf(absl::string_view word) {
  static constexpr std::pair<absl::string_view, SpaceKind> kSpaces[] = {
      {".global", SpaceKind::kGlobal},
      {".shared", SpaceKind::kShared},
      {".local", SpaceKind::kLocal},
      {".const", SpaceKind::kConst}};
  for (const auto& [name, space] : kSpaces) {
    if (name == word) return space;
  }
  return std::nullopt;
}

// Names visible in one `{}` of a body.
struct Scope {
  int id = 0;
  absl::flat_hash_map<std::string, uint32_t> registers;            // name -> index
  std::vector<std::tuple<std::string, uint32_t, uint8_t>> ranges;  // prefix, count, bits
  absl::flat_hash_map<std::string, bool> labels;
};

class Parser : private TokenCursor {
 public:
  explicit Parser(std::vector<Token> tokens) : TokenCursor(std::move(tokens)) {}

  absl::StatusOr<ModuleSyntax> Run();

 private:
  absl::StatusOr<uint64_t> ExpectUnsigned(uint64_t limit, absl::string_view what);

  absl::Status ParseVersionAndTarget();
  absl::Status ParseEntry();
  absl::Status ParseTuningDirective(absl::string_view directive);
  absl::StatusOr<VariableSyntax> ParseVariable(SpaceKind space, bool is_extern);
  absl::Status DeclareVariable(SpaceKind space, bool is_extern, std::vector<VariableSyntax>& list);
  absl::Status ParseInitializer(uint32_t element_bytes, VariableSyntax& variable);
  absl::Status ParseRegisters();
  absl::Status ParseBody();
  absl::Status ParseStatement();
  absl::Status ParseInstruction();
  absl::StatusOr<OperandSyntax> ParseOperand(int depth);
  absl::StatusOr<OperandSyntax> ParseNumber(bool minus);
  absl::StatusOr<int64_t> ParseOffset();
  std::optional<uint32_t> FindRegister(absl::string_view name);
  void OpenScope();
  absl::Status ResolveLabels();

  ModuleSyntax module_;
  uint64_t initialized_bytes_ = 0;
  EntrySyntax entry_;
  std::vector<Scope> scopes_;
  int next_scope_ = 0;
  // Labels may be used before they are defined: (instruction, scopes at the use) are resolved at
  // the end of the body.
  std::vector<std::vector<int>> scope_chains_;   // per instruction
  std::vector<std::vector<int>> target_chains_;  // per .branchtargets
};

absl::StatusOr<uint64_t> Parser::ExpectUnsigned(uint64_t limit, absl::string_view what) {
  PTXSMITH_ASSIGN_OR_RETURN(OperandSyntax number, ParseNumber(false));
  if (number.kind != OperandSyntax::kInteger || number.bits > limit) {
    return Error(absl::StrCat(what, " is not a number up to ", limit));
  }
  return number.bits;
}

absl::Status Parser::ParseVersionAndTarget() {
  if (!TakeIfWord(".version")) return Error("expected .version first");
  const std::string version(Next().text);
  const size_t dot = version.find('.');
  if (dot == std::string::npos ||
      !absl::SimpleAtoi(version.substr(0, dot), &module_.version_major) ||
      !absl::SimpleAtoi(version.substr(dot + 1), &module_.version_minor)) {
    return Error("expected a version such as 7.8");
  }
  if (!TakeIfWord(".target")) return Error("expected .target after .version");
  bool found = false;
  do {
    PTXSMITH_ASSIGN_OR_RETURN(std::string target, ExpectWord("a target such as sm_80"));
    if (absl::StartsWith(target, "sm_")) {
      std::string digits = target.substr(3);
      while (!digits.empty() && absl::ascii_isalpha(digits.back())) digits.pop_back();
      found = absl::SimpleAtoi(digits, &module_.sm);
    }
  } while (TakeIf(','));
  if (!found) return Error("expected a target such as sm_80");
  if (TakeIfWord(".address_size")) {
    PTXSMITH_ASSIGN_OR_RETURN(uint64_t size, ExpectUnsigned(64, "address size"));
    if (size != 64) return absl::UnimplementedError("PTX .address_size 32 is not supported");
  }
  return absl::OkStatus();
}

absl::StatusOr<ModuleSyntax> Parser::Run() {
  PTXSMITH_RETURN_IF_ERROR(ParseVersionAndTarget());
  bool is_extern = false;
  while (Peek().kind != Token::kEnd) {
    if (TakeIf(';')) continue;
    const uint32_t line = Peek().line;
    PTXSMITH_ASSIGN_OR_RETURN(std::string word, ExpectWord("a directive"));
    if (word == ".visible" || word == ".weak" || word == ".common") continue;
    if (word == ".extern") {
      is_extern = true;
      continue;
    }
    if (word == ".entry") {
      PTXSMITH_RETURN_IF_ERROR(ParseEntry());
    } else if (const std::optional<SpaceKind> space = SpaceOf(word); space.has_value()) {
      PTXSMITH_RETURN_IF_ERROR(DeclareVariable(*space, is_extern, module_.variables));
    } else if (word == ".file" || word == ".loc") {
      while (Peek().line == line && Peek().kind != Token::kEnd) Next();
    } else if (word == ".section") {
      while (!Peek().Is('{') && Peek().kind != Token::kEnd) Next();
      PTXSMITH_RETURN_IF_ERROR(SkipBraces());
    } else if (word == ".pragma") {
      PTXSMITH_RETURN_IF_ERROR(SkipPast(';'));
    } else if (word == ".func") {
      return absl::UnimplementedError(
          absl::StrCat("PTX line ", line, ": device functions (.func) are not supported"));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("PTX line ", line, ": unknown directive '", word, "'"));
    }
    is_extern = false;
  }
  return std::move(module_);
}

absl::Status Parser::ParseTuningDirective(absl::string_view directive) {
  if (directive == ".pragma") return SkipPast(';');
  if (directive == ".noreturn" || directive == ".blocksareclusters") return absl::OkStatus();
  std::array<uint32_t, 3> dims = {1, 1, 1};
  for (int i = 0; i < 3; ++i) {
    PTXSMITH_ASSIGN_OR_RETURN(uint64_t n, ExpectUnsigned(0xffffffffu, directive));
    dims[i] = static_cast<uint32_t>(n);
    if (!TakeIf(',')) break;
  }
  if (directive == ".reqntid") {
    entry_.reqntid = dims;
  } else if (directive == ".maxntid") {
    entry_.maxntid = dims;
  } else if (directive != ".minnctapersm" && directive != ".maxnreg" &&
             directive != ".maxnctapersm") {
    return Error(absl::StrCat("unknown directive ", directive, " of an entry"));
  }
  return absl::OkStatus();
}

absl::Status Parser::ParseEntry() {
  entry_ = EntrySyntax();
  entry_.line = Peek().line;
  PTXSMITH_ASSIGN_OR_RETURN(entry_.name, ExpectWord("the name of the entry"));
  if (TakeIf('(')) {
    while (!TakeIf(')')) {
      if (!TakeIfWord(".param")) return Error("expected .param");
      PTXSMITH_ASSIGN_OR_RETURN(VariableSyntax param, ParseVariable(SpaceKind::kParam, false));
      entry_.params.push_back(std::move(param));
      if (!Peek().Is(')')) PTXSMITH_RETURN_IF_ERROR(Expect(','));
    }
  }
  while (Peek().kind == Token::kWord) {
    const std::string directive(Next().text);
    PTXSMITH_RETURN_IF_ERROR(ParseTuningDirective(directive));
  }
  if (TakeIf(';')) return absl::OkStatus();  // a declaration
  PTXSMITH_RETURN_IF_ERROR(ParseBody());
  module_.entries.push_back(std::move(entry_));
  return absl::OkStatus();
}

absl::StatusOr<VariableSyntax> Parser::ParseVariable(SpaceKind space, bool is_extern) {
  VariableSyntax variable;
  variable.space = space;
  variable.line = Peek().line;
  uint32_t element_bits = 0, vector = 1;
  uint64_t align = 0;
  for (;;) {
    if (Peek().kind != Token::kWord || Peek().text[0] != '.') break;
    const std::string word(Next().text);
    if (word == ".align") {
      PTXSMITH_ASSIGN_OR_RETURN(align, ExpectUnsigned(1024, "alignment"));
    } else if (word == ".v2" || word == ".v4") {
      vector = word[2] - '0';
    } else if (word == ".ptr" || word == ".global" || word == ".shared" || word == ".const" ||
               word == ".local" || word == ".generic") {
      // Attributes of a pointer parameter: `.param .u64 .ptr .global .align 16 x`. They describe
      // the pointee, so the alignment that follows is not the parameter's.
      if (TakeIfWord(".align")) {
        PTXSMITH_RETURN_IF_ERROR(ExpectUnsigned(1 << 30, "alignment").status());
      }
    } else if (uint8_t bits = TypeBits(word); bits >= 8) {
      element_bits = bits;
    } else {
      return Error(absl::StrCat("unknown attribute ", word, " of a variable"));
    }
  }
  if (element_bits == 0) return Error("a variable without a type");
  PTXSMITH_ASSIGN_OR_RETURN(variable.name, ExpectWord("the name of a variable"));
  const uint32_t element = element_bits / 8 * vector;
  variable.alignment = align != 0 ? static_cast<uint32_t>(align) : element;
  if ((variable.alignment & (variable.alignment - 1)) != 0) {
    return Error(absl::StrCat("alignment ", variable.alignment, " is not a power of two"));
  }
  uint64_t count = 1;
  bool open = false;
  while (TakeIf('[')) {
    if (TakeIf(']')) {
      open = true;
      continue;
    }
    PTXSMITH_ASSIGN_OR_RETURN(uint64_t n, ExpectUnsigned(kMaxVariableBytes, "array size"));
    count *= n;
    if (count > kMaxVariableBytes) return Error("array too large");
    PTXSMITH_RETURN_IF_ERROR(Expect(']'));
  }
  variable.bytes = open ? 0 : count * element;
  variable.dynamic = open && is_extern;
  if (TakeIf('=')) {
    PTXSMITH_RETURN_IF_ERROR(ParseInitializer(element_bits / 8, variable));
    if (open) variable.bytes = variable.initial.size();
    if (variable.initial.size() > variable.bytes) return Error("initializer longer than its array");
    initialized_bytes_ += variable.bytes;
    if (initialized_bytes_ > kMaxVariableBytes) return Error("initializers too large");
    variable.initial.resize(variable.bytes);
  } else if (open && !is_extern) {
    return Error(absl::StrCat("array ", variable.name, " without a size"));
  }
  if (variable.bytes > kMaxVariableBytes) return Error("variable too large");
  return variable;
}

absl::Status Parser::ParseInitializer(uint32_t element_bytes, VariableSyntax& variable) {
  // Nested braces only group rows; elements follow each other.
  int depth = 0;
  do {
    while (TakeIf('{')) ++depth;
    PTXSMITH_ASSIGN_OR_RETURN(OperandSyntax number, ParseNumber(TakeIf('-')));
    for (uint32_t i = 0; i < element_bytes; ++i) {
      variable.initial.push_back(static_cast<uint8_t>(number.bits >> (8 * i)));
    }
    while (depth > 0 && TakeIf('}')) --depth;
  } while (TakeIf(','));
  return depth == 0 ? absl::OkStatus() : Error("expected '}'");
}

absl::Status Parser::DeclareVariable(SpaceKind space, bool is_extern,
                                     std::vector<VariableSyntax>& list) {
  PTXSMITH_ASSIGN_OR_RETURN(VariableSyntax variable, ParseVariable(space, is_extern));
  list.push_back(std::move(variable));
  return Expect(';');
}

void Parser::OpenScope() {
  scopes_.emplace_back();
  scopes_.back().id = next_scope_++;
}

absl::Status Parser::ParseRegisters() {
  PTXSMITH_ASSIGN_OR_RETURN(std::string type, ExpectWord("a register type"));
  const uint8_t bits = TypeBits(type);
  if (bits == 0) return Error(absl::StrCat("unknown register type ", type));
  do {
    PTXSMITH_ASSIGN_OR_RETURN(std::string name, ExpectWord("a register name"));
    if (TakeIf('<')) {
      PTXSMITH_ASSIGN_OR_RETURN(uint64_t count, ExpectUnsigned(kMaxRegisterRange, "range"));
      PTXSMITH_RETURN_IF_ERROR(Expect('>'));
      scopes_.back().ranges.emplace_back(name, static_cast<uint32_t>(count), bits);
    } else {
      scopes_.back().registers[name] = static_cast<uint32_t>(entry_.registers.size());
      entry_.registers.push_back({name, bits});
    }
  } while (TakeIf(','));
  return Expect(';');
}

// Registers of a range come into being on their first use.
std::optional<uint32_t> Parser::FindRegister(absl::string_view name) {
  for (size_t i = scopes_.size(); i-- > 0;) {
    Scope& scope = scopes_[i];
    if (auto it = scope.registers.find(name); it != scope.registers.end()) return it->second;
    for (const auto& [prefix, count, bits] : scope.ranges) {
      if (!absl::StartsWith(name, prefix)) continue;
      uint32_t number = 0;
      const absl::string_view digits = name.substr(prefix.size());
      if (!absl::SimpleAtoi(digits, &number) || number >= count ||
          !absl::ascii_isdigit(digits[0])) {
        continue;
      }
      const auto index = static_cast<uint32_t>(entry_.registers.size());
      scope.registers[std::string(name)] = index;
      entry_.registers.push_back({std::string(name), bits});
      return index;
    }
  }
  return std::nullopt;
}

absl::Status Parser::ParseBody() {
  scopes_.clear();
  scope_chains_.clear();
  target_chains_.clear();
  next_scope_ = 0;
  PTXSMITH_RETURN_IF_ERROR(Expect('{'));
  OpenScope();
  while (!scopes_.empty()) {
    if (TakeIf('{')) {
      if (scopes_.size() >= kMaxDepth) return Error("blocks nested too deeply");
      OpenScope();
    } else if (TakeIf('}')) {
      scopes_.pop_back();
    } else if (!TakeIf(';')) {
      PTXSMITH_RETURN_IF_ERROR(ParseStatement());
    }
  }
  return ResolveLabels();
}

std::string ScopedLabel(int scope, absl::string_view name) {
  return absl::StrCat(name, "@", scope);
}

absl::Status Parser::ParseStatement() {
  const uint32_t line = Peek().line;
  if (Peek().kind == Token::kWord && Peek(1).Is(':')) {
    const std::string name(Next().text);
    Next();
    if (TakeIfWord(".branchtargets")) {
      BranchTargetsSyntax targets{ScopedLabel(scopes_.back().id, name), {}};
      do {
        PTXSMITH_ASSIGN_OR_RETURN(std::string label, ExpectWord("a label"));
        targets.labels.push_back(label);
      } while (TakeIf(','));
      entry_.branch_targets.push_back(std::move(targets));
      target_chains_.emplace_back();
      for (const Scope& s : scopes_) target_chains_.back().push_back(s.id);
      return Expect(';');
    }
    const std::string scoped = ScopedLabel(scopes_.back().id, name);
    for (const LabelSyntax& label : entry_.labels) {
      if (label.name == scoped) return Error(absl::StrCat("label ", name, " defined twice"));
    }
    entry_.labels.push_back({scoped, static_cast<uint32_t>(entry_.instructions.size())});
    return absl::OkStatus();
  }
  if (Peek().kind == Token::kWord && Peek().text[0] == '.') {
    const std::string word(Next().text);
    if (word == ".reg") return ParseRegisters();
    if (const std::optional<SpaceKind> space = SpaceOf(word); space.has_value()) {
      const bool own = *space == SpaceKind::kShared || *space == SpaceKind::kLocal;
      return DeclareVariable(*space, false, own ? entry_.variables : module_.variables);
    }
    if (word == ".pragma") return SkipPast(';');
    if (word == ".loc" || word == ".file") {
      while (Peek().line == line && Peek().kind != Token::kEnd) Next();
      return absl::OkStatus();
    }
    return Error(absl::StrCat("unknown directive ", word));
  }
  return ParseInstruction();
}

absl::Status Parser::ParseInstruction() {
  InstructionSyntax instruction;
  instruction.line = Peek().line;
  if (TakeIf('@')) {
    instruction.guarded = true;
    const bool negated = TakeIf('!');
    PTXSMITH_ASSIGN_OR_RETURN(std::string name, ExpectWord("a predicate"));
    const std::optional<uint32_t> reg = FindRegister(name);
    if (!reg.has_value()) return Error(absl::StrCat("undeclared predicate ", name));
    if (entry_.registers[*reg].bits != 1) return Error(absl::StrCat(name, " is not a predicate"));
    instruction.guard.kind = OperandSyntax::kRegister;
    instruction.guard.reg = *reg;
    instruction.guard.negated = negated;
  }
  PTXSMITH_ASSIGN_OR_RETURN(instruction.mnemonic, ExpectWord("an instruction"));
  if (!Peek().Is(';')) {
    do {
      PTXSMITH_ASSIGN_OR_RETURN(OperandSyntax operand, ParseOperand(0));
      instruction.operands.push_back(std::move(operand));
    } while (TakeIf(','));
  }
  PTXSMITH_RETURN_IF_ERROR(Expect(';'));
  entry_.instructions.push_back(std::move(instruction));
  scope_chains_.emplace_back();
  for (const Scope& s : scopes_) scope_chains_.back().push_back(s.id);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Parser::ParseOffset() {
  int64_t offset = 0;
  while (Peek().Is('+') || Peek().Is('-')) {
    bool minus = Next().Is('-');
    if (!minus && TakeIf('-')) minus = true;  // [%r1+-4]
    PTXSMITH_ASSIGN_OR_RETURN(OperandSyntax number, ParseNumber(minus));
    if (number.kind != OperandSyntax::kInteger) return Error("expected an integer offset");
    offset = static_cast<int64_t>(static_cast<uint64_t>(offset) + number.bits);
  }
  return offset;
}

absl::StatusOr<OperandSyntax> Parser::ParseOperand(int depth) {
  if (depth > 4) return Error("operands nested too deeply");
  OperandSyntax operand;
  if (TakeIf('{')) {
    operand.kind = OperandSyntax::kVector;
    do {
      PTXSMITH_ASSIGN_OR_RETURN(OperandSyntax part, ParseOperand(depth + 1));
      operand.parts.push_back(std::move(part));
    } while (TakeIf(','));
    PTXSMITH_RETURN_IF_ERROR(Expect('}'));
    return operand;
  }
  if (TakeIf('[')) {
    operand.kind = OperandSyntax::kAddress;
    PTXSMITH_ASSIGN_OR_RETURN(OperandSyntax base, ParseOperand(depth + 1));
    operand.offset = std::exchange(base.offset, 0);
    operand.parts.push_back(std::move(base));
    PTXSMITH_RETURN_IF_ERROR(Expect(']'));
    return operand;
  }
  const bool negated = TakeIf('!');
  if (TakeIf('-')) return ParseNumber(true);
  if (Peek().kind == Token::kNumber) return ParseNumber(false);
  PTXSMITH_ASSIGN_OR_RETURN(std::string word, ExpectWord("an operand"));
  operand.negated = negated;
  if (word == "_") return operand;
  if (const std::optional<uint32_t> reg = FindRegister(word); reg.has_value()) {
    operand.kind = OperandSyntax::kRegister;
    operand.reg = *reg;
  } else if (word == "WARP_SZ") {
    operand.kind = OperandSyntax::kInteger;
    operand.bits = 32;
  } else if (word[0] == '%') {
    operand.kind = OperandSyntax::kSpecial;
    operand.text = word;
  } else {
    operand.kind = OperandSyntax::kSymbol;  // or a label: the decoder knows which it wants
    operand.text = word;
  }
  PTXSMITH_ASSIGN_OR_RETURN(operand.offset, ParseOffset());
  if (TakeIf('|')) {
    OperandSyntax pair;
    pair.kind = OperandSyntax::kPair;
    PTXSMITH_ASSIGN_OR_RETURN(OperandSyntax second, ParseOperand(depth + 1));
    pair.parts = {std::move(operand), std::move(second)};
    return pair;
  }
  return operand;
}

absl::StatusOr<OperandSyntax> Parser::ParseNumber(bool minus) {
  if (Peek().kind != Token::kNumber) return Error("expected a number");
  const std::optional<OperandSyntax> number = ParseLiteral(Peek().text, minus);
  if (!number.has_value()) return Error("malformed number");
  Next();
  return *number;
}

absl::Status Parser::ResolveLabels() {
  absl::flat_hash_map<std::string, bool> known;
  for (const LabelSyntax& label : entry_.labels) known[label.name] = true;
  for (const BranchTargetsSyntax& targets : entry_.branch_targets) known[targets.name] = true;
  const auto resolve = [&](const std::vector<int>& chain, const std::string& name) {
    for (size_t i = chain.size(); i-- > 0;) {
      std::string scoped = ScopedLabel(chain[i], name);
      if (known.contains(scoped)) return scoped;
    }
    return std::string();
  };
  for (size_t i = 0; i < entry_.instructions.size(); ++i) {
    InstructionSyntax& instruction = entry_.instructions[i];
    if (!absl::StartsWith(instruction.mnemonic, "bra") &&
        !absl::StartsWith(instruction.mnemonic, "brx")) {
      continue;
    }
    for (OperandSyntax& operand : instruction.operands) {
      if (operand.kind != OperandSyntax::kSymbol) continue;
      const std::string scoped = resolve(scope_chains_[i], operand.text);
      if (scoped.empty()) {
        return absl::InvalidArgumentError(absl::StrCat("PTX line ", instruction.line, ": label ",
                                                       operand.text, " is not defined"));
      }
      operand.kind = OperandSyntax::kLabel;
      operand.text = scoped;
    }
  }
  for (size_t i = 0; i < entry_.branch_targets.size(); ++i) {
    for (std::string& label : entry_.branch_targets[i].labels) {
      const std::string scoped = resolve(target_chains_[i], label);
      if (scoped.empty()) {
        return absl::InvalidArgumentError(absl::StrCat("entry ", entry_.name, ": label ", label,
                                                       " of .branchtargets is not defined"));
      }
      label = scoped;
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModuleSyntax> ParseModule(absl::string_view text) {
  PTXSMITH_ASSIGN_OR_RETURN(std::vector<Token> tokens, Tokenize(text));
  return Parser(std::move(tokens)).Run();
}

}  // namespace ptxsmith::emu

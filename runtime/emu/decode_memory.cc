// Decoding of loads, stores, atomics and matrix loads.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/emu/decoder.h"

namespace ptxsmith::emu {
namespace {

template <size_t N>
bool OneOf(absl::string_view part, const absl::string_view (&list)[N]) {
  return std::find(std::begin(list), std::end(list), part) != std::end(list);
}

bool IsOrder(absl::string_view part) {
  static constexpr absl::string_view kOrders[] = {"volatile", "relaxed", "acquire",
                                                  "release",  "acq_rel", "mmio"};
  return OneOf(part, kOrders);
}

}  // namespace

bool IsHint(absl::string_view part) {
  static constexpr absl::string_view kHints[] = {"weak",
                                                 "cta",
                                                 "cluster",
                                                 "gpu",
                                                 "sys",
                                                 "nc",
                                                 "ca",
                                                 "cg",
                                                 "cs",
                                                 "cv",
                                                 "lu",
                                                 "wb",
                                                 "wt",
                                                 "L1::evict_normal",
                                                 "L1::evict_unchanged",
                                                 "L1::evict_first",
                                                 "L1::evict_last",
                                                 "L1::no_allocate",
                                                 "L2::evict_normal",
                                                 "L2::evict_first",
                                                 "L2::evict_last",
                                                 "L2::evict_unchanged",
                                                 "L2::64B",
                                                 "L2::128B",
                                                 "L2::256B",
                                                 "L2::cache_hint",
                                                 "noftz",
                                                 "unified"};
  return OneOf(part, kHints);
}

bool ParseSpace(absl::string_view part, Space& space) {
  if (part == "global") {
    space = Space::kGlobal;
  } else if (part == "shared" || part == "shared::cta" || part == "shared::cluster") {
    space = Space::kShared;
  } else if (part == "local") {
    space = Space::kLocal;
  } else if (part == "const") {
    space = Space::kConst;
  } else if (part == "param" || part == "param::entry") {
    space = Space::kParam;
  } else {
    return false;
  }
  return true;
}

MemoryType MemoryTypeOf(absl::string_view type) {
  struct Row {
    absl::string_view name;
    MemoryType type;
  };
  static constexpr Row kRows[] = {{"b8", {Element::kU8, 8}},      {"u8", {Element::kU8, 8}},
                                  {"s8", {Element::kS8, 8}},      {"b16", {Element::kU16, 16}},
                                  {"u16", {Element::kU16, 16}},   {"s16", {Element::kS16, 16}},
                                  {"f16", {Element::kU16, 16}},   {"bf16", {Element::kU16, 16}},
                                  {"b32", {Element::kB32, 32}},   {"u32", {Element::kB32, 32}},
                                  {"s32", {Element::kS32, 32}},   {"f32", {Element::kB32, 32}},
                                  {"f16x2", {Element::kB32, 32}}, {"bf16x2", {Element::kB32, 32}},
                                  {"b64", {Element::kB64, 64}},   {"u64", {Element::kB64, 64}},
                                  {"s64", {Element::kB64, 64}},   {"f64", {Element::kB64, 64}}};
  for (const Row& row : kRows) {
    if (row.name == type) return row.type;
  }
  return {};
}

void EntryDecoder::NoteAccess(Space space, uint32_t bytes) {
  const auto shift = static_cast<uint32_t>(__builtin_ctz(bytes));
  if (space == Space::kShared || space == Space::kGeneric) {
    kernel_->shared_granule_shift = std::min(kernel_->shared_granule_shift, shift);
  }
  if (space == Space::kGlobal || space == Space::kGeneric) {
    kernel_->global_granule_shift = std::min(kernel_->global_granule_shift, shift);
  }
}

// ld[.order][.scope][.space][.hints][.vec].type d, [a] and st likewise with [a], b
absl::Status EntryDecoder::DecodeLoadStore(const Parts& parts) {
  const bool load = parts[0] != "st";
  Instr instr;
  instr.kind = load ? Kind::kLoad : Kind::kStore;
  instr.space = Space::kGeneric;
  bool policy = false;
  for (size_t i = 1; i + 1 < parts.size(); ++i) {
    const absl::string_view part = parts[i];
    if (ParseSpace(part, instr.space)) continue;
    if (part == "v2" || part == "v4" || part == "v8") {
      instr.vector = static_cast<uint8_t>(part[1] - '0');
    } else if (IsOrder(part)) {
      instr.flag = true;
      if (load) {
        instr.mode =
            static_cast<uint8_t>(part == "acquire" ? LoadOrder::kAcquire : LoadOrder::kRelaxed);
      }
    } else if (IsHint(part)) {
      policy = policy || part == "L2::cache_hint";
    } else {
      return Unknown();
    }
  }
  const MemoryType type = MemoryTypeOf(parts.back());
  if (type.bits == 0) return Unknown();
  instr.element = type.element;
  instr.element_bytes = static_cast<uint8_t>(type.bits / 8);
  const uint32_t bytes = uint32_t{instr.element_bytes} * instr.vector;
  if (bytes > 32) return Error("moves more than 32 bytes");
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(policy ? 3 : 2, policy ? 3 : 2));
  if (policy) PTXSMITH_RETURN_IF_ERROR(UseOperand(2, 'd'));
  const OperandSyntax& value = current_->operands[load ? 0 : 1];
  PTXSMITH_ASSIGN_OR_RETURN(
      Operand address, Address(current_->operands[load ? 1 : 0], instr.space, instr.immediate));
  std::vector<OperandSyntax> elements = {value};
  if (value.kind == OperandSyntax::kVector) elements = value.parts;
  if (elements.size() != instr.vector) {
    return Error(
        absl::StrCat("has ", elements.size(), " registers for ", instr.vector, " elements"));
  }
  std::vector<Operand> dst, src = {address};
  for (const OperandSyntax& element : elements) {
    PTXSMITH_ASSIGN_OR_RETURN(
        Operand reg, load ? WideDestination(element, type.bits) : WideSource(element, type.bits));
    (load ? dst : src).push_back(reg);
  }
  NoteAccess(instr.space, bytes);
  Emit(instr, dst, src);
  return absl::OkStatus();
}

// atom[.sem][.scope][.space].op[.hints][.vec].type d, [a], b[, c]; red without d
absl::Status EntryDecoder::DecodeAtomic(const Parts& parts) {
  struct OpName {
    absl::string_view name;
    AtomicOp op;
  };
  static constexpr OpName kOps[] = {{"add", AtomicOp::kAdd},   {"min", AtomicOp::kMin},
                                    {"max", AtomicOp::kMax},   {"and", AtomicOp::kAnd},
                                    {"or", AtomicOp::kOr},     {"xor", AtomicOp::kXor},
                                    {"exch", AtomicOp::kExch}, {"cas", AtomicOp::kCas},
                                    {"inc", AtomicOp::kInc},   {"dec", AtomicOp::kDec}};
  struct TypeName {
    absl::string_view name;
    AtomicType type;
  };
  static constexpr TypeName kTypes[] = {
      {"u32", AtomicType::kU32},       {"b32", AtomicType::kU32}, {"s32", AtomicType::kS32},
      {"u64", AtomicType::kU64},       {"b64", AtomicType::kU64}, {"s64", AtomicType::kS64},
      {"f32", AtomicType::kF32},       {"f64", AtomicType::kF64}, {"f16x2", AtomicType::kF16x2},
      {"bf16x2", AtomicType::kBF16x2}, {"f16", AtomicType::kF16}, {"bf16", AtomicType::kBF16}};
  const bool returns = parts[0] == "atom";
  Instr instr;
  instr.kind = Kind::kAtomic;
  instr.space = Space::kGeneric;
  const OpName* op = nullptr;
  bool policy = false;
  for (size_t i = 1; i + 1 < parts.size(); ++i) {
    const absl::string_view part = parts[i];
    if (ParseSpace(part, instr.space) || IsOrder(part)) continue;
    if (IsHint(part)) {
      policy = policy || part == "L2::cache_hint";
      continue;
    }
    if (part == "v2" || part == "v4") {
      instr.vector = static_cast<uint8_t>(part[1] - '0');
      continue;
    }
    op = std::find_if(std::begin(kOps), std::end(kOps),
                      [&](const OpName& o) { return o.name == part; });
    if (op == std::end(kOps)) return Unknown();
  }
  const auto* type = std::find_if(std::begin(kTypes), std::end(kTypes),
                                  [&](const TypeName& t) { return t.name == parts.back(); });
  if (op == nullptr || type == std::end(kTypes)) return Unknown();
  if (type->type >= AtomicType::kF32 && op->op != AtomicOp::kAdd) return Unknown();
  const MemoryType memory = MemoryTypeOf(parts.back());
  instr.mode = static_cast<uint8_t>(op->op);
  instr.mode2 = static_cast<uint8_t>(type->type);
  instr.element_bytes = static_cast<uint8_t>(memory.bits / 8);
  const size_t first = returns ? 1 : 0;
  const size_t values = op->op == AtomicOp::kCas ? 2 : 1;
  const size_t operands = first + 1 + values + (policy ? 1 : 0);
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(operands, operands));
  if (policy) PTXSMITH_RETURN_IF_ERROR(UseOperand(operands - 1, 'd'));
  if (instr.vector > 1 && values > 1) return Unknown();
  PTXSMITH_ASSIGN_OR_RETURN(Operand address,
                            Address(current_->operands[first], instr.space, instr.immediate));
  std::vector<Operand> dst, src = {address};
  const char code = memory.bits == 64 ? 'd' : memory.bits == 32 ? 'w' : 'h';
  for (size_t v = 0; v < values; ++v) {
    const OperandSyntax& value = current_->operands[first + 1 + v];
    std::vector<OperandSyntax> elements = {value};
    if (value.kind == OperandSyntax::kVector) elements = value.parts;
    if (elements.size() != instr.vector) return Error("wrong number of elements");
    for (const OperandSyntax& element : elements) {
      PTXSMITH_ASSIGN_OR_RETURN(Operand reg, Source(element, code));
      src.push_back(reg);
    }
  }
  if (returns) {
    const OperandSyntax& result = current_->operands[0];
    std::vector<OperandSyntax> elements = {result};
    if (result.kind == OperandSyntax::kVector) elements = result.parts;
    if (elements.size() != instr.vector) return Error("wrong number of elements");
    for (const OperandSyntax& element : elements) {
      PTXSMITH_ASSIGN_OR_RETURN(Operand reg, Destination(element, code));
      dst.push_back(reg);
    }
  }
  NoteAccess(instr.space, uint32_t{instr.element_bytes} * instr.vector);
  Emit(instr, dst, src);
  return absl::OkStatus();
}

// ldmatrix.sync.aligned.m8n8.x4[.trans][.shared].b16 {d...}, [a]; stmatrix the other way round
absl::Status EntryDecoder::DecodeMatrixMove(const Parts& parts) {
  const bool load = parts[0] == "ldmatrix";
  Instr instr;
  instr.kind = load ? Kind::kLoadMatrix : Kind::kStoreMatrix;
  instr.space = Space::kGeneric;
  bool shape = false;
  for (size_t i = 1; i < parts.size(); ++i) {
    const absl::string_view part = parts[i];
    if (ParseSpace(part, instr.space)) continue;
    if (part == "x1" || part == "x2" || part == "x4") {
      instr.vector = static_cast<uint8_t>(part[1] - '0');
    } else if (part == "trans") {
      instr.flag = true;
    } else if (part == "m8n8") {
      shape = true;
    } else if (part != "sync" && part != "aligned" && part != "b16") {
      return Unknown();
    }
  }
  if (!shape || parts.back() != "b16") return Unknown();
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(2, 2));
  PTXSMITH_ASSIGN_OR_RETURN(
      Operand address, Address(current_->operands[load ? 1 : 0], instr.space, instr.immediate));
  PTXSMITH_ASSIGN_OR_RETURN(std::vector<Operand> registers,
                            RegisterList(current_->operands[load ? 0 : 1], instr.vector, load));
  NoteAccess(instr.space, 16);
  if (load) {
    Emit(instr, registers, {address});
  } else {
    registers.insert(registers.begin(), address);
    Emit(instr, {}, registers);
  }
  return absl::OkStatus();
}

}  // namespace ptxsmith::emu

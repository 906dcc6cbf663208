#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/emu/decoder.h"

namespace ptxsmith::emu {
namespace {

struct SpecialName {
  absl::string_view name;
  SpecialRegister reg;
};
constexpr SpecialName kSpecialNames[] = {
    {"%tid.x", SpecialRegister::kTidX},
    {"%tid.y", SpecialRegister::kTidY},
    {"%tid.z", SpecialRegister::kTidZ},
    {"%ntid.x", SpecialRegister::kNtidX},
    {"%ntid.y", SpecialRegister::kNtidY},
    {"%ntid.z", SpecialRegister::kNtidZ},
    {"%ctaid.x", SpecialRegister::kCtaidX},
    {"%ctaid.y", SpecialRegister::kCtaidY},
    {"%ctaid.z", SpecialRegister::kCtaidZ},
    {"%nctaid.x", SpecialRegister::kNctaidX},
    {"%nctaid.y", SpecialRegister::kNctaidY},
    {"%nctaid.z", SpecialRegister::kNctaidZ},
    {"%laneid", SpecialRegister::kLaneId},
    {"%warpid", SpecialRegister::kWarpId},
    {"%nwarpid", SpecialRegister::kNwarpId},
    {"%smid", SpecialRegister::kSmId},
    {"%nsmid", SpecialRegister::kNsmId},
    {"%lanemask_eq", SpecialRegister::kLanemaskEq},
    {"%lanemask_lt", SpecialRegister::kLanemaskLt},
    {"%lanemask_le", SpecialRegister::kLanemaskLe},
    {"%lanemask_gt", SpecialRegister::kLanemaskGt},
    {"%lanemask_ge", SpecialRegister::kLanemaskGe},
    {"%dynamic_smem_size", SpecialRegister::kDynamicSmemSize},
    {"%total_smem_size", SpecialRegister::kTotalSmemSize},
};

// Bytes of a lane's slot and significant bits, by the code of a signature.
uint8_t SlotBytes(char code) { return code == 'p' ? 0 : code == 'd' ? 8 : 4; }
int CodeBits(char code) { return code == 'p' ? 1 : code == 'h' ? 16 : code == 'd' ? 64 : 32; }

bool Fits(const Operand& operand, char code) {
  return code == 'h' ? operand.bits == 16 || operand.bits == 8 : operand.bits == CodeBits(code);
}

uint32_t SlotSize(uint8_t bytes) { return bytes == 0 ? 4 : uint32_t{bytes} * kLanes; }

}  // namespace

Operand EntryDecoder::NewRegister(uint8_t bits, absl::string_view name) {
  Operand operand;
  operand.bits = bits;
  operand.bytes = bits == 1 ? 0 : bits == 64 ? 8 : 4;
  // Vectors start on a cache line.
  const uint32_t alignment = operand.bytes == 0 ? 4 : 64;
  operand.offset = (kernel_->register_bytes + alignment - 1) / alignment * alignment;
  kernel_->register_bytes = operand.offset + SlotSize(operand.bytes);
  operand.reg = static_cast<uint32_t>(kernel_->register_names.size());
  kernel_->register_names.emplace_back(name);
  return operand;
}

Operand EntryDecoder::RegisterOperand(uint32_t index) {
  std::optional<Operand>& operand = registers_[index];
  if (!operand.has_value()) {
    const RegisterSyntax& reg = entry_.registers[index];
    operand = NewRegister(reg.bits, reg.name);
  }
  return *operand;
}

Operand EntryDecoder::ConstantOperand(uint64_t value, uint8_t bytes) {
  auto [it, fresh] = constants_.try_emplace(absl::StrCat(bytes, ":", value));
  if (fresh) {
    it->second = NewRegister(bytes == 0 ? 1 : bytes * 8, "");
    kernel_->presets.push_back({it->second, PresetRegister::kConstant, value, 0});
  }
  return it->second;
}

absl::StatusOr<Operand> EntryDecoder::SpecialOperand(absl::string_view name) {
  for (const SpecialName& special : kSpecialNames) {
    if (special.name != name) continue;
    auto [it, fresh] = specials_.try_emplace(std::string(name));
    if (fresh) {
      it->second = NewRegister(32, "");
      kernel_->presets.push_back(
          {it->second, PresetRegister::kSpecial, static_cast<uint64_t>(special.reg), 0});
    }
    return it->second;
  }
  return Error(absl::StrCat("unknown register ", name));
}

absl::StatusOr<Operand> EntryDecoder::Source(const OperandSyntax& operand, char code) {
  switch (operand.kind) {
    case OperandSyntax::kRegister: {
      Operand reg = RegisterOperand(operand.reg);
      if (!Fits(reg, code)) {
        return Error(absl::StrCat("operand ", entry_.registers[operand.reg].name, " has ", reg.bits,
                                  " bits, the instruction takes ", CodeBits(code)));
      }
      if (!operand.negated) return reg;
      const Operand inverse = NewRegister(1, absl::StrCat("!", entry_.registers[operand.reg].name));
      PTXSMITH_RETURN_IF_ERROR(EmitLane(*ops_.at("not.pred"), inverse, {reg}));
      return inverse;
    }
    case OperandSyntax::kSpecial: {
      PTXSMITH_ASSIGN_OR_RETURN(Operand reg, SpecialOperand(operand.text));
      if (!Fits(reg, code)) return Error(absl::StrCat(operand.text, " has 32 bits"));
      return reg;
    }
    case OperandSyntax::kInteger: {
      if (code == 'p') return ConstantOperand(operand.bits != 0 ? kFullMask : 0, 0);
      const int bits = CodeBits(code);
      const uint64_t mask = bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1;
      return ConstantOperand(operand.bits & mask, SlotBytes(code));
    }
    case OperandSyntax::kFloat32:
      if (code == 'w') return ConstantOperand(operand.bits, 4);
      break;
    case OperandSyntax::kFloat64: {
      if (code == 'd') return ConstantOperand(operand.bits, 8);
      if (code != 'w') break;
      double value;
      __builtin_memcpy(&value, &operand.bits, sizeof(value));
      const auto narrow = static_cast<float>(value);
      uint32_t bits;
      __builtin_memcpy(&bits, &narrow, sizeof(bits));
      return ConstantOperand(bits, 4);
    }
    case OperandSyntax::kSymbol: {
      const auto it = symbols_.find(operand.text);
      if (it == symbols_.end()) return Error(absl::StrCat("unknown name ", operand.text));
      if (code != 'w' && code != 'd') break;
      const Symbol& symbol = it->second;
      if (symbol.space == SpaceKind::kGlobal) {
        if (code != 'd') return Error("the address of a global variable has 64 bits");
        const Operand where = NewRegister(64, "");
        kernel_->presets.push_back({where, PresetRegister::kGlobalAddress,
                                    static_cast<uint64_t>(operand.offset),
                                    static_cast<uint32_t>(symbol.offset)});
        return where;
      }
      return ConstantOperand(symbol.offset + static_cast<uint64_t>(operand.offset),
                             SlotBytes(code));
    }
    default:
      break;
  }
  return Error("an operand does not fit its instruction");
}

absl::StatusOr<Operand> EntryDecoder::Destination(const OperandSyntax& operand, char code) {
  if (operand.kind == OperandSyntax::kSink) {
    return NewRegister(static_cast<uint8_t>(CodeBits(code)), "_");
  }
  if (operand.kind != OperandSyntax::kRegister || operand.negated) {
    return Error("the destination is not a register");
  }
  const Operand reg = RegisterOperand(operand.reg);
  if (!Fits(reg, code)) {
    return Error(absl::StrCat("destination ", entry_.registers[operand.reg].name, " has ", reg.bits,
                              " bits, the instruction gives ", CodeBits(code)));
  }
  return reg;
}

absl::StatusOr<Operand> EntryDecoder::WideDestination(const OperandSyntax& operand, int bits) {
  if (operand.kind == OperandSyntax::kSink) return NewRegister(bits == 64 ? 64 : 32, "_");
  if (operand.kind != OperandSyntax::kRegister || operand.negated) {
    return Error("the destination is not a register");
  }
  const Operand reg = RegisterOperand(operand.reg);
  if (reg.bits < bits) {
    return Error(absl::StrCat("register ", entry_.registers[operand.reg].name, " has ", reg.bits,
                              " bits, the instruction gives ", bits));
  }
  return reg;
}

absl::StatusOr<Operand> EntryDecoder::WideSource(const OperandSyntax& operand, int bits) {
  if (operand.kind != OperandSyntax::kRegister) {
    return Source(operand, bits == 64 ? 'd' : bits == 32 ? 'w' : 'h');
  }
  const Operand reg = RegisterOperand(operand.reg);
  if (reg.bits < bits) {
    return Error(absl::StrCat("register ", entry_.registers[operand.reg].name, " has ", reg.bits,
                              " bits, the instruction takes ", bits));
  }
  return reg;
}

absl::StatusOr<std::vector<Operand>> EntryDecoder::RegisterList(const OperandSyntax& operand,
                                                                size_t count, bool destination) {
  std::vector<OperandSyntax> parts = {operand};
  if (operand.kind == OperandSyntax::kVector) parts = operand.parts;
  if (parts.size() != count) {
    return Error(absl::StrCat("found ", parts.size(), " registers where ", count, " are needed"));
  }
  std::vector<Operand> list;
  for (const OperandSyntax& part : parts) {
    PTXSMITH_ASSIGN_OR_RETURN(Operand reg,
                              destination ? Destination(part, 'w') : Source(part, 'w'));
    list.push_back(reg);
  }
  return list;
}

absl::StatusOr<Operand> EntryDecoder::Address(const OperandSyntax& operand, Space space,
                                              int64_t& offset) {
  if (operand.kind != OperandSyntax::kAddress) return Error("expected an [address]");
  const OperandSyntax& base = operand.parts[0];
  offset = operand.offset;
  if (base.kind == OperandSyntax::kRegister) {
    const Operand reg = RegisterOperand(base.reg);
    const bool narrow = space == Space::kShared || space == Space::kLocal ||
                        space == Space::kConst || space == Space::kParam;
    if (reg.bits == 64 || (reg.bits == 32 && narrow)) return reg;
    return Error(absl::StrCat("address register ", entry_.registers[base.reg].name, " has ",
                              reg.bits, " bits"));
  }
  if (base.kind == OperandSyntax::kInteger) return ConstantOperand(base.bits, 8);
  if (base.kind != OperandSyntax::kSymbol) return Error("expected a register or a name in [ ]");
  const auto it = symbols_.find(base.text);
  if (it == symbols_.end()) return Error(absl::StrCat("unknown name ", base.text));
  const SpaceKind kind = it->second.space;
  const bool fits = (space == Space::kGlobal && kind == SpaceKind::kGlobal) ||
                    (space == Space::kShared && kind == SpaceKind::kShared) ||
                    (space == Space::kLocal && kind == SpaceKind::kLocal) ||
                    (space == Space::kConst && kind == SpaceKind::kConst) ||
                    (space == Space::kParam && kind == SpaceKind::kParam) ||
                    (space == Space::kGeneric && kind == SpaceKind::kGlobal);
  if (!fits) return Error(absl::StrCat(base.text, " is not in the space of the instruction"));
  return Source(base, 'd');
}

absl::StatusOr<uint64_t> EntryDecoder::ConstantInteger(const OperandSyntax& operand,
                                                       absl::string_view what) {
  if (operand.kind != OperandSyntax::kInteger) {
    return Error(absl::StrCat(what, " is not an integer constant"));
  }
  return operand.bits;
}

absl::Status EntryDecoder::UseOperand(size_t index, char code) {
  PTXSMITH_ASSIGN_OR_RETURN(Operand operand, Source(current_->operands[index], code));
  Emit(Instr(), {}, {operand});
  return absl::OkStatus();
}

void EntryDecoder::Emit(Instr instr, absl::Span<const Operand> dst, absl::Span<const Operand> src) {
  instr.line = current_->line;
  instr.guard = guard_offset_;
  instr.guard_reg = guard_reg_;
  instr.guard_flip = guard_flip_;
  instr.num_dst = static_cast<uint8_t>(dst.size());
  instr.num_src = static_cast<uint8_t>(src.size());
  Links links;
  links.dst = static_cast<uint32_t>(kernel_->operands.size());
  kernel_->operands.insert(kernel_->operands.end(), dst.begin(), dst.end());
  links.src = static_cast<uint32_t>(kernel_->operands.size());
  kernel_->operands.insert(kernel_->operands.end(), src.begin(), src.end());
  // The caller of a lane operation always passes four sources.
  const Operand filler = src.empty() ? Operand{guard_offset_, guard_reg_, 0, 1} : src[0];
  for (size_t i = src.size(); i < 4; ++i) kernel_->operands.push_back(filler);
  links.checks = static_cast<uint32_t>(kernel_->checks.size());
  for (size_t i = 0; i < src.size(); ++i) {
    // Copying undefined lanes is fine, using them is not.
    const bool copied = i == 0 && (instr.kind == Kind::kMove || instr.kind == Kind::kShuffle);
    const bool preset = kernel_->register_names[src[i].reg].empty();  // always defined
    if (copied || preset) continue;
    kernel_->checks.push_back(src[i].reg);
    ++instr.num_checks;
  }
  kernel_->code.push_back(instr);
  links_.push_back(links);
}

absl::Status EntryDecoder::EmitLane(const LaneOp& op, Operand dst, absl::Span<const Operand> src) {
  Instr instr;
  instr.lane = op.fn;
  const absl::string_view name = op.name;
  instr.kind = Kind::kLane;
  if (op.signature[0] == 'p') {
    instr.kind = Kind::kCompare;
  } else if (absl::StartsWith(name, "mov.")) {
    instr.kind = Kind::kMove;
  } else if ((absl::StartsWith(name, "div.") || absl::StartsWith(name, "rem.")) &&
             (absl::StrContains(name, ".s") || absl::StrContains(name, ".u"))) {
    instr.kind = Kind::kDivide;
  }
  Emit(instr, {dst}, src);
  return absl::OkStatus();
}

}  // namespace ptxsmith::emu

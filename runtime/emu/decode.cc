#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "codegen/status_macros.h"
#include "runtime/emu/decoder.h"

namespace ptxsmith::emu {
namespace {

// A register file beyond this is no kernel's: ptxas gives a thread 255 registers.
constexpr uint32_t kMaxRegisterBytes = 8u << 20;
constexpr uint64_t kMaxLocalBytes = 512u << 10;  // per thread, as on GPUs

}  // namespace

absl::Status EntryDecoder::Error(absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat("PTX line ", current_->line, ": ",
                                                 current_->mnemonic, ": ", what, " (entry ",
                                                 entry_.name, ")"));
}

absl::Status EntryDecoder::Unknown() const {
  return absl::UnimplementedError(absl::StrCat("PTX line ", current_->line,
                                               ": the emulator has no ", current_->mnemonic,
                                               " (entry ", entry_.name, ")"));
}

absl::Status EntryDecoder::ExpectOperands(size_t least, size_t most) const {
  const size_t n = current_->operands.size();
  if (n >= least && n <= most) return absl::OkStatus();
  return Error(absl::StrCat("has ", n, " operands, takes ", least,
                            most != least ? absl::StrCat(" to ", most) : std::string()));
}

absl::Status EntryDecoder::LayOut() {
  kernel_->name = entry_.name;
  kernel_->line = entry_.line;
  kernel_->reqntid = entry_.reqntid;
  kernel_->maxntid = entry_.maxntid;
  symbols_ = layout_.symbols;
  uint64_t offset = 0;
  for (const VariableSyntax& param : entry_.params) {
    offset = AlignUp(offset, param.alignment);
    kernel_->params.push_back(
        {param.name, static_cast<uint32_t>(offset), static_cast<uint32_t>(param.bytes)});
    symbols_[param.name] = {SpaceKind::kParam, offset};
    offset += param.bytes;
  }
  if (offset > kMaxBankBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("entry ", entry_.name, ": ", offset, " bytes of parameters"));
  }
  kernel_->param_bytes = static_cast<uint32_t>(offset);
  uint64_t shared = layout_.static_shared, local = 0;
  for (const VariableSyntax& variable : entry_.variables) {
    uint64_t& end = variable.space == SpaceKind::kShared ? shared : local;
    end = AlignUp(end, variable.alignment);
    symbols_[variable.name] = {variable.space, end};
    end += variable.bytes;
  }
  if (shared > kMaxBankBytes || local > kMaxLocalBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "entry ", entry_.name, ": ", shared, " bytes of shared and ", local, " of local memory"));
  }
  kernel_->static_shared = static_cast<uint32_t>(shared);
  uint64_t dynamic = shared;
  for (const VariableSyntax& variable : layout_.dynamic_shared) {
    dynamic = std::max(dynamic, AlignUp(shared, variable.alignment));
  }
  // All unsized arrays begin at the same place.
  kernel_->dynamic_shared_begin = static_cast<uint32_t>(dynamic);
  for (const VariableSyntax& variable : layout_.dynamic_shared) {
    symbols_[variable.name] = {SpaceKind::kShared, dynamic};
  }
  kernel_->local_bytes = static_cast<uint32_t>(AlignUp(local, 16));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<const Kernel>> EntryDecoder::Run() && {
  PTXSMITH_RETURN_IF_ERROR(LayOut());
  registers_.resize(entry_.registers.size());
  for (const LabelSyntax& label : entry_.labels) labels_[label.name] = label.target;
  PTXSMITH_RETURN_IF_ERROR(DecodeAll());
  Resolve();
  if (kernel_->register_bytes > kMaxRegisterBytes) {
    return absl::InvalidArgumentError(absl::StrCat("entry ", entry_.name, " uses ",
                                                   kernel_->register_names.size(), " registers"));
  }
  return std::unique_ptr<const Kernel>(std::move(kernel_));
}

absl::Status EntryDecoder::DecodeAll() {
  const Operand always = ConstantOperand(kFullMask, 0);
  FindAccumulators();
  for (const InstructionSyntax& instruction : entry_.instructions) {
    current_ = &instruction;
    guard_offset_ = always.offset;
    guard_reg_ = always.reg;
    guard_flip_ = 0;
    if (instruction.guarded) {
      const Operand guard = RegisterOperand(instruction.guard.reg);
      guard_offset_ = guard.offset;
      guard_reg_ = guard.reg;
      guard_flip_ = instruction.guard.negated ? kFullMask : 0;
    }
    starts_.push_back(static_cast<uint32_t>(kernel_->code.size()));
    PTXSMITH_RETURN_IF_ERROR(Decode());
  }
  // Falling off the end is an exit.
  InstructionSyntax exit;
  exit.line = entry_.instructions.empty() ? entry_.line : entry_.instructions.back().line;
  exit.mnemonic = "ret";
  current_ = &exit;
  guard_offset_ = always.offset;
  guard_reg_ = always.reg;
  guard_flip_ = 0;
  starts_.push_back(static_cast<uint32_t>(kernel_->code.size()));
  Instr instr;
  instr.kind = Kind::kExit;
  Emit(instr, {}, {});
  return absl::OkStatus();
}

void EntryDecoder::Resolve() {
  for (uint32_t at : label_fixes_) {
    Instr& instr = kernel_->code[at];
    if (instr.kind == Kind::kBranchIndexed) {
      for (int64_t i = 0; i < instr.immediate; ++i) {
        uint32_t& target = kernel_->branch_targets[links_[at].targets + i];
        target = starts_[target];
      }
    } else {
      instr.immediate = starts_[instr.immediate];
    }
  }
  FindPolling();
  for (size_t i = 0; i < kernel_->code.size(); ++i) {
    Instr& instr = kernel_->code[i];
    instr.dst = kernel_->operands.data() + links_[i].dst;
    instr.src = kernel_->operands.data() + links_[i].src;
    instr.checks = kernel_->checks.data() + links_[i].checks;
    instr.targets = kernel_->branch_targets.data() + links_[i].targets;
  }
}

// A loop around a load or an atomic that sees what other blocks store may wait for them.
void EntryDecoder::FindPolling() {
  std::vector<uint32_t> before = {0};  // polls among the first i instructions
  for (const Instr& instr : kernel_->code) {
    const bool loads = instr.kind == Kind::kLoad && instr.flag;
    const bool atomic = instr.kind == Kind::kAtomic && instr.num_dst > 0;
    const bool global = instr.space == Space::kGlobal || instr.space == Space::kGeneric;
    before.push_back(before.back() + (global && (loads || atomic) ? 1 : 0));
  }
  const auto loop = [&](size_t from, size_t to) {
    if (to <= from && before[from + 1] != before[to]) kernel_->polls = true;
  };
  for (size_t i = 0; i < kernel_->code.size(); ++i) {
    const Instr& instr = kernel_->code[i];
    if (instr.kind == Kind::kBranch) loop(i, static_cast<size_t>(instr.immediate));
    for (int64_t t = 0; instr.kind == Kind::kBranchIndexed && t < instr.immediate; ++t) {
      loop(i, kernel_->branch_targets[links_[i].targets + static_cast<size_t>(t)]);
    }
  }
}

absl::Status EntryDecoder::Decode() {
  const std::string& mnemonic = current_->mnemonic;
  const Parts parts = absl::StrSplit(mnemonic, '.');
  const absl::string_view op = parts[0];
  Instr instr;
  if (op == "wgmma") return DecodeWgmma(parts);
  const std::vector<OperandSyntax>& operands = current_->operands;
  if (std::any_of(operands.begin(), operands.end(),
                  [&](const OperandSyntax& o) { return TouchesAccumulators(o); })) {
    instr.kind = Kind::kTouchAccumulators;
    Emit(instr, {}, {});
  }
  if (op == "mov") return DecodeMov(parts);
  if (op == "setp") return DecodeSetp(parts);
  if (op == "cvt") return DecodeCvt(parts);
  if (op == "cvta") return DecodeCvta(parts);
  if (op == "ld" || op == "ldu" || op == "st") return DecodeLoadStore(parts);
  if (op == "atom" || op == "red") return DecodeAtomic(parts);
  if (op == "ldmatrix" || op == "stmatrix") return DecodeMatrixMove(parts);
  if (op == "cp") return DecodeCopyAsync(parts);
  if (op == "bra" || op == "brx") return DecodeBranch(parts);
  if (op == "bar" || op == "barrier") return DecodeBarrier(parts);
  if (op == "shfl") return DecodeShuffle(parts);
  if (op == "vote") return DecodeVote(parts);
  if (op == "match") return DecodeMatch(parts);
  if (op == "redux") return DecodeRedux(parts);
  if (op == "elect") return DecodeElect(parts);
  if (op == "mma") return DecodeMma(parts);
  if (mnemonic == "ret" || mnemonic == "exit" || mnemonic == "ret.uni" || mnemonic == "exit.uni") {
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(0, 0));
    instr.kind = Kind::kExit;
    Emit(instr, {}, {});
    return absl::OkStatus();
  }
  if (mnemonic == "trap" || mnemonic == "brkpt") {
    instr.kind = Kind::kTrap;
    Emit(instr, {}, {});
    return absl::OkStatus();
  }
  if (op == "membar" || op == "fence") return DecodeFence(parts);
  if (op == "mbarrier") return DecodeMbarrier(parts);
  if (op == "createpolicy") return DecodeCreatePolicy(parts);
  if (mnemonic == "griddepcontrol.wait") {
    instr.kind = Kind::kGridWait;
    Emit(instr, {}, {});
    return absl::OkStatus();
  }
  // Hints: nothing to see on this machine. Their operands are still checked to be declared.
  if (op == "prefetch" || op == "prefetchu" || op == "nanosleep" || op == "applypriority" ||
      op == "discard" || mnemonic == "griddepcontrol.launch_dependents") {
    Emit(instr, {}, {});
    return absl::OkStatus();
  }
  if (op == "setmaxnreg") return DecodeSetMaxRegisters();
  if (op == "mapa") return DecodeMapa();
  if (mnemonic == "activemask.b32") {
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(1, 1));
    PTXSMITH_ASSIGN_OR_RETURN(Operand dst, Destination(current_->operands[0], 'w'));
    instr.kind = Kind::kActiveMask;
    Emit(instr, {dst}, {});
    return absl::OkStatus();
  }
  const auto it = ops_.find(mnemonic);
  if (it == ops_.end()) return Unknown();
  return DecodeTableOp(*it->second);
}

// setmaxnreg.inc.sync.aligned.u32 count: registers are plenty here.
absl::Status EntryDecoder::DecodeSetMaxRegisters() {
  const std::string& mnemonic = current_->mnemonic;
  if (mnemonic != "setmaxnreg.inc.sync.aligned.u32" &&
      mnemonic != "setmaxnreg.dec.sync.aligned.u32") {
    return Unknown();
  }
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(1, 1));
  PTXSMITH_ASSIGN_OR_RETURN(const uint64_t count,
                            ConstantInteger(current_->operands[0], "the number of registers"));
  if (count < 24 || count > 256 || count % 8 != 0) {
    return Error(absl::StrCat(count, " registers are no multiple of 8 from 24 to 256"));
  }
  Emit(Instr(), {}, {});
  return absl::OkStatus();
}

// mapa[.shared::cluster].u32|u64 d, a, 0: every block is a cluster of its own.
absl::Status EntryDecoder::DecodeMapa() {
  const std::string& mnemonic = current_->mnemonic;
  const bool wide = absl::EndsWith(mnemonic, ".u64");
  if (mnemonic != absl::StrCat("mapa.shared::cluster.", wide ? "u64" : "u32") &&
      mnemonic != "mapa.u64") {
    return Unknown();
  }
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(3, 3));
  PTXSMITH_ASSIGN_OR_RETURN(const uint64_t rank,
                            ConstantInteger(current_->operands[2], "the rank of the block"));
  if (rank != 0) return Error("clusters of several blocks are not emulated");
  PTXSMITH_ASSIGN_OR_RETURN(Operand source, Source(current_->operands[1], wide ? 'd' : 'w'));
  PTXSMITH_ASSIGN_OR_RETURN(Operand dst, Destination(current_->operands[0], wide ? 'd' : 'w'));
  return EmitLane(*ops_.at(wide ? "mov.b64" : "mov.b32"), dst, {source});
}

absl::Status EntryDecoder::DecodeTableOp(const LaneOp& op) {
  const absl::string_view signature = op.signature;
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(signature.size(), signature.size()));
  std::vector<Operand> sources;
  for (size_t i = 1; i < signature.size(); ++i) {
    PTXSMITH_ASSIGN_OR_RETURN(Operand source, Source(current_->operands[i], signature[i]));
    sources.push_back(source);
  }
  PTXSMITH_ASSIGN_OR_RETURN(Operand dst, Destination(current_->operands[0], signature[0]));
  return EmitLane(op, dst, sources);
}

absl::Status EntryDecoder::DecodeMov(const Parts& parts) {
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(2, 2));
  const OperandSyntax& dst = current_->operands[0];
  const OperandSyntax& src = current_->operands[1];
  const int bits = parts.size() == 2 ? MemoryTypeOf(parts[1]).bits : 0;
  if (dst.kind == OperandSyntax::kVector || src.kind == OperandSyntax::kVector) {
    return DecodeVectorMov(dst, src, bits);
  }
  if (src.kind == OperandSyntax::kSpecial &&
      (absl::StartsWith(src.text, "%clock") || absl::StartsWith(src.text, "%globaltimer"))) {
    PTXSMITH_ASSIGN_OR_RETURN(Operand to, Destination(dst, bits == 64 ? 'd' : 'w'));
    Instr instr;
    instr.kind = Kind::kClock;
    Emit(instr, {to}, {});
    return absl::OkStatus();
  }
  const auto it = ops_.find(current_->mnemonic);
  if (it == ops_.end()) return Unknown();
  return DecodeTableOp(*it->second);
}

absl::Status EntryDecoder::DecodeVectorMov(const OperandSyntax& dst, const OperandSyntax& src,
                                           int bits) {
  const OperandSyntax& vector = dst.kind == OperandSyntax::kVector ? dst : src;
  const size_t count = vector.parts.size();
  const bool packs = &vector == &src;
  if ((bits != 32 && bits != 64) || (packs && dst.kind == OperandSyntax::kVector) ||
      !(count == 2 || (count == 4 && bits == 64))) {
    return Unknown();
  }
  const char whole = bits == 64 ? 'd' : 'w';
  const char part = bits / count == 16 ? 'h' : 'w';
  if (packs) {
    std::vector<Operand> sources;
    for (const OperandSyntax& p : src.parts) {
      PTXSMITH_ASSIGN_OR_RETURN(Operand source, Source(p, part));
      sources.push_back(source);
    }
    PTXSMITH_ASSIGN_OR_RETURN(Operand to, Destination(dst, whole));
    return EmitLane(*ops_.at(absl::StrCat("pack.", std::string(count, part))), to, sources);
  }
  PTXSMITH_ASSIGN_OR_RETURN(Operand from, Source(src, whole));
  for (size_t i = 0; i < count; ++i) {
    if (dst.parts[i].kind == OperandSyntax::kSink) continue;
    PTXSMITH_ASSIGN_OR_RETURN(Operand to, Destination(dst.parts[i], part));
    const std::string name =
        absl::StrCat("part.", std::string(1, part), i, ".", std::string(1, whole));
    PTXSMITH_RETURN_IF_ERROR(EmitLane(*ops_.at(name), to, {from}));
  }
  return absl::OkStatus();
}

// setp.CMP[.BOOL][.ftz].TYPE p[|q], a, b[, [!]c]
absl::Status EntryDecoder::DecodeSetp(const Parts& parts) {
  Combine combine = Combine::kNone;
  std::string name;
  for (absl::string_view part : parts) {
    if (part == "and") {
      combine = Combine::kAnd;
    } else if (part == "or") {
      combine = Combine::kOr;
    } else if (part == "xor") {
      combine = Combine::kXor;
    } else {
      absl::StrAppend(&name, name.empty() ? "" : ".", part);
    }
  }
  const auto it = ops_.find(name);
  if (it == ops_.end()) return Unknown();
  const size_t operands = combine == Combine::kNone ? 3 : 4;
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(operands, operands));
  const LaneOp& op = *it->second;
  std::vector<Operand> sources;
  for (size_t i = 1; i < operands; ++i) {
    PTXSMITH_ASSIGN_OR_RETURN(Operand source,
                              Source(current_->operands[i], i < 3 ? op.signature[i] : 'p'));
    sources.push_back(source);
  }
  std::vector<Operand> destinations;
  const OperandSyntax& dst = current_->operands[0];
  const std::vector<OperandSyntax> both =
      dst.kind == OperandSyntax::kPair ? dst.parts : std::vector<OperandSyntax>{dst};
  for (const OperandSyntax& d : both) {
    PTXSMITH_ASSIGN_OR_RETURN(Operand p, Destination(d, 'p'));
    destinations.push_back(p);
  }
  Instr instr;
  instr.kind = Kind::kCompare;
  instr.mode = static_cast<uint8_t>(combine);
  instr.lane = op.fn;
  Emit(instr, destinations, sources);
  return absl::OkStatus();
}

// cvta.SPACE.u64 and cvta.to.SPACE.u64: the generic windows of machine.h.
absl::Status EntryDecoder::DecodeCvta(const Parts& parts) {
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(2, 2));
  const bool to = parts.size() == 4 && parts[1] == "to";
  if ((parts.size() != 3 && !to) || parts.back() != "u64") return Unknown();
  const absl::string_view space = to ? parts[2] : parts[1];
  PTXSMITH_ASSIGN_OR_RETURN(Operand source, Source(current_->operands[1], 'd'));
  PTXSMITH_ASSIGN_OR_RETURN(Operand dst, Destination(current_->operands[0], 'd'));
  uint64_t window = 0;
  if (absl::StartsWith(space, "shared")) {
    window = kSharedWindow;
  } else if (space == "local") {
    window = kLocalWindow;
  } else if (space == "const") {
    window = kConstWindow;
  } else if (space != "global") {
    return Unknown();
  }
  if (window == 0) return EmitLane(*ops_.at("mov.b64"), dst, {source});
  return EmitLane(*ops_.at(to ? "sub.u64" : "add.u64"), dst, {source, ConstantOperand(window, 8)});
}

absl::Status EntryDecoder::DecodeBranch(const Parts& parts) {
  const bool indexed = parts[0] == "brx";
  const auto target = [&](absl::string_view label) -> absl::StatusOr<uint32_t> {
    const auto it = labels_.find(label);
    if (it == labels_.end()) return Error("the target is not a label of code");
    return it->second;
  };
  Instr instr;
  if (!indexed) {
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(1, 1));
    PTXSMITH_ASSIGN_OR_RETURN(uint32_t at, target(current_->operands[0].text));
    instr.kind = Kind::kBranch;
    instr.immediate = at;
    Emit(instr, {}, {});
    label_fixes_.push_back(static_cast<uint32_t>(kernel_->code.size()) - 1);
    return absl::OkStatus();
  }
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(2, 2));
  PTXSMITH_ASSIGN_OR_RETURN(Operand index, Source(current_->operands[0], 'w'));
  const auto first = static_cast<uint32_t>(kernel_->branch_targets.size());
  for (const BranchTargetsSyntax& list : entry_.branch_targets) {
    if (list.name != current_->operands[1].text) continue;
    for (const std::string& label : list.labels) {
      PTXSMITH_ASSIGN_OR_RETURN(uint32_t at, target(label));
      kernel_->branch_targets.push_back(at);
    }
    instr.kind = Kind::kBranchIndexed;
    instr.immediate = static_cast<int64_t>(list.labels.size());
    Emit(instr, {}, {index});
    links_.back().targets = first;
    label_fixes_.push_back(static_cast<uint32_t>(kernel_->code.size()) - 1);
    return absl::OkStatus();
  }
  return Error("no such .branchtargets");
}

// bar.sync a[, b], barrier[.cta].sync[.aligned] a[, b], the same with .arrive a, b;
// bar.warp.sync mask
absl::Status EntryDecoder::DecodeBarrier(const Parts& parts) {
  Instr instr;
  if (current_->mnemonic == "bar.warp.sync") {
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(1, 1));
    PTXSMITH_ASSIGN_OR_RETURN(Operand mask, Source(current_->operands[0], 'w'));
    instr.kind = Kind::kWarpSync;
    Emit(instr, {}, {mask});
    return absl::OkStatus();
  }
  std::string plain = current_->mnemonic;
  if (parts.size() > 1 && parts[1] == "cta") plain.erase(plain.find(".cta"), 4);
  const bool unaligned = plain == "barrier.sync" || plain == "barrier.arrive";
  const bool arrive = absl::StrContains(plain, ".arrive");
  if (plain != "bar.sync" && plain != "bar.arrive" && plain != "barrier.sync.aligned" &&
      plain != "barrier.arrive.aligned" && !unaligned) {
    return Unknown();
  }
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(arrive ? 2 : 1, 2));
  std::vector<Operand> sources;
  for (const OperandSyntax& operand : current_->operands) {
    PTXSMITH_ASSIGN_OR_RETURN(Operand source, Source(operand, 'w'));
    sources.push_back(source);
  }
  instr.kind = Kind::kBarrier;
  instr.flag = !unaligned;
  instr.mode = static_cast<uint8_t>(arrive ? BarrierMode::kArrive : BarrierMode::kSync);
  Emit(instr, {}, sources);
  return absl::OkStatus();
}

}  // namespace ptxsmith::emu

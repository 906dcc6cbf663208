// Turns the syntax tree of one kernel into code for the machine. Internal to the emulator: used by
// decode*.cc, one file per family of instructions.
//
//   EntryDecoder decoder(module_layout, entry, ops, *backend);
//   PTXSMITH_ASSIGN_OR_RETURN(std::unique_ptr<const Kernel> kernel, std::move(decoder).Run());
//
// Used once, by one thread.
#ifndef PTXSMITH_RUNTIME_EMU_DECODER_H_
#define PTXSMITH_RUNTIME_EMU_DECODER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/emu/program.h"
#include "runtime/emu/syntax.h"

namespace ptxsmith::emu {

// Banks of constants, parameters and static shared memory beyond this are no GPU's.
constexpr uint64_t kMaxBankBytes = 64u << 20;

// REQUIRES: `alignment` is a power of two.
constexpr uint64_t AlignUp(uint64_t value, uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

// Where a name lives and its offset in that space (globals: the index of the variable).
struct Symbol {
  SpaceKind space = SpaceKind::kGlobal;
  uint64_t offset = 0;
};
using SymbolTable = absl::flat_hash_map<std::string, Symbol>;

// What all kernels of a module share.
struct ModuleLayout {
  SymbolTable symbols;
  uint32_t static_shared = 0;
  std::vector<VariableSyntax> dynamic_shared;
};

using OpMap = absl::flat_hash_map<absl::string_view, const LaneOp*>;

class EntryDecoder {
 public:
  EntryDecoder(const ModuleLayout& layout, const EntrySyntax& entry, const OpMap& ops,
               const Backend& backend)
      : layout_(layout), entry_(entry), ops_(ops), backend_(backend) {}

  absl::StatusOr<std::unique_ptr<const Kernel>> Run() &&;

 private:
  using Parts = std::vector<absl::string_view>;  // of a mnemonic, split at dots

  // What an instruction points at while the pools still grow.
  struct Links {
    uint32_t dst = 0, src = 0, checks = 0, targets = 0;
  };

  // decode.cc: frame
  absl::Status LayOut();
  absl::Status DecodeAll();
  absl::Status Decode();
  void Resolve();
  void FindPolling();
  absl::Status Error(absl::string_view what) const;
  absl::Status Unknown() const;
  absl::Status ExpectOperands(size_t least, size_t most) const;

  // operands.cc
  Operand NewRegister(uint8_t bits, absl::string_view name);
  Operand RegisterOperand(uint32_t index);
  Operand ConstantOperand(uint64_t value, uint8_t bytes);
  absl::StatusOr<Operand> SpecialOperand(absl::string_view name);
  // `code` is that of a LaneOp signature. Destination accepts the sink.
  absl::StatusOr<Operand> Source(const OperandSyntax& operand, char code);
  absl::StatusOr<Operand> Destination(const OperandSyntax& operand, char code);
  // A register at least `bits` wide, for memory instructions.
  absl::StatusOr<Operand> WideDestination(const OperandSyntax& operand, int bits);
  absl::StatusOr<Operand> WideSource(const OperandSyntax& operand, int bits);
  absl::StatusOr<std::vector<Operand>> RegisterList(const OperandSyntax& operand, size_t count,
                                                    bool destination);
  absl::StatusOr<Operand> Address(const OperandSyntax& operand, Space space, int64_t& offset);
  absl::StatusOr<uint64_t> ConstantInteger(const OperandSyntax& operand, absl::string_view what);
  // Appends an instruction under the guard of the current one. All sources but those of a move must
  // be defined.
  // Sees to it that operand `index`, a hint, is at least defined when the instruction runs.
  absl::Status UseOperand(size_t index, char code);
  void Emit(Instr instr, absl::Span<const Operand> dst, absl::Span<const Operand> src);
  absl::Status EmitLane(const LaneOp& op, Operand dst, absl::Span<const Operand> src);

  // decode.cc and decode_*.cc: families. Each is given the parts of the mnemonic.
  absl::Status DecodeTableOp(const LaneOp& op);
  absl::Status DecodeMov(const Parts& parts);
  absl::Status DecodeVectorMov(const OperandSyntax& dst, const OperandSyntax& src, int bits);
  absl::Status DecodeSetp(const Parts& parts);
  absl::Status DecodeCvt(const Parts& parts);
  absl::Status DecodeCvta(const Parts& parts);
  absl::Status DecodeBranch(const Parts& parts);
  absl::Status DecodeBarrier(const Parts& parts);
  absl::Status DecodeSetMaxRegisters();
  absl::Status DecodeMapa();

  absl::Status DecodeLoadStore(const Parts& parts);
  absl::Status DecodeAtomic(const Parts& parts);
  absl::Status DecodeMatrixMove(const Parts& parts);

  absl::Status DecodeCopyAsync(const Parts& parts);
  absl::Status DecodeAsyncGroups(const Parts& parts, bool bulk);
  absl::Status DecodeCopyBulk(const Parts& parts);
  absl::Status DecodeArriveAsync(const Parts& parts);
  absl::Status DecodeMbarrier(const Parts& parts);
  absl::Status DecodeFence(const Parts& parts);
  absl::Status DecodeCreatePolicy(const Parts& parts);

  absl::Status DecodeShuffle(const Parts& parts);
  absl::Status DecodeVote(const Parts& parts);
  absl::Status DecodeMatch(const Parts& parts);
  absl::Status DecodeRedux(const Parts& parts);
  absl::Status DecodeElect(const Parts& parts);
  absl::Status DecodeMma(const Parts& parts);
  // decode_wgmma.cc
  void FindAccumulators();
  bool TouchesAccumulators(const OperandSyntax& operand) const;
  absl::Status DecodeWgmma(const Parts& parts);
  absl::Status DecodeWgmmaMultiply(const Parts& parts);

  void NoteAccess(Space space, uint32_t bytes);

  const ModuleLayout& layout_;
  const EntrySyntax& entry_;
  const OpMap& ops_;
  const Backend& backend_;
  std::unique_ptr<Kernel> kernel_ = std::make_unique<Kernel>();
  SymbolTable symbols_;  // of this entry
  std::vector<std::optional<Operand>> registers_;
  std::vector<bool> accumulators_;  // registers of wgmma.mma_async; empty without one
  absl::flat_hash_map<std::string, Operand> specials_;
  absl::flat_hash_map<std::string, Operand> constants_;
  absl::flat_hash_map<std::string, uint32_t> labels_;  // -> index of an instruction of the text
  std::vector<uint32_t> starts_;                       // text instruction -> code index
  std::vector<Links> links_;
  std::vector<uint32_t> label_fixes_;  // code indices whose immediate is a text index
  const InstructionSyntax* current_ = nullptr;
  uint32_t guard_offset_ = 0, guard_reg_ = 0, guard_flip_ = 0;
};

// The element of memory and the width in bits of a type such as "f16"; 0 bits when unknown.
struct MemoryType {
  Element element = Element::kB32;
  int bits = 0;
};
MemoryType MemoryTypeOf(absl::string_view type);
// Names of state spaces; false: `part` is none.
bool ParseSpace(absl::string_view part, Space& space);
// Qualifiers that change nothing a program can see here: memory order is sequential, caches and
// levels do not exist.
bool IsHint(absl::string_view part);

}  // namespace ptxsmith::emu

#endif  // PTXSMITH_RUNTIME_EMU_DECODER_H_

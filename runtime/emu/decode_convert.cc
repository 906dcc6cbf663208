// Decoding of cvt.
#include <algorithm>
#include <utility>

#include "codegen/status_macros.h"
#include "runtime/emu/convert.h"
#include "runtime/emu/decoder.h"

namespace ptxsmith::emu {

absl::Status EntryDecoder::DecodeCvt(const Parts& parts) {
  // The common pairs have a vectorised row; it wants registers of exactly its types.
  if (const auto it = ops_.find(current_->mnemonic); it != ops_.end()) {
    const absl::string_view signature = it->second->signature;
    bool exact = current_->operands.size() == signature.size();
    for (size_t i = 0; exact && i < signature.size(); ++i) {
      const OperandSyntax& operand = current_->operands[i];
      const int bits = signature[i] == 'h' ? 16 : signature[i] == 'd' ? 64 : 32;
      exact =
          operand.kind != OperandSyntax::kRegister || entry_.registers[operand.reg].bits == bits;
    }
    if (exact) return DecodeTableOp(*it->second);
  }
  struct Name {
    absl::string_view name;
    NumberType type;
    bool pair;
  };
  static constexpr Name kNames[] = {
      {"u8", NumberType::kU8, false},      {"s8", NumberType::kS8, false},
      {"u16", NumberType::kU16, false},    {"s16", NumberType::kS16, false},
      {"u32", NumberType::kU32, false},    {"s32", NumberType::kS32, false},
      {"u64", NumberType::kU64, false},    {"s64", NumberType::kS64, false},
      {"f16", NumberType::kF16, false},    {"bf16", NumberType::kBF16, false},
      {"f32", NumberType::kF32, false},    {"f64", NumberType::kF64, false},
      {"f16x2", NumberType::kF16, true},   {"bf16x2", NumberType::kBF16, true},
      {"e4m3x2", NumberType::kE4M3, true}, {"e5m2x2", NumberType::kE5M2, true}};
  if (parts.size() < 3) return Unknown();
  const Name* to = nullptr;
  const Name* from = nullptr;
  for (const Name& name : kNames) {
    if (name.name == parts[parts.size() - 2]) to = &name;
    if (name.name == parts.back()) from = &name;
  }
  if (to == nullptr || from == nullptr) return Unknown();
  Conversion how;
  how.to = to->type;
  how.from = from->type;
  bool rounds = false;
  for (size_t i = 1; i + 2 < parts.size(); ++i) {
    const absl::string_view part = parts[i];
    static constexpr std::pair<absl::string_view, Rounding> kRoundings[] = {
        {"rn", Rounding::kNearestEven}, {"rna", Rounding::kNearestAway},
        {"rz", Rounding::kZero},        {"rp", Rounding::kUp},
        {"rm", Rounding::kDown},        {"rni", Rounding::kNearestEven},
        {"rzi", Rounding::kZero},       {"rpi", Rounding::kUp},
        {"rmi", Rounding::kDown}};
    const auto* rounding = std::find_if(std::begin(kRoundings), std::end(kRoundings),
                                        [&](const auto& r) { return r.first == part; });
    if (rounding != std::end(kRoundings)) {
      how.rounding = rounding->second;
      how.integral = part.back() == 'i';
      rounds = true;
    } else if (part == "ftz") {
      how.ftz = true;
    } else if (part == "sat") {
      how.saturate = true;
    } else if (part == "satfinite") {
      how.finite = true;
    } else if (part == "relu") {
      how.relu = true;
    } else {
      return Unknown();
    }
  }
  const bool narrows = IsFloat(how.to) != IsFloat(how.from) ||
                       (IsFloat(how.to) && BitWidth(how.to) < BitWidth(how.from));
  if (narrows && !rounds) return Error("needs a rounding modifier");
  how.unpack = to->pair && from->pair;
  how.pair = to->pair && !from->pair;
  if (from->pair && !to->pair) return Unknown();
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(how.pair ? 3 : 2, how.pair ? 3 : 2));
  const int to_bits = BitWidth(how.to) * (to->pair ? 2 : 1);
  const int from_bits = BitWidth(how.from) * (from->pair ? 2 : 1);
  PTXSMITH_ASSIGN_OR_RETURN(Operand a, WideSource(current_->operands[1], from_bits));
  Operand b = a;
  if (how.pair) {
    PTXSMITH_ASSIGN_OR_RETURN(b, WideSource(current_->operands[2], from_bits));
  }
  PTXSMITH_ASSIGN_OR_RETURN(Operand dst, WideDestination(current_->operands[0], to_bits));
  if (a.bytes != b.bytes) return Error("sources of different width");
  how.source_bytes = a.bytes;
  how.register_bits = dst.bits;
  Instr instr;
  instr.kind = Kind::kLane;
  instr.lane = dst.bytes == 8 ? backend_.convert64 : backend_.convert32;
  Emit(instr, {dst}, {a, b, ConstantOperand(PackConversion(how), 4)});
  return absl::OkStatus();
}

}  // namespace ptxsmith::emu

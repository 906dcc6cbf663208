// Decoding of exchanges between the lanes of a warp and of matrix multiplication.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "runtime/emu/decoder.h"

namespace ptxsmith::emu {
namespace {

// The index of `name` in `names`, which is the value of the enum it spells; -1 if absent.
template <size_t N>
int IndexOf(absl::string_view name, const absl::string_view (&names)[N]) {
  const auto* it = std::find(std::begin(names), std::end(names), name);
  return it == std::end(names) ? -1 : static_cast<int>(it - std::begin(names));
}

std::vector<OperandSyntax> PairOf(const OperandSyntax& operand) {
  return operand.kind == OperandSyntax::kPair ? operand.parts : std::vector<OperandSyntax>{operand};
}

}  // namespace

// shfl.sync.MODE.b32 d[|p], a, b, c, mask
absl::Status EntryDecoder::DecodeShuffle(const Parts& parts) {
  static constexpr absl::string_view kModes[] = {"up", "down", "bfly", "idx"};
  const int mode = parts.size() == 4 ? IndexOf(parts[2], kModes) : -1;
  if (mode < 0 || parts[1] != "sync" || parts[3] != "b32") return Unknown();
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(5, 5));
  Instr instr;
  instr.kind = Kind::kShuffle;
  instr.mode = static_cast<uint8_t>(mode);
  std::vector<Operand> dst, src;
  for (size_t i = 1; i < 5; ++i) {
    PTXSMITH_ASSIGN_OR_RETURN(Operand source, Source(current_->operands[i], 'w'));
    src.push_back(source);
  }
  for (const OperandSyntax& d : PairOf(current_->operands[0])) {
    PTXSMITH_ASSIGN_OR_RETURN(Operand to, Destination(d, dst.empty() ? 'w' : 'p'));
    dst.push_back(to);
  }
  Emit(instr, dst, src);
  return absl::OkStatus();
}

// vote.sync.MODE.pred p, [!]a, mask; vote.sync.ballot.b32 d, [!]a, mask
absl::Status EntryDecoder::DecodeVote(const Parts& parts) {
  static constexpr absl::string_view kModes[] = {"all", "any", "uni", "ballot"};
  const int mode = parts.size() == 4 ? IndexOf(parts[2], kModes) : -1;
  const bool ballot = mode == static_cast<int>(VoteMode::kBallot);
  if (mode < 0 || parts[1] != "sync" || parts[3] != (ballot ? "b32" : "pred")) return Unknown();
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(3, 3));
  PTXSMITH_ASSIGN_OR_RETURN(Operand value, Source(current_->operands[1], 'p'));
  PTXSMITH_ASSIGN_OR_RETURN(Operand mask, Source(current_->operands[2], 'w'));
  PTXSMITH_ASSIGN_OR_RETURN(Operand dst, Destination(current_->operands[0], ballot ? 'w' : 'p'));
  Instr instr;
  instr.kind = Kind::kVote;
  instr.mode = static_cast<uint8_t>(mode);
  Emit(instr, {dst}, {value, mask});
  return absl::OkStatus();
}

// match.any.sync.TYPE d, a, mask; match.all.sync.TYPE d[|p], a, mask
absl::Status EntryDecoder::DecodeMatch(const Parts& parts) {
  static constexpr absl::string_view kModes[] = {"any", "all"};
  const int mode = parts.size() == 4 ? IndexOf(parts[1], kModes) : -1;
  if (mode < 0 || parts[2] != "sync" || (parts[3] != "b32" && parts[3] != "b64")) return Unknown();
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(3, 3));
  PTXSMITH_ASSIGN_OR_RETURN(Operand value,
                            Source(current_->operands[1], parts[3] == "b64" ? 'd' : 'w'));
  PTXSMITH_ASSIGN_OR_RETURN(Operand mask, Source(current_->operands[2], 'w'));
  std::vector<Operand> dst;
  for (const OperandSyntax& d : PairOf(current_->operands[0])) {
    PTXSMITH_ASSIGN_OR_RETURN(Operand to, Destination(d, dst.empty() ? 'w' : 'p'));
    dst.push_back(to);
  }
  Instr instr;
  instr.kind = Kind::kMatch;
  instr.mode = static_cast<uint8_t>(mode);
  Emit(instr, dst, {value, mask});
  return absl::OkStatus();
}

// redux.sync.OP.TYPE d, a, mask
absl::Status EntryDecoder::DecodeRedux(const Parts& parts) {
  static constexpr absl::string_view kModes[] = {"add.u32", "add.s32", "min.u32",
                                                 "min.s32", "max.u32", "max.s32",
                                                 "and.b32", "or.b32",  "xor.b32"};
  if (parts.size() != 4 || parts[1] != "sync") return Unknown();
  const int mode = IndexOf(absl::StrCat(parts[2], ".", parts[3]), kModes);
  if (mode < 0) return Unknown();
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(3, 3));
  PTXSMITH_ASSIGN_OR_RETURN(Operand value, Source(current_->operands[1], 'w'));
  PTXSMITH_ASSIGN_OR_RETURN(Operand mask, Source(current_->operands[2], 'w'));
  PTXSMITH_ASSIGN_OR_RETURN(Operand dst, Destination(current_->operands[0], 'w'));
  Instr instr;
  instr.kind = Kind::kRedux;
  instr.mode = static_cast<uint8_t>(mode);
  Emit(instr, {dst}, {value, mask});
  return absl::OkStatus();
}

// elect.sync d|p, mask
absl::Status EntryDecoder::DecodeElect(const Parts& parts) {
  if (parts.size() != 2 || parts[1] != "sync") return Unknown();
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(2, 2));
  const std::vector<OperandSyntax> pair = PairOf(current_->operands[0]);
  if (pair.size() != 2) return Error("needs two destinations d|p");
  PTXSMITH_ASSIGN_OR_RETURN(Operand mask, Source(current_->operands[1], 'w'));
  PTXSMITH_ASSIGN_OR_RETURN(Operand leader, Destination(pair[0], 'w'));
  PTXSMITH_ASSIGN_OR_RETURN(Operand elected, Destination(pair[1], 'p'));
  Instr instr;
  instr.kind = Kind::kElect;
  Emit(instr, {leader, elected}, {mask});
  return absl::OkStatus();
}

// mma.sync.aligned.SHAPE.row.col[.satfinite].D.A.B.C d, a, b, c
absl::Status EntryDecoder::DecodeMma(const Parts& parts) {
  struct Form {
    absl::string_view shape, d, a, b;  // C has the type of D
    MmaShape how;
    uint8_t d_registers, a_registers, b_registers;
    MmaType a_type, b_type;
  };
  static constexpr Form kForms[] = {
      {"m16n8k8", "f32", "f16", "f16", MmaShape::kM16N8K8, 4, 2, 1, MmaType::kF16, MmaType::kF16},
      {"m16n8k8", "f16", "f16", "f16", MmaShape::kM16N8K8, 2, 2, 1, MmaType::kF16, MmaType::kF16},
      {"m16n8k8", "f32", "bf16", "bf16", MmaShape::kM16N8K8, 4, 2, 1, MmaType::kBF16,
       MmaType::kBF16},
      {"m16n8k8", "f32", "tf32", "tf32", MmaShape::kM16N8K8, 4, 4, 2, MmaType::kTF32,
       MmaType::kTF32},
      {"m16n8k16", "f32", "f16", "f16", MmaShape::kM16N8K16, 4, 4, 2, MmaType::kF16, MmaType::kF16},
      {"m16n8k16", "f16", "f16", "f16", MmaShape::kM16N8K16, 2, 4, 2, MmaType::kF16, MmaType::kF16},
      {"m16n8k16", "f32", "bf16", "bf16", MmaShape::kM16N8K16, 4, 4, 2, MmaType::kBF16,
       MmaType::kBF16},
      {"m16n8k16", "s32", "s8", "s8", MmaShape::kM16N8K16, 4, 2, 1, MmaType::kS8, MmaType::kS8},
      {"m16n8k16", "s32", "u8", "u8", MmaShape::kM16N8K16, 4, 2, 1, MmaType::kU8, MmaType::kU8},
      {"m16n8k16", "s32", "s8", "u8", MmaShape::kM16N8K16, 4, 2, 1, MmaType::kS8, MmaType::kU8},
      {"m16n8k16", "s32", "u8", "s8", MmaShape::kM16N8K16, 4, 2, 1, MmaType::kU8, MmaType::kS8},
      {"m16n8k32", "s32", "s8", "s8", MmaShape::kM16N8K32, 4, 4, 2, MmaType::kS8, MmaType::kS8},
      {"m16n8k32", "s32", "u8", "u8", MmaShape::kM16N8K32, 4, 4, 2, MmaType::kU8, MmaType::kU8},
      {"m16n8k32", "s32", "s8", "u8", MmaShape::kM16N8K32, 4, 4, 2, MmaType::kS8, MmaType::kU8},
      {"m16n8k32", "s32", "u8", "s8", MmaShape::kM16N8K32, 4, 4, 2, MmaType::kU8, MmaType::kS8},
  };
  Parts plain = parts;
  const auto saturates = std::find(plain.begin(), plain.end(), "satfinite");
  const bool saturate = saturates != plain.end();
  if (saturate) plain.erase(saturates);
  if (plain.size() != 10 || plain[1] != "sync" || plain[2] != "aligned" || plain[4] != "row" ||
      plain[5] != "col") {
    return Unknown();
  }
  for (const Form& form : kForms) {
    if (form.shape != plain[3] || form.d != plain[6] || form.a != plain[7] || form.b != plain[8] ||
        form.d != plain[9]) {
      continue;
    }
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(4, 4));
    PTXSMITH_ASSIGN_OR_RETURN(std::vector<Operand> src,
                              RegisterList(current_->operands[1], form.a_registers, false));
    PTXSMITH_ASSIGN_OR_RETURN(std::vector<Operand> b,
                              RegisterList(current_->operands[2], form.b_registers, false));
    PTXSMITH_ASSIGN_OR_RETURN(std::vector<Operand> c,
                              RegisterList(current_->operands[3], form.d_registers, false));
    PTXSMITH_ASSIGN_OR_RETURN(std::vector<Operand> dst,
                              RegisterList(current_->operands[0], form.d_registers, true));
    src.insert(src.end(), b.begin(), b.end());
    src.insert(src.end(), c.begin(), c.end());
    Instr instr;
    instr.kind = Kind::kMma;
    instr.mode = static_cast<uint8_t>(form.how);
    instr.mode2 =
        static_cast<uint8_t>(static_cast<int>(form.a_type) | static_cast<int>(form.b_type) << 4);
    instr.flag = form.d == "f16" || saturate;
    Emit(instr, dst, src);
    return absl::OkStatus();
  }
  return Unknown();
}

}  // namespace ptxsmith::emu

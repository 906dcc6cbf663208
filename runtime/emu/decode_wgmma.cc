// Decoding of the products of warp groups.
#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "codegen/status_macros.h"
#include "runtime/emu/decoder.h"

namespace ptxsmith::emu {
namespace {

constexpr uint32_t kMaxColumns = 256;
constexpr size_t kRegistersOfA = 4;

}  // namespace

// Between a use of one of these registers and the next product there must be a fence.
void EntryDecoder::FindAccumulators() {
  for (const InstructionSyntax& instruction : entry_.instructions) {
    if (instruction.mnemonic.rfind("wgmma.mma_async", 0) != 0) continue;
    accumulators_.resize(entry_.registers.size());
    // The accumulators and, where they are registers, A.
    for (size_t i = 0; i < std::min<size_t>(2, instruction.operands.size()); ++i) {
      for (const OperandSyntax& part : instruction.operands[i].parts) {
        if (part.kind == OperandSyntax::kRegister) accumulators_[part.reg] = true;
      }
    }
  }
}

bool EntryDecoder::TouchesAccumulators(const OperandSyntax& operand) const {
  if (accumulators_.empty()) return false;
  if (operand.kind == OperandSyntax::kRegister) return accumulators_[operand.reg];
  return std::any_of(operand.parts.begin(), operand.parts.end(),
                     [&](const OperandSyntax& part) { return TouchesAccumulators(part); });
}

// wgmma.{fence,commit_group}.sync.aligned; wgmma.wait_group.sync.aligned pending
absl::Status EntryDecoder::DecodeWgmma(const Parts& parts) {
  if (parts.size() < 4 || parts[2] != "sync" || parts[3] != "aligned") return Unknown();
  if (parts[1] == "mma_async") return DecodeWgmmaMultiply(parts);
  if (parts.size() != 4) return Unknown();
  Instr instr;
  instr.kind = Kind::kWgmma;
  WgmmaOp op = WgmmaOp::kFence;
  if (parts[1] == "wait_group") {
    op = WgmmaOp::kWait;
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(1, 1));
    PTXSMITH_ASSIGN_OR_RETURN(const uint64_t pending,
                              ConstantInteger(current_->operands[0], "the number of groups"));
    instr.immediate = static_cast<int64_t>(std::min<uint64_t>(pending, 0x7fffffff));
  } else {
    if (parts[1] == "commit_group") {
      op = WgmmaOp::kCommit;
    } else if (parts[1] != "fence") {
      return Unknown();
    }
    PTXSMITH_RETURN_IF_ERROR(ExpectOperands(0, 0));
  }
  instr.mode = static_cast<uint8_t>(op);
  Emit(instr, {}, {});
  return absl::OkStatus();
}

// wgmma.mma_async.sync.aligned.m64nNkK.f32.T.T {d...}, a, b, add, 1|-1, 1|-1[, 0[, 0]]: a and b are
// descriptors, a or four registers. The last ones, of 16-bit types, would transpose A, unless it is
// in registers, and B.
absl::Status EntryDecoder::DecodeWgmmaMultiply(const Parts& parts) {
  struct Form {
    absl::string_view type, depth;
    WgmmaType how;
  };
  static constexpr Form kForms[] = {{"f16", "k16", WgmmaType::kF16},
                                    {"bf16", "k16", WgmmaType::kBF16},
                                    {"e4m3", "k32", WgmmaType::kE4M3}};
  if (parts.size() != 8 || parts[5] != "f32" || parts[6] != parts[7]) return Unknown();
  const auto* form = std::find_if(std::begin(kForms), std::end(kForms),
                                  [&](const Form& f) { return f.type == parts[6]; });
  if (form == std::end(kForms)) return Unknown();
  absl::string_view columns_text = parts[4];
  uint32_t columns = 0;
  if (!absl::ConsumePrefix(&columns_text, "m64n") ||
      !absl::ConsumeSuffix(&columns_text, form->depth) ||
      !absl::SimpleAtoi(columns_text, &columns) || columns == 0 || columns > kMaxColumns ||
      columns % 8 != 0) {
    return Unknown();
  }
  const std::vector<OperandSyntax>& operands = current_->operands;
  Instr instr;
  instr.kind = Kind::kWgmma;
  instr.mode = static_cast<uint8_t>(WgmmaOp::kMultiply);
  instr.mode2 = static_cast<uint8_t>(form->how);
  instr.flag = operands.size() > 1 && operands[1].kind == OperandSyntax::kVector;
  const size_t transposes = form->how == WgmmaType::kE4M3 ? 0 : instr.flag ? 1 : 2;
  PTXSMITH_RETURN_IF_ERROR(ExpectOperands(6 + transposes, 6 + transposes));
  PTXSMITH_ASSIGN_OR_RETURN(const std::vector<Operand> dst,
                            RegisterList(operands[0], columns / 2, true));
  std::vector<Operand> src;
  if (instr.flag) {
    PTXSMITH_ASSIGN_OR_RETURN(src, RegisterList(operands[1], kRegistersOfA, false));
  } else {
    PTXSMITH_ASSIGN_OR_RETURN(const Operand a, Source(operands[1], 'd'));
    src.push_back(a);
  }
  PTXSMITH_ASSIGN_OR_RETURN(const Operand b, Source(operands[2], 'd'));
  src.push_back(b);
  PTXSMITH_ASSIGN_OR_RETURN(const Operand add, Source(operands[3], 'p'));
  src.push_back(add);
  for (size_t i = 0; i < 2; ++i) {
    PTXSMITH_ASSIGN_OR_RETURN(const uint64_t scale, ConstantInteger(operands[4 + i], "the sign"));
    if (scale != 1 && scale != ~uint64_t{0}) return Error("a sign is neither 1 nor -1");
    if (scale != 1) instr.immediate |= int64_t{1} << i;
  }
  for (size_t i = 6; i < operands.size(); ++i) {
    PTXSMITH_ASSIGN_OR_RETURN(const uint64_t transposed, ConstantInteger(operands[i], "the order"));
    if (transposed != 0) return Error("transposed operands are not emulated");
  }
  // Definedness of the accumulators depends on `add`, and on what is under way.
  Emit(instr, dst, src);
  return absl::OkStatus();
}

}  // namespace ptxsmith::emu

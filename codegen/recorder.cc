#include "codegen/recorder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ptxsmith {

void Recorder::Fail(SourceLoc loc, absl::string_view message) {
  if (!status_.ok()) return;
  status_ = absl::InvalidArgumentError(
      absl::StrCat(kernel_.key, ": ", BaseName(loc.file), ":", loc.line, ": ", message));
}

ir::RegId Recorder::NewReg(RegClass cls, bool is_mutable) {
  kernel_.regs.push_back({cls, next_number_[static_cast<int>(cls)]++, regions_.back(), is_mutable});
  return static_cast<ir::RegId>(kernel_.regs.size() - 1);
}

bool Recorder::Visible(uint32_t region) const {
  return std::find(regions_.begin(), regions_.end(), region) != regions_.end();
}

void Recorder::Append(ir::Instr instr) {
  if (instr.loc.line == 0 && !kernel_.body.empty()) instr.loc = kernel_.body.back().loc;
  for (const ir::Operand& operand : instr.src) {
    if (operand.kind != ir::Operand::kReg) continue;
    if (operand.owner != this) {
      Fail(instr.loc, "values of two kernels are mixed");
    } else if (!Visible(kernel_.regs[operand.reg].region)) {
      Fail(instr.loc, "a value is used outside the If or For it was made in");
    }
  }
  kernel_.body.push_back(std::move(instr));
}

ir::Operand Recorder::Emit(RegClass cls, std::string mnemonic,
                           std::initializer_list<ir::Operand> src, SourceLoc loc, ir::Op op) {
  ir::Instr instr;
  instr.op = op;
  instr.mnemonic = std::move(mnemonic);
  const ir::RegId dst = NewReg(cls);
  instr.dst = {dst};
  instr.src.assign(src.begin(), src.end());
  instr.loc = loc;
  Append(std::move(instr));
  return RegOperand(dst);
}

ir::Operand Recorder::EmitUniform(ir::Uniformity uniformity, RegClass cls, std::string mnemonic,
                                  std::initializer_list<ir::Operand> src, SourceLoc loc,
                                  ir::Op op) {
  const ir::Operand dst = Emit(cls, std::move(mnemonic), src, loc, op);
  kernel_.body.back().has_forced_uniformity = true;
  kernel_.body.back().forced = uniformity;
  return dst;
}

void Recorder::OpenScope() { regions_.push_back(next_region_++); }

void Recorder::CloseScope() { regions_.pop_back(); }

const char* Recorder::Intern(std::string text) {
  texts_.push_back(std::move(text));
  return texts_.back().c_str();
}

}  // namespace ptxsmith

#include "codegen/recorder.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ptxsmith {
namespace {

void Fill(ir::Instr& instr, ir::Op op, uint32_t mnemonic, std::initializer_list<ir::Operand> src,
          SourceLoc loc) {
  instr.op = op;
  instr.mnemonic = mnemonic;
  instr.src = src;
  instr.loc = loc;
}

// `loc`, or where it is unknown that of the instruction before.
SourceLoc PlaceOf(const ir::Kernel& kernel, SourceLoc loc) {
  return loc.line == 0 && !kernel.body.empty() ? kernel.body.back().loc : loc;
}

}  // namespace

Recorder::Recorder(ir::Kernel kernel) : kernel_(std::move(kernel)) {
  regions_.push_back(0);
  constexpr size_t kUsualLength = 1024;  // instructions
  kernel_.body.reserve(kUsualLength);
  kernel_.regs.reserve(kUsualLength);
}

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

uint32_t Recorder::MnemonicId(absl::string_view mnemonic, SourceLoc loc) {
  uint32_t& recent = recent_[(reinterpret_cast<uintptr_t>(mnemonic.data()) >> 2) % recent_.size()];
  if (recent < kernel_.mnemonics.size() && kernel_.mnemonics[recent].text == mnemonic)
    return recent;
  const auto [known, is_new] =
      mnemonics_.try_emplace(mnemonic, static_cast<uint32_t>(kernel_.mnemonics.size()));
  if (is_new) kernel_.mnemonics.push_back({known->first, loc});
  recent = known->second;
  return recent;
}

void Recorder::CheckSources(absl::Span<const ir::Operand> src, SourceLoc loc) {
  for (const ir::Operand& operand : src) {
    if (operand.kind != ir::Operand::kReg) continue;
    if (operand.owner != this) {
      Fail(loc, "values of two kernels are mixed");
    } else if (!Visible(kernel_.regs[operand.reg].region)) {
      Fail(loc, "a value is used outside the If or For it was made in");
    }
  }
}

ir::Instr Recorder::Make(ir::Op op, absl::string_view mnemonic,
                         std::initializer_list<ir::Operand> src, SourceLoc loc) {
  loc = PlaceOf(kernel_, loc);
  ir::Instr instr;
  Fill(instr, op, MnemonicId(mnemonic, loc), src, loc);
  return instr;
}

void Recorder::Append(ir::Instr&& instr) {
  CheckSources(instr.src, instr.loc);
  kernel_.body.push_back(std::move(instr));
}

// As above, without an instruction that is moved: most come this way.
void Recorder::Append(ir::Op op, absl::string_view mnemonic, std::initializer_list<ir::Operand> src,
                      SourceLoc loc, std::optional<ir::RegId> dst) {
  loc = PlaceOf(kernel_, loc);
  CheckSources(src, loc);
  ir::Instr& instr = kernel_.body.emplace_back();
  Fill(instr, op, MnemonicId(mnemonic, loc), src, loc);
  if (dst) instr.dst.push_back(*dst);
}

ir::Operand Recorder::Emit(RegClass cls, absl::string_view mnemonic,
                           std::initializer_list<ir::Operand> src, SourceLoc loc, ir::Op op) {
  const ir::RegId dst = NewReg(cls);
  Append(op, mnemonic, src, loc, dst);
  return RegOperand(dst);
}

ir::Operand Recorder::EmitUniform(ir::Uniformity uniformity, RegClass cls,
                                  absl::string_view mnemonic,
                                  std::initializer_list<ir::Operand> src, SourceLoc loc,
                                  ir::Op op) {
  const ir::Operand dst = Emit(cls, mnemonic, src, loc, op);
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

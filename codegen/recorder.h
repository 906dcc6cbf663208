// The untyped half of KernelBuilder: registers, scopes, the instruction list and the sticky error.
// The typed values (val.h, memory.h) record through it; kernels never see it.
//
// After the first error every call is harmless and the error stays. Not thread-safe: one kernel is
// recorded by one thread.
#ifndef PTXSMITH_CODEGEN_RECORDER_H_
#define PTXSMITH_CODEGEN_RECORDER_H_

#include <bit>
#include <deque>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "codegen/ir.h"

namespace ptxsmith {

class Recorder {
 public:
  explicit Recorder(ir::Kernel kernel) : kernel_(std::move(kernel)) { regions_.push_back(0); }
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  ir::Kernel& kernel() { return kernel_; }
  const absl::Status& status() const { return status_; }

  // Keeps the first error, prefixed with the C++ place.
  void Fail(SourceLoc loc, absl::string_view message);

  ir::RegId NewReg(RegClass cls, bool is_mutable = false);

  // Appends after checking that every source is of this kernel and visible here. An instruction
  // without a place, from an operator that cannot take one, is given that of its predecessor.
  void Append(ir::Instr instr);

  // dst = mnemonic src...; a fresh register of the class.
  ir::Operand Emit(RegClass cls, std::string mnemonic, std::initializer_list<ir::Operand> src,
                   SourceLoc loc, ir::Op op = ir::Op::kPlain);
  // The same with a uniformity the operands do not show (lane sums are equal in all lanes, say).
  ir::Operand EmitUniform(ir::Uniformity uniformity, RegClass cls, std::string mnemonic,
                          std::initializer_list<ir::Operand> src, SourceLoc loc,
                          ir::Op op = ir::Op::kPlain);

  // Scopes: values made inside are not visible outside.
  void OpenScope();
  void CloseScope();

  // Text that lives as long as the kernel's record.
  const char* Intern(std::string text);

  ir::Operand RegOperand(ir::RegId reg) const { return {ir::Operand::kReg, reg, 0, nullptr, this}; }
  static ir::Operand Int(uint64_t value) { return {ir::Operand::kInt, 0, value, nullptr}; }
  static ir::Operand Float(float value) {
    return {ir::Operand::kFloat, 0, std::bit_cast<uint32_t>(value), nullptr};
  }
  static ir::Operand Text(const char* text) { return {ir::Operand::kText, 0, 0, text}; }

 private:
  bool Visible(uint32_t region) const;

  ir::Kernel kernel_;
  absl::Status status_;
  std::vector<uint32_t> regions_;  // open scopes, outermost first
  uint32_t next_region_ = 1;
  uint32_t next_number_[kRegClasses] = {};
  std::deque<std::string> texts_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_RECORDER_H_

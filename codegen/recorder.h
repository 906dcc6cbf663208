// The untyped half of KernelBuilder: registers, scopes, the instruction list and the sticky error.
// The typed values (val.h, memory.h) record through it; kernels never see it.
//
// After the first error every call is harmless and the error stays. Not thread-safe: one kernel is
// recorded by one thread.
#ifndef PTXSMITH_CODEGEN_RECORDER_H_
#define PTXSMITH_CODEGEN_RECORDER_H_

#include <array>
#include <bit>
#include <deque>
#include <initializer_list>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codegen/ir.h"

namespace ptxsmith {

class Recorder {
 public:
  explicit Recorder(ir::Kernel kernel);
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  ir::Kernel& kernel() { return kernel_; }
  const absl::Status& status() const { return status_; }

  // Keeps the first error, prefixed with the C++ place.
  void Fail(SourceLoc loc, absl::string_view message);

  ir::RegId NewReg(RegClass cls, bool is_mutable = false);

  // An instruction of this kernel, to be completed and appended. One without a place, from an
  // operator that cannot take one, is given that of its predecessor.
  ir::Instr Make(ir::Op op, absl::string_view mnemonic, std::initializer_list<ir::Operand> src,
                 SourceLoc loc);
  // Appends after checking that every source is of this kernel and visible here.
  void Append(ir::Instr&& instr);
  // Both, with a destination or without.
  void Append(ir::Op op, absl::string_view mnemonic, std::initializer_list<ir::Operand> src,
              SourceLoc loc, std::optional<ir::RegId> dst = std::nullopt);

  // dst = mnemonic src...; a fresh register of the class.
  ir::Operand Emit(RegClass cls, absl::string_view mnemonic, std::initializer_list<ir::Operand> src,
                   SourceLoc loc, ir::Op op = ir::Op::kPlain);
  // The same with a uniformity the operands do not show (lane sums are equal in all lanes, say).
  ir::Operand EmitUniform(ir::Uniformity uniformity, RegClass cls, absl::string_view mnemonic,
                          std::initializer_list<ir::Operand> src, SourceLoc loc,
                          ir::Op op = ir::Op::kPlain);

  // Scopes: values made inside are not visible outside.
  void OpenScope();
  void CloseScope();

  // Text that lives as long as the kernel's record.
  const char* Intern(std::string text);

  ir::Operand RegOperand(ir::RegId reg) const {
    return {.kind = ir::Operand::kReg, .reg = reg, .owner = this};
  }
  static ir::Operand Int(uint64_t value) { return {.kind = ir::Operand::kInt, .bits = value}; }
  static ir::Operand Float(float value) {
    return {.kind = ir::Operand::kFloat, .bits = std::bit_cast<uint32_t>(value)};
  }
  static ir::Operand Text(const char* text) { return {.kind = ir::Operand::kText, .text = text}; }

 private:
  uint32_t MnemonicId(absl::string_view mnemonic, SourceLoc loc);
  bool Visible(uint32_t region) const;
  void CheckSources(absl::Span<const ir::Operand> src, SourceLoc loc);

  ir::Kernel kernel_;
  absl::Status status_;
  std::vector<uint32_t> regions_;  // open scopes, outermost first
  uint32_t next_region_ = 1;
  uint32_t next_number_[kRegClasses] = {};
  absl::flat_hash_map<std::string, uint32_t> mnemonics_;  // where it is in kernel_.mnemonics
  // Those asked for lately, by the address of their text: mostly a literal's. Each is compared with
  // what it stands for, as other text may lie there now.
  std::array<uint32_t, 64> recent_ = {};
  std::deque<std::string> texts_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_CODEGEN_RECORDER_H_

#include "codegen/print.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "codegen/negotiate.h"

namespace ptxsmith {
namespace {

using ir::Op;

constexpr char kDynamicShared[] = "dynamic_shared";

struct RegFile {
  const char* declared;  // type in the .reg directive
  const char* prefix;
};

constexpr RegFile kRegFiles[kRegClasses] = {
    {"pred", "%p"}, {"b16", "%h"}, {"b32", "%r"}, {"f32", "%f"}, {"b64", "%rd"}};

class Printer {
 public:
  explicit Printer(const ir::Kernel& kernel) : kernel_(kernel) {}

  KernelSpec Run() {
    PlanShared();
    NeedVersion();
    Header();
    for (const ir::Instr& instr : kernel_.body) Instruction(instr);
    Line("\tret;", {});
    Line("}", {});

    spec_.key = kernel_.key;
    spec_.entry = kernel_.entry;
    spec_.target = kernel_.target;
    spec_.params = kernel_.params;
    spec_.launch = kernel_.launch;
    spec_.cost = kernel_.cost;
    return std::move(spec_);
  }

 private:
  void Line(absl::string_view text, SourceLoc loc) {
    absl::StrAppend(&spec_.ptx, text, "\n");
    spec_.lines.push_back(loc);
  }

  void NeedVersion() {
    std::vector<absl::string_view> mnemonics;
    mnemonics.reserve(kernel_.body.size());
    for (const ir::Instr& instr : kernel_.body) mnemonics.push_back(instr.mnemonic);
    NeededVersion needed = LeastVersion(kernel_.target, mnemonics);
    spec_.version = needed.version;
    spec_.version_needed_by = std::move(needed.needed_by);
  }

  // Arrays are declared one by one while they fit the static limit, else they share one dynamic
  // block.
  void PlanShared() {
    uint32_t total = 0;
    for (const ir::SharedArray& array : kernel_.shared) {
      shared_.push_back({array.name, absl::StrCat(kDynamicShared, "+", total)});
      total += array.bytes;
    }
    const bool dynamic = total > kernel_.target.limits().static_shared;
    (dynamic ? spec_.dynamic_shared : spec_.static_shared) = total;
  }

  void Header() {
    Line(absl::StrCat(".version ", spec_.version.ToString()), {});
    Line(absl::StrCat(".target ", kernel_.target.sm_name()), {});
    Line(".address_size 64", {});
    Line("", {});
    if (spec_.dynamic_shared > 0) {
      Line(absl::StrCat(".extern .shared .align ", ir::kSharedAlignment, " .b8 ", kDynamicShared,
                        "[];"),
           {});
      Line("", {});
    }
    Line(absl::StrCat(".visible .entry ", kernel_.entry, "("), {});
    for (size_t i = 0; i < kernel_.params.size(); ++i) {
      const ParamDesc& param = kernel_.params[i];
      Line(absl::StrCat("\t.param .", IsPointer(param.kind) ? "u64" : "u32", " ", param.name,
                        i + 1 < kernel_.params.size() ? "," : ""),
           {});
    }
    Line(")", {});
    Line(absl::StrCat(".reqntid ", absl::StrJoin(kernel_.launch.block, ", ")), {});
    if (kernel_.launch.min_blocks_per_sm > 0) {
      Line(absl::StrCat(".minnctapersm ", kernel_.launch.min_blocks_per_sm), {});
    }
    Line("{", {});
    uint32_t counts[kRegClasses] = {};
    for (const ir::Reg& reg : kernel_.regs) {
      uint32_t& count = counts[static_cast<int>(reg.cls)];
      count = std::max(count, reg.number + 1);
    }
    for (int i = 0; i < kRegClasses; ++i) {
      if (counts[i] == 0) continue;
      Line(absl::StrCat("\t.reg .", kRegFiles[i].declared, " ", kRegFiles[i].prefix, "<", counts[i],
                        ">;"),
           {});
    }
    if (spec_.static_shared > 0) {
      for (const ir::SharedArray& array : kernel_.shared) {
        Line(absl::StrCat("\t.shared .align ", ir::kSharedAlignment, " .b8 ", array.name, "[",
                          array.bytes, "];"),
             {});
      }
    }
    Line("", {});
  }

  std::string Name(ir::RegId id) const {
    const ir::Reg& reg = kernel_.regs[id];
    return absl::StrCat(kRegFiles[static_cast<int>(reg.cls)].prefix, reg.number);
  }

  std::string Text(const ir::Operand& operand) const {
    switch (operand.kind) {
      case ir::Operand::kReg:
        if (operand.address) return AddressText(operand, static_cast<int64_t>(operand.bits));
        return Name(operand.reg);
      case ir::Operand::kFloat:
        // The bits, so that no decimal conversion stands between the C++ value and the kernel's.
        return absl::StrFormat("0f%08X", static_cast<uint32_t>(operand.bits));
      case ir::Operand::kInt: {
        const int64_t value = static_cast<int64_t>(operand.bits);
        return value > 0xffff ? absl::StrFormat("0x%x", operand.bits) : absl::StrCat(value);
      }
      default:
        if (spec_.dynamic_shared > 0) {
          for (const auto& [name, place] : shared_) {
            if (name == operand.text) return place;
          }
        }
        return operand.text;
    }
  }

  template <class Range, class ToText>
  static std::string List(const Range& range, ToText&& text) {
    std::vector<std::string> parts;
    parts.reserve(range.size());
    for (const auto& item : range) parts.push_back(text(item));
    return parts.size() == 1 ? parts[0] : absl::StrCat("{", absl::StrJoin(parts, ", "), "}");
  }

  std::string AddressText(ir::Operand base, int64_t offset) const {
    base.address = false;
    if (offset == 0) return absl::StrCat("[", Text(base), "]");
    return absl::StrCat("[", Text(base), offset > 0 ? "+" : "", offset, "]");
  }

  void Statement(absl::string_view mnemonic, absl::string_view operands, SourceLoc loc) {
    Line(absl::StrCat("\t", mnemonic, operands.empty() ? "" : " ", operands, ";"), loc);
  }

  void Instruction(const ir::Instr& instr) {
    const auto reg = [this](ir::RegId id) { return Name(id); };
    const auto operand = [this](const ir::Operand& o) { return Text(o); };
    switch (instr.op) {
      case Op::kLoad:
        Statement(instr.mnemonic,
                  absl::StrCat(List(instr.dst, reg), ", ", AddressText(instr.src[0], instr.offset)),
                  instr.loc);
        break;
      case Op::kStore: {
        const absl::Span<const ir::Operand> values = absl::MakeSpan(instr.src).subspan(1);
        Statement(
            instr.mnemonic,
            absl::StrCat(AddressText(instr.src[0], instr.offset), ", ", List(values, operand)),
            instr.loc);
        break;
      }
      case Op::kIf:
        open_.push_back({next_label_++, 0});
        Statement(absl::StrCat("@!", Text(instr.src[0])),
                  absl::StrCat("bra $else_", open_.back().label), instr.loc);
        break;
      case Op::kElse:
        open_.back().has_else = true;
        Statement("bra", absl::StrCat("$endif_", open_.back().label), instr.loc);
        Line(absl::StrCat("$else_", open_.back().label, ":"), instr.loc);
        break;
      case Op::kEndIf:
        Line(absl::StrCat(open_.back().has_else ? "$endif_" : "$else_", open_.back().label, ":"),
             instr.loc);
        open_.pop_back();
        break;
      case Op::kLoop:
        BeginLoop(instr);
        break;
      case Op::kEndLoop:
        EndLoop(instr);
        break;
      case Op::kRepeat:
        open_.push_back({next_label_++, 0});
        Line(absl::StrCat("$loop_", open_.back().label, ":"), instr.loc);
        break;
      case Op::kEndRepeat:
        Statement(absl::StrCat("@", Text(instr.src[0])),
                  absl::StrCat("bra $loop_", open_.back().label), instr.loc);
        open_.pop_back();
        break;
      default: {
        std::vector<std::string> parts;
        if (!instr.dst.empty()) parts.push_back(List(instr.dst, reg));
        const absl::Span<const ir::Operand> sources(instr.src);
        if (instr.groups.empty()) {
          for (const ir::Operand& src : sources) parts.push_back(Text(src));
        }
        size_t first = 0;
        for (const size_t size : instr.groups) {
          std::vector<std::string> group;
          for (const ir::Operand& src : sources.subspan(first, size)) group.push_back(Text(src));
          parts.push_back(absl::StrCat("{", absl::StrJoin(group, ", "), "}"));
          first += size;
        }
        Statement(instr.mnemonic, absl::StrJoin(parts, ", "), instr.loc);
        break;
      }
    }
  }

  void BeginLoop(const ir::Instr& instr) {
    const uint32_t label = next_label_++;
    open_.push_back({label, instr.dst[1], instr.guard});
    const std::string i = Name(instr.dst[0]);
    Statement("mov.u32", absl::StrCat(i, ", ", Text(instr.src[0])), instr.loc);
    if (instr.guard) {
      const std::string p = Name(instr.dst[1]);
      Statement("setp.ge.u32", absl::StrCat(p, ", ", i, ", ", Text(instr.src[1])), instr.loc);
      Statement(absl::StrCat("@", p), absl::StrCat("bra $done_", label), instr.loc);
    }
    Line(absl::StrCat("$loop_", label, ":"), instr.loc);
  }

  void EndLoop(const ir::Instr& instr) {
    const Open open = open_.back();
    open_.pop_back();
    const std::string i = Text(instr.src[0]);
    const std::string p = Name(open.pred);
    Statement("add.u32", absl::StrCat(i, ", ", i, ", ", Text(instr.src[1])), instr.loc);
    Statement("setp.lt.u32", absl::StrCat(p, ", ", i, ", ", Text(instr.src[2])), instr.loc);
    Statement(absl::StrCat("@", p), absl::StrCat("bra $loop_", open.label), instr.loc);
    if (open.has_else) Line(absl::StrCat("$done_", open.label, ":"), instr.loc);
  }

  struct Open {  // an If or a Loop whose end is still to come
    uint32_t label = 0;
    ir::RegId pred = 0;     // Loop: its condition
    bool has_else = false;  // If: an Else was seen; Loop: it has a guard that jumps to its end
  };

  const ir::Kernel& kernel_;
  KernelSpec spec_;
  std::vector<std::pair<std::string, std::string>> shared_;  // name, place in the dynamic block
  std::vector<Open> open_;
  uint32_t next_label_ = 0;
};

}  // namespace

KernelSpec Print(const ir::Kernel& kernel) { return Printer(kernel).Run(); }

}  // namespace ptxsmith

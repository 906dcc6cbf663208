#include "codegen/print.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "codegen/negotiate.h"
#include "codegen/text_buffer.h"

namespace ptxsmith {
namespace {

using ir::Op;

constexpr char kDynamicShared[] = "dynamic_shared";

struct RegFile {
  absl::string_view declared;  // type in the .reg directive
  absl::string_view prefix;
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
    spec_.lines.reserve(spec_.lines.size() + kernel_.body.size());
    for (const ir::Instr& instr : kernel_.body) Instruction(instr);
    Line("\tret;", {});
    Line("}", {});

    spec_.ptx = text_.Take();
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
    text_.Put(text);
    text_.Put('\n');
    spec_.lines.push_back(loc);
  }

  void NeedVersion() {
    std::vector<absl::string_view> mnemonics;
    mnemonics.reserve(kernel_.mnemonics.size());
    for (const ir::Mnemonic& mnemonic : kernel_.mnemonics) mnemonics.push_back(mnemonic.text);
    NeededVersion needed = LeastVersion(kernel_.target, mnemonics);
    spec_.version = needed.version;
    spec_.version_needed_by = std::move(needed.needed_by);
  }

  // Arrays are declared one by one while they fit the static limit, else they share one dynamic
  // block.
  void PlanShared() {
    uint32_t total = 0;
    for (const ir::SharedArray& array : kernel_.shared) {
      total = (total + array.alignment - 1) / array.alignment * array.alignment;
      shared_.push_back({array.name, absl::StrCat(kDynamicShared, "+", total)});
      total += array.bytes;
      shared_alignment_ = std::max(shared_alignment_, array.alignment);
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
      Line(absl::StrCat(".extern .shared .align ", shared_alignment_, " .b8 ", kDynamicShared,
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
        Line(absl::StrCat("\t.shared .align ", array.alignment, " .b8 ", array.name, "[",
                          array.bytes, "];"),
             {});
      }
    }
    Line("", {});
  }

  void Begin(absl::string_view mnemonic) {
    text_.Put('\t');
    text_.Put(mnemonic);
  }
  void Begin(const ir::Instr& instr) { Begin(kernel_.mnemonics[instr.mnemonic].text); }
  void End(SourceLoc loc) {
    text_.Put(";\n");
    spec_.lines.push_back(loc);
  }

  void Put(const ir::Operand& operand) {
    switch (operand.kind) {
      case ir::Operand::kReg:
        if (operand.address) return PutAddress(operand, static_cast<int64_t>(operand.bits));
        return PutReg(operand.reg);
      case ir::Operand::kFloat:
        // The bits, so that no decimal conversion stands between the C++ value and the kernel's.
        text_.Put(absl::StrFormat("0f%08X", static_cast<uint32_t>(operand.bits)));
        return;
      case ir::Operand::kInt: {
        const int64_t value = static_cast<int64_t>(operand.bits);
        if (value <= 0xffff) return text_.PutNumber(value);
        text_.Put("0x");
        return text_.PutNumber(operand.bits, 16);
      }
      default:
        return text_.Put(PlaceOf(operand.text));
    }
  }

  void PutReg(ir::RegId id) {
    const ir::Reg& reg = kernel_.regs[id];
    text_.Put(kRegFiles[static_cast<int>(reg.cls)].prefix);
    text_.PutNumber(reg.number);
  }

  // What a symbol is called once it is known where shared memory lies.
  absl::string_view PlaceOf(absl::string_view symbol) const {
    if (spec_.dynamic_shared > 0) {
      for (const auto& [name, place] : shared_) {
        if (name == symbol) return place;
      }
    }
    return symbol;
  }

  void PutAddress(ir::Operand base, int64_t offset) {
    base.address = false;
    text_.Put('[');
    Put(base);
    if (offset > 0) text_.Put('+');
    if (offset != 0) text_.PutNumber(offset);
    text_.Put(']');
  }

  void PutItem(ir::RegId id) { PutReg(id); }
  void PutItem(const ir::Operand& operand) { Put(operand); }
  template <class Item>
  void PutAll(absl::Span<const Item> items) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) text_.Put(", ");
      PutItem(items[i]);
    }
  }
  template <class Item>
  void PutGroup(absl::Span<const Item> items) {
    text_.Put('{');
    PutAll(items);
    text_.Put('}');
  }
  // Braces only where there are several.
  template <class Item>
  void PutVector(absl::Span<const Item> items) {
    items.size() == 1 ? PutAll(items) : PutGroup(items);
  }

  void Label(absl::string_view kind, uint32_t label, SourceLoc loc) {
    text_.Put('$');
    text_.Put(kind);
    text_.Put('_');
    text_.PutNumber(label);
    text_.Put(":\n");
    spec_.lines.push_back(loc);
  }
  void Branch(absl::string_view kind, uint32_t label, SourceLoc loc) {
    text_.Put("bra $");
    text_.Put(kind);
    text_.Put('_');
    text_.PutNumber(label);
    End(loc);
  }
  void Branch(absl::string_view unless, const ir::Operand& condition, absl::string_view kind,
              uint32_t label, SourceLoc loc) {
    Begin(unless);
    Put(condition);
    text_.Put(" ");
    Branch(kind, label, loc);
  }

  void Instruction(const ir::Instr& instr) {
    const absl::Span<const ir::RegId> dst(instr.dst);
    const absl::Span<const ir::Operand> src(instr.src);
    switch (instr.op) {
      case Op::kLoad:
        Begin(instr);
        text_.Put(' ');
        PutVector(dst);
        text_.Put(", ");
        PutAddress(src[0], instr.offset);
        return End(instr.loc);
      case Op::kStore:
        Begin(instr);
        text_.Put(' ');
        PutAddress(src[0], instr.offset);
        text_.Put(", ");
        PutVector(src.subspan(1));
        return End(instr.loc);
      case Op::kIf:
        open_.push_back({next_label_++, 0});
        return Branch("@!", src[0], "else", open_.back().label, instr.loc);
      case Op::kElse:
        open_.back().has_else = true;
        Begin("");
        Branch("endif", open_.back().label, instr.loc);
        return Label("else", open_.back().label, instr.loc);
      case Op::kEndIf:
        Label(open_.back().has_else ? "endif" : "else", open_.back().label, instr.loc);
        return open_.pop_back();
      case Op::kLoop:
        return BeginLoop(instr);
      case Op::kEndLoop:
        return EndLoop(instr);
      case Op::kRepeat:
        open_.push_back({next_label_++, 0});
        return Label("loop", open_.back().label, instr.loc);
      case Op::kEndRepeat:
        Branch("@", src[0], "loop", open_.back().label, instr.loc);
        return open_.pop_back();
      default:
        return Plain(instr);
    }
  }

  void Plain(const ir::Instr& instr) {
    const absl::Span<const ir::Operand> src(instr.src);
    Begin(instr);
    absl::string_view separator = " ";
    if (!instr.dst.empty()) {
      text_.Put(separator);
      PutVector(absl::Span<const ir::RegId>(instr.dst));
      separator = ", ";
    }
    size_t first = 0;
    for (const size_t size : instr.groups) {
      if (size == 0) break;
      text_.Put(separator);
      PutGroup(src.subspan(first, size));
      separator = ", ";
      first += size;
    }
    if (first < src.size()) {
      text_.Put(separator);
      PutAll(src.subspan(first));
    }
    End(instr.loc);
  }

  // mnemonic a, b, c
  void Three(absl::string_view mnemonic, const ir::Operand& a, const ir::Operand& b,
             const ir::Operand& c, SourceLoc loc) {
    Begin(mnemonic);
    text_.Put(" ");
    PutAll(absl::Span<const ir::Operand>({a, b, c}));
    End(loc);
  }

  static ir::Operand RegOf(ir::RegId id) {
    ir::Operand operand;
    operand.kind = ir::Operand::kReg;
    operand.reg = id;
    return operand;
  }

  void BeginLoop(const ir::Instr& instr) {
    const uint32_t label = next_label_++;
    open_.push_back({label, instr.dst[1], instr.guard});
    const ir::Operand i = RegOf(instr.dst[0]);
    Begin("mov.u32 ");
    PutAll(absl::Span<const ir::Operand>({i, instr.src[0]}));
    End(instr.loc);
    if (instr.guard) {
      const ir::Operand p = RegOf(instr.dst[1]);
      Three("setp.ge.u32", p, i, instr.src[1], instr.loc);
      Branch("@", p, "done", label, instr.loc);
    }
    Label("loop", label, instr.loc);
  }

  void EndLoop(const ir::Instr& instr) {
    const Open open = open_.back();
    open_.pop_back();
    const ir::Operand& i = instr.src[0];
    const ir::Operand p = RegOf(open.pred);
    Three("add.u32", i, i, instr.src[1], instr.loc);
    Three("setp.lt.u32", p, i, instr.src[2], instr.loc);
    Branch("@", p, "loop", open.label, instr.loc);
    if (open.has_else) Label("done", open.label, instr.loc);
  }

  struct Open {  // an If or a Loop whose end is still to come
    uint32_t label = 0;
    ir::RegId pred = 0;     // Loop: its condition
    bool has_else = false;  // If: an Else was seen; Loop: it has a guard that jumps to its end
  };

  const ir::Kernel& kernel_;
  TextBuffer text_;
  KernelSpec spec_;
  std::vector<std::pair<std::string, std::string>> shared_;  // name, place in the dynamic block
  uint32_t shared_alignment_ = ir::kSharedAlignment;
  std::vector<Open> open_;
  uint32_t next_label_ = 0;
};

}  // namespace

KernelSpec Print(const ir::Kernel& kernel) { return Printer(kernel).Run(); }

}  // namespace ptxsmith

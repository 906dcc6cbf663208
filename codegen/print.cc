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
    constexpr size_t kUsualLine = 40;  // bytes
    spec_.ptx.reserve(spec_.ptx.size() + kernel_.body.size() * kUsualLine);
    spec_.lines.reserve(spec_.lines.size() + kernel_.body.size());
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

  // What stands between Begin and End is appended piece by piece: temporary strings took half of
  // the time of making a text.
  void Begin(absl::string_view mnemonic) { absl::StrAppend(&spec_.ptx, "\t", mnemonic); }
  void End(SourceLoc loc) {
    spec_.ptx.append(";\n");
    spec_.lines.push_back(loc);
  }

  template <class... Pieces>
  void Put(const Pieces&... pieces) {
    absl::StrAppend(&spec_.ptx, pieces...);
  }

  void Put(const ir::Operand& operand) {
    switch (operand.kind) {
      case ir::Operand::kReg:
        if (operand.address) return PutAddress(operand, static_cast<int64_t>(operand.bits));
        return PutReg(operand.reg);
      case ir::Operand::kFloat:
        // The bits, so that no decimal conversion stands between the C++ value and the kernel's.
        absl::StrAppendFormat(&spec_.ptx, "0f%08X", static_cast<uint32_t>(operand.bits));
        return;
      case ir::Operand::kInt: {
        const int64_t value = static_cast<int64_t>(operand.bits);
        return value > 0xffff ? Put("0x", absl::Hex(operand.bits)) : Put(value);
      }
      default:
        return Put(PlaceOf(operand.text));
    }
  }

  void PutReg(ir::RegId id) {
    const ir::Reg& reg = kernel_.regs[id];
    Put(kRegFiles[static_cast<int>(reg.cls)].prefix, reg.number);
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
    Put("[");
    Put(base);
    if (offset != 0) Put(offset > 0 ? "+" : "", offset);
    Put("]");
  }

  void PutItem(ir::RegId id) { PutReg(id); }
  void PutItem(const ir::Operand& operand) { Put(operand); }
  template <class Item>
  void PutAll(absl::Span<const Item> items) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) Put(", ");
      PutItem(items[i]);
    }
  }
  template <class Item>
  void PutGroup(absl::Span<const Item> items) {
    Put("{");
    PutAll(items);
    Put("}");
  }
  // Braces only where there are several.
  template <class Item>
  void PutVector(absl::Span<const Item> items) {
    items.size() == 1 ? PutAll(items) : PutGroup(items);
  }

  void Label(absl::string_view kind, uint32_t label, SourceLoc loc) {
    Put("$", kind, "_", label, ":\n");
    spec_.lines.push_back(loc);
  }
  void Branch(absl::string_view kind, uint32_t label, SourceLoc loc) {
    Put("bra $", kind, "_", label);
    End(loc);
  }
  void Branch(absl::string_view unless, const ir::Operand& condition, absl::string_view kind,
              uint32_t label, SourceLoc loc) {
    Begin(unless);
    Put(condition);
    Put(" ");
    Branch(kind, label, loc);
  }

  void Instruction(const ir::Instr& instr) {
    const absl::Span<const ir::RegId> dst(instr.dst);
    const absl::Span<const ir::Operand> src(instr.src);
    switch (instr.op) {
      case Op::kLoad:
        Begin(instr.mnemonic);
        Put(" ");
        PutVector(dst);
        Put(", ");
        PutAddress(src[0], instr.offset);
        return End(instr.loc);
      case Op::kStore:
        Begin(instr.mnemonic);
        Put(" ");
        PutAddress(src[0], instr.offset);
        Put(", ");
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
    Begin(instr.mnemonic);
    absl::string_view separator = " ";
    if (!instr.dst.empty()) {
      Put(separator);
      PutVector(absl::Span<const ir::RegId>(instr.dst));
      separator = ", ";
    }
    if (instr.groups.empty() && !src.empty()) {
      Put(separator);
      PutAll(src);
    }
    size_t first = 0;
    for (const size_t size : instr.groups) {
      Put(separator);
      PutGroup(src.subspan(first, size));
      separator = ", ";
      first += size;
    }
    if (first > 0 && first < src.size()) {
      Put(separator);
      PutAll(src.subspan(first));
    }
    End(instr.loc);
  }

  // mnemonic a, b, c
  void Three(absl::string_view mnemonic, const ir::Operand& a, const ir::Operand& b,
             const ir::Operand& c, SourceLoc loc) {
    Begin(mnemonic);
    Put(" ");
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
  KernelSpec spec_;
  std::vector<std::pair<std::string, std::string>> shared_;  // name, place in the dynamic block
  uint32_t shared_alignment_ = ir::kSharedAlignment;
  std::vector<Open> open_;
  uint32_t next_label_ = 0;
};

}  // namespace

KernelSpec Print(const ir::Kernel& kernel) { return Printer(kernel).Run(); }

}  // namespace ptxsmith

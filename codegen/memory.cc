#include "codegen/memory.h"

#include "absl/strings/str_cat.h"

namespace ptxsmith {
namespace {

const char* SpaceName(Space space) { return space == Space::kGlobal ? "global" : "shared"; }

const char* VectorText(size_t count) {
  constexpr const char* kTexts[] = {".", ".v2.", "", ".v4."};
  return kTexts[count - 1];
}

// Accesses are naturally aligned: to all their bytes.
void CheckAlignment(const Address& address, uint32_t bytes, SourceLoc loc) {
  if (address.alignment % bytes == 0) return;
  address.recorder->Fail(
      loc, absl::StrCat("access of ", bytes, " bytes to '", address.name,
                        "' whose address is only known to be a multiple of ", address.alignment));
}

const char* OrderText(MemoryOrder order) {
  switch (order) {
    case MemoryOrder::kRelaxed:
      return "relaxed.gpu.";
    case MemoryOrder::kAcquire:
      return "acquire.gpu.";
    case MemoryOrder::kRelease:
      return "release.gpu.";
    default:
      return "";
  }
}

// `senseless` is the order that this kind of access cannot have.
void CheckOrder(const Address& address, MemoryOrder order, MemoryOrder senseless, SourceLoc loc) {
  if (order == MemoryOrder::kWeak) return;
  if (address.space == Space::kGlobal && !address.constant && order != senseless) return;
  address.recorder->Fail(
      loc, absl::StrCat("an access to '", address.name, "' cannot be ", OrderText(order),
                        ": orders are for global memory that is written, acquire for loads, "
                        "release for stores"));
}

}  // namespace

Address Address::Plus(const Operand<U32>& index, uint32_t stride) const {
  Address moved = *this;
  const uint64_t step = uint64_t{index.multiple_of} * stride;
  moved.alignment = std::min(alignment, MultipleOfConstant(step));
  if (index.constant()) {
    moved.offset += static_cast<int64_t>(*index.constant() * stride);
    if (space == Space::kGlobal && moved.offset > INT32_MAX) {  // PTX offsets have 32 bits
      moved.base =
          recorder->Emit(RegClass::kB64, "add.u64",
                         {base, Recorder::Int(static_cast<uint64_t>(moved.offset))}, index.loc);
      moved.offset = 0;
    }
    return moved;
  }
  if (space == Space::kGlobal) {
    moved.base = recorder->Emit(RegClass::kB64, "mad.wide.u32",
                                {index.ir, Recorder::Int(stride), base}, index.loc);
  } else {
    moved.base = recorder->Emit(RegClass::kB32, "mad.lo.u32",
                                {index.ir, Recorder::Int(stride), base}, index.loc);
  }
  return moved;
}

Address::Loaded Address::Load(RegClass cls, const char* suffix, uint32_t elem_bytes, uint32_t count,
                              MemoryOrder order, SourceLoc loc) const {
  CheckAlignment(*this, elem_bytes * count, loc);
  CheckOrder(*this, order, MemoryOrder::kRelease, loc);
  ir::Instr instr = recorder->Make(ir::Op::kLoad,
                                   absl::StrCat("ld.", OrderText(order), SpaceName(space),
                                                constant ? ".nc" : "", VectorText(count), suffix),
                                   {base}, loc);
  for (uint32_t i = 0; i < count; ++i) instr.dst.push_back(recorder->NewReg(cls));
  instr.offset = offset;
  Loaded dst = instr.dst;
  recorder->Append(std::move(instr));
  return dst;
}

void Address::Store(const char* suffix, uint32_t elem_bytes, absl::Span<const ir::Operand> values,
                    MemoryOrder order, SourceLoc loc) const {
  CheckAlignment(*this, elem_bytes * static_cast<uint32_t>(values.size()), loc);
  CheckOrder(*this, order, MemoryOrder::kAcquire, loc);
  ir::Instr instr = recorder->Make(
      ir::Op::kStore,
      absl::StrCat("st.", OrderText(order), SpaceName(space), VectorText(values.size()), suffix),
      {base}, loc);
  instr.src.insert(instr.src.end(), values.begin(), values.end());
  instr.offset = offset;
  recorder->Append(std::move(instr));
}

ir::Operand Address::AsOperand(uint32_t bytes, SourceLoc loc) const {
  CheckAlignment(*this, bytes, loc);
  ir::Operand operand = base;
  operand.address = true;
  operand.bits = static_cast<uint64_t>(offset);
  return operand;
}

Address SelectAddress(const Pred& p, const Address& a, const Address& b) {
  if (p.constant()) return *p.constant() ? a : b;
  const bool global = a.space == Space::kGlobal;
  const RegClass cls = global ? RegClass::kB64 : RegClass::kB32;
  // The address itself, without a constant beside it.
  const auto whole = [&](const Address& address) {
    if (address.offset == 0) return address.base;
    return address.recorder->Emit(
        cls, global ? "add.u64" : "add.u32",
        {address.base, Recorder::Int(static_cast<uint64_t>(address.offset))}, {});
  };
  Address selected = a;
  const ir::Operand first = whole(a);
  selected.base =
      a.recorder->Emit(cls, global ? "selp.u64" : "selp.u32", {first, whole(b), p.ir()}, {});
  selected.offset = 0;
  selected.alignment = std::min(a.alignment, b.alignment);
  selected.constant = a.constant && b.constant;
  return selected;
}

}  // namespace ptxsmith

#include "codegen/wgmma.h"

#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kMaxColumns = 256;
constexpr uint32_t kColumnUnit = 8;

// A descriptor counts in units of 16 bytes. Its fixed part: groups of 8 rows follow each other,
// 1024 bytes each (bits 32 to 45), and pieces are swizzled over 128 bytes (bits 62 and 63). Bits 16
// to 29 say nothing of a swizzled layout; 1 is what NVIDIA's headers put there.
constexpr uint32_t kUnit = 16;
constexpr uint64_t kLayout =
    uint64_t{1} << 16 | uint64_t{SwizzledRows::kAlignment / kUnit} << 32 | uint64_t{1} << 62;

Val<U64> MakeDescriptor(const Address& address, SourceLoc loc) {
  Recorder* recorder = address.recorder;
  if (address.space != Space::kShared || address.alignment % SwizzledRows::kAlignment != 0) {
    recorder->Fail(loc, absl::StrCat("rows of '", address.name,
                                     "' are not in shared memory or not known to be aligned to ",
                                     SwizzledRows::kAlignment, " bytes"));
  }
  const ir::Operand units =
      recorder->Emit(RegClass::kB32, "shr.u32", {address.base, Recorder::Int(4)}, loc);
  const ir::Operand wide = recorder->Emit(RegClass::kB64, "cvt.u64.u32", {units}, loc);
  const uint64_t fixed = kLayout + static_cast<uint64_t>(address.offset / kUnit);
  return {recorder, recorder->Emit(RegClass::kB64, "add.u64", {wide, Recorder::Int(fixed)}, loc)};
}

}  // namespace

SwizzledRows::SwizzledRows(const InOut<F16>& first_row, SourceLoc loc)
    : descriptor_(MakeDescriptor(first_row.address(), loc)) {}

Val<U64> SwizzledRows::Descriptor(uint32_t i) const {
  constexpr uint32_t kStepBytes = 16 * kByteSize<F16>;
  return i == 0 ? descriptor_ : descriptor_ + i * (kStepBytes / kUnit);
}

WgmmaTile::WgmmaTile(KernelBuilder& k, uint32_t columns, SourceLoc loc) {
  if (columns == 0 || columns > kMaxColumns || columns % kColumnUnit != 0) {
    k.recorder().Fail(
        loc, absl::StrCat("a product of ", columns, " columns: must be a multiple of ", kColumnUnit,
                          " up to ", kMaxColumns));
    columns = kColumnUnit;
  }
  for (uint32_t i = 0; i < columns / 2; ++i) elements_.emplace_back(&k.recorder(), 0.0f);
}

void WgmmaTile::Emit(std::initializer_list<ir::Operand> a, const SwizzledRows& b, uint32_t i,
                     const Pred& accumulate, SourceLoc loc) {
  Recorder* recorder = elements_[0].recorder();
  ir::Instr instr = recorder->Make(
      ir::Op::kWarp,
      absl::StrCat("wgmma.mma_async.sync.aligned.m64n", 2 * size(), "k16.f32.f16.f16"), a, loc);
  for (const Var<F32>& element : elements_) instr.dst.push_back(element.ir().reg);
  // Neither A nor B is negated, and both have the products' dimension along their rows.
  const ir::Operand rest[] = {b.Descriptor(i).ir(), accumulate.ir(), Recorder::Int(1),
                              Recorder::Int(1), Recorder::Int(0)};
  instr.src.insert(instr.src.end(), std::begin(rest), std::end(rest));
  if (a.size() > 1) {
    instr.groups[0] = static_cast<uint8_t>(a.size());
  } else {
    instr.src.push_back(Recorder::Int(0));
  }
  instr.has_forced_uniformity = true;  // every lane gets a part of its own
  recorder->Append(std::move(instr));
}

void WgmmaTile::MultiplyAdd16(const SwizzledRows& a, const SwizzledRows& b, uint32_t i,
                              const Pred& accumulate, SourceLoc loc) {
  Emit({a.Descriptor(i).ir()}, b, i, accumulate, loc);
}

void WgmmaTile::MultiplyAdd16(const Vec<U32, 4>& a, const SwizzledRows& b, uint32_t i,
                              const Pred& accumulate, SourceLoc loc) {
  Emit({a[0].ir(), a[1].ir(), a[2].ir(), a[3].ir()}, b, i, accumulate, loc);
}

void WgmmaFence(KernelBuilder& k, SourceLoc loc) {
  k.recorder().Append(ir::Op::kWarp, "wgmma.fence.sync.aligned", {}, loc);
}

void WgmmaCommit(KernelBuilder& k, SourceLoc loc) {
  k.recorder().Append(ir::Op::kWarp, "wgmma.commit_group.sync.aligned", {}, loc);
}

void WgmmaWait(KernelBuilder& k, uint32_t pending, SourceLoc loc) {
  k.recorder().Append(ir::Op::kWarp, "wgmma.wait_group.sync.aligned", {Recorder::Int(pending)},
                      loc);
}

void LowerMaxRegisters(KernelBuilder& k, uint32_t count, SourceLoc loc) {
  k.recorder().Append(ir::Op::kWarp, "setmaxnreg.dec.sync.aligned.u32", {Recorder::Int(count)},
                      loc);
}

void RaiseMaxRegisters(KernelBuilder& k, uint32_t count, SourceLoc loc) {
  k.recorder().Append(ir::Op::kWarp, "setmaxnreg.inc.sync.aligned.u32", {Recorder::Int(count)},
                      loc);
}

}  // namespace ptxsmith

#include "codegen/mma.h"

#include <utility>

namespace ptxsmith {

void MmaTile::Emit(const char* mnemonic, std::initializer_list<ir::Operand> a,
                   std::initializer_list<ir::Operand> b, SourceLoc loc) {
  Recorder* recorder = elements_[0].recorder();
  ir::Instr instr = recorder->Make(ir::Op::kWarp, mnemonic, a, loc);
  instr.src.insert(instr.src.end(), b);
  for (const Var<F32>& element : elements_) {
    instr.dst.push_back(element.ir().reg);
    instr.src.push_back(element.ir());
  }
  instr.groups = {static_cast<uint8_t>(a.size()), static_cast<uint8_t>(b.size()), 4};
  recorder->Append(std::move(instr));
}

void MmaTile::MultiplyAdd16(const Vec<U32, 4>& a, const Vec<U32, 2>& b, SourceLoc loc) {
  if (elements_[0].recorder()->kernel().target.sm >= 80) {
    Emit("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
         {a[0].ir(), a[1].ir(), a[2].ir(), a[3].ir()}, {b[0].ir(), b[1].ir()}, loc);
    return;
  }
  constexpr const char* kHalf = "mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32";
  Emit(kHalf, {a[0].ir(), a[1].ir()}, {b[0].ir()}, loc);
  Emit(kHalf, {a[2].ir(), a[3].ir()}, {b[1].ir()}, loc);
}

Vec<U32, 4> LoadMatrices(const InOut<F16>& row, bool transposed, SourceLoc loc) {
  constexpr uint32_t kRowBytes = 16;
  Recorder* recorder = row.address().recorder;
  if (row.address().space != Space::kShared) {
    recorder->Fail(loc, "matrices are loaded from shared memory");
  }
  const char* const mnemonic = transposed ? "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16"
                                          : "ldmatrix.sync.aligned.m8n8.x4.shared.b16";
  ir::Instr instr =
      recorder->Make(ir::Op::kWarp, mnemonic, {row.address().AsOperand(kRowBytes, loc)}, loc);
  instr.has_forced_uniformity = true;  // every lane gets a part of its own
  for (int i = 0; i < 4; ++i) instr.dst.push_back(recorder->NewReg(RegClass::kB32));
  const auto regs = instr.dst;
  recorder->Append(std::move(instr));
  return MakeVec<4>([&](size_t i) { return Val<U32>(recorder, recorder->RegOperand(regs[i])); });
}

}  // namespace ptxsmith

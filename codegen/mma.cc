#include "codegen/mma.h"

namespace ptxsmith {

void MmaTile::Emit(const char* mnemonic, std::initializer_list<ir::Operand> a,
                   std::initializer_list<ir::Operand> b, SourceLoc loc) {
  ir::Instr instr;
  instr.op = ir::Op::kWarp;
  instr.mnemonic = mnemonic;
  instr.src = a;
  instr.src.insert(instr.src.end(), b);
  for (const Var<F32>& element : elements_) {
    instr.dst.push_back(element.ir().reg);
    instr.src.push_back(element.ir());
  }
  instr.groups = {static_cast<uint8_t>(a.size()), static_cast<uint8_t>(b.size()), 4};
  instr.loc = loc;
  elements_[0].recorder()->Append(std::move(instr));
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

}  // namespace ptxsmith

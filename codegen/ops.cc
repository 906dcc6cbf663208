#include "codegen/ops.h"

namespace ptxsmith {

Vec<F32, 2> UnpackHalf2(const Val<U32>& word, SourceLoc loc) {
  Recorder* recorder = word.recorder();
  ir::Instr split = recorder->Make(ir::Op::kPlain, "mov.b32", {word.ir()}, loc);
  split.dst = {recorder->NewReg(RegClass::kB16), recorder->NewReg(RegClass::kB16)};
  const auto halves = split.dst;
  recorder->Append(std::move(split));
  return MakeVec<2>(
      [&](size_t i) { return ToF32(Val<F16>(recorder, recorder->RegOperand(halves[i])), loc); });
}

Val<U32> JoinHalves(Recorder* recorder, const ir::Operand& low, const ir::Operand& high,
                    SourceLoc loc) {
  ir::Instr join = recorder->Make(ir::Op::kPlain, "mov.b32", {low, high}, loc);
  const ir::RegId word = recorder->NewReg(RegClass::kB32);
  join.dst = {word};
  join.groups = {2};
  recorder->Append(std::move(join));
  return {recorder, recorder->RegOperand(word)};
}

Val<U32> PackHalf2(const Val<F32>& low, const Val<F32>& high, SourceLoc loc) {
  Recorder* recorder = low.recorder();
  if (recorder->kernel().target.sm >= 80) {
    return {recorder,
            recorder->Emit(RegClass::kB32, "cvt.rn.f16x2.f32", {high.ir(), low.ir()}, loc)};
  }
  const ir::Operand first = ToF16(low, loc).ir();
  return JoinHalves(recorder, first, ToF16(high, loc).ir(), loc);
}

// Operations on pairs of f16 take no literals.
static Val<U32> EmitHalf2(const char* mnemonic, std::initializer_list<Operand<U32>> operands,
                          SourceLoc loc) {
  Recorder* recorder = nullptr;
  for (const Operand<U32>& operand : operands) {
    if (operand.recorder != nullptr) recorder = operand.recorder;
  }
  const auto in_register = [&](const Operand<U32>& operand) {
    return operand.constant() ? recorder->Emit(RegClass::kB32, "mov.b32", {operand.ir}, loc)
                              : operand.ir;
  };
  const Operand<U32>* const o = operands.begin();
  if (operands.size() == 2) {
    const ir::Operand a = in_register(o[0]);
    return {recorder, recorder->Emit(RegClass::kB32, mnemonic, {a, in_register(o[1])}, loc)};
  }
  const ir::Operand a = in_register(o[0]);
  const ir::Operand b = in_register(o[1]);
  return {recorder, recorder->Emit(RegClass::kB32, mnemonic, {a, b, in_register(o[2])}, loc)};
}

Val<U32> AddHalf2(Operand<U32> a, Operand<U32> b, SourceLoc loc) {
  return EmitHalf2("add.rn.f16x2", {a, b}, loc);
}

Val<U32> MulHalf2(Operand<U32> a, Operand<U32> b, SourceLoc loc) {
  return EmitHalf2("mul.rn.f16x2", {a, b}, loc);
}

Val<U32> FmaHalf2(Operand<U32> a, Operand<U32> b, Operand<U32> c, SourceLoc loc) {
  return EmitHalf2("fma.rn.f16x2", {a, b, c}, loc);
}

Val<U32> PackBF16x2(const Val<F32>& low, const Val<F32>& high, SourceLoc loc) {
  Recorder* recorder = low.recorder();
  if (recorder->kernel().target.sm >= 80) {
    return {recorder,
            recorder->Emit(RegClass::kB32, "cvt.rn.bf16x2.f32", {high.ir(), low.ir()}, loc)};
  }
  // Adding half of the last place that stays, less one where that place is even, rounds by carry.
  const auto rounded = [&](const Val<F32>& value) {
    const Val<U32> bits = Bitcast<U32>(value, loc);
    return Select<U32>(value == value, bits + (Bits(bits, 16, 1, loc) + 0x7fff), 0x7fffffff);
  };
  const Val<U32> low_bits = rounded(low);
  return Permute(low_bits, rounded(high), 0x7632, loc);
}

Vec<F32, 4> BytesToF32(const Val<U32>& word, uint32_t bias, SourceLoc loc) {
  constexpr uint32_t kTwo23 = 0x4b000000;  // the bits of 8388608.0f
  const float subtract = 8388608.0f + static_cast<float>(bias);
  return MakeVec<4>([&](size_t i) {
    // Bytes 1 to 3 of kTwo23 above byte i of the word.
    const uint32_t selector = 0x7650 | static_cast<uint32_t>(i);
    const Val<U32> bits = Permute(word, kTwo23, Operand<U32>(selector, loc), loc);
    return Bitcast<F32>(bits, loc) - Operand<F32>(subtract, loc);
  });
}

}  // namespace ptxsmith

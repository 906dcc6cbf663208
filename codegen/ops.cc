#include "codegen/ops.h"

namespace ptxsmith {

Vec<F32, 2> UnpackHalf2(const Val<U32>& word, SourceLoc loc) {
  Recorder* recorder = word.recorder();
  ir::Instr split;
  split.mnemonic = "mov.b32";
  split.dst = {recorder->NewReg(RegClass::kB16), recorder->NewReg(RegClass::kB16)};
  split.src = {word.ir()};
  split.loc = loc;
  const auto halves = split.dst;
  recorder->Append(std::move(split));
  return MakeVec<2>(
      [&](size_t i) { return ToF32(Val<F16>(recorder, recorder->RegOperand(halves[i])), loc); });
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

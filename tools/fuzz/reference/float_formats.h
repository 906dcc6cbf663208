// Conversions between f32 and the narrow formats, bit by bit, independent of the processor's own:
// to the narrow format round to nearest, ties to even, overflow to infinity. Pure functions.
//
//   FloatToHalf(1.0f) == 0x3c00
//   HalfToFloat(0x0001) == 0x1p-24f
#ifndef PTXSMITH_TOOLS_FUZZ_REFERENCE_FLOAT_FORMATS_H_
#define PTXSMITH_TOOLS_FUZZ_REFERENCE_FLOAT_FORMATS_H_

#include <cstdint>

namespace ptxsmith::reference {

float HalfToFloat(uint16_t bits);
uint16_t FloatToHalf(float value);  // a NaN becomes 0x7fff, as cvt.rn.f16.f32 makes it
float BFloat16ToFloat(uint16_t bits);
uint16_t FloatToBFloat16(float value);  // a NaN becomes 0x7fff
// e4m3 has no infinity: what is too large becomes the largest number, 448. A NaN becomes 0x7f.
uint8_t FloatToE4M3(float value);

float E4M3ToFloat(uint8_t bits);  // bias 7, no infinity; 0x7f is a NaN

}  // namespace ptxsmith::reference

#endif  // PTXSMITH_TOOLS_FUZZ_REFERENCE_FLOAT_FORMATS_H_

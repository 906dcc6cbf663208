// Activations as the tile products read them: 8-bit integers in one or two terms, in shared memory,
// 768 bytes for 256 columns.
//
//   columns 64 t + i   first term at 80 t + i, second term 320 bytes further on. The stride of 80
//                      keeps the four readers of a quad out of each other's banks.
//   at 640 + 32 t      d of columns 64 t to +31 and of the 32 after them, their two sums, the four
//                      sums of 16 columns: eight f32
//
//   x ~ d * h                      one term: d = max|x| / 127 over 32 columns, h = rn(x / d)
//   x ~ d * (128 h + l), 15 bits   two terms: d = max|x| / 127 / 128, 128 h + l = rn(x / d), l >= 0
//
// The error of a product is then 0.6-1.4e-2 (one term) or 0.5-1.4e-4 (two) of its size, measured on
// random q4_k weights; the second term costs 37 % more instructions and, streaming from memory, 1 %
// of the time (H200, 2026-11-20). Sums are exact f32 sums of x, so minimums and offsets add none.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_ACTIVATION_IMAGE_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_ACTIVATION_IMAGE_H_

#include <cstdint>

#include "codegen/kernel_builder.h"

namespace ptxsmith {

inline constexpr uint32_t kImageBytes = 768;  // for kTileColumns columns
inline constexpr uint32_t kImageQuarter = 80;
inline constexpr uint32_t kImageSecondTerm = 320;
inline constexpr uint32_t kImageScales = 640;
inline constexpr uint32_t kImageScaleStride = 32;

// Writes the image of 256 columns by one warp; lane l gives columns 8 l to 8 l + 7. terms: 1 or 2.
void StoreImage(KernelBuilder& k, const InOut<U8>& image, const Val<U32>& lane,
                const Vec<F32, 8>& x, uint32_t terms);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_ACTIVATION_IMAGE_H_

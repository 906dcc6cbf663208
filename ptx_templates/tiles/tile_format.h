// Weights as the decode kernels read them: tiles of 16 rows by 256 columns, one after the other, so
// that one bulk copy brings a warp's next piece of work. Made from the blocks of the file by the
// `repack` family, consumed by `gemv_tiles` and `decode_token` (layout kDot, integer dot products)
// and by `gemm_tiles` (layout kMma, tensor cores). A tile has the same size in both.
//
// Of a tile, lane 4 g + t of a warp works on rows g and g + 8. Its share of each plane is 16 bytes
// wide, so that a warp's load covers 512 consecutive bytes.
//
// kDot: the lane has the columns 64 t to 64 t + 63.
//
//   nibbles  2048 bytes  byte 512 c + 16 lane + j: the low four bits of row g (low half) and row
//                        g + 8 (high half) in column 64 t + 16 c + j
//   fifth     512 bytes  q5_k: word j of the lane, byte i, bit b: the fifth bit in column
//                        64 t + 16 j + 4 (b % 4) + i of row g (b < 4) or g + 8
//   pairs    1024 bytes  q6_k: word h of the lane (4 each in two blocks of 512 bytes), byte i: bits
//                        4 and 5 in column 64 t + 8 h + i of row g, of row g + 8, then in the
//                        column 4 further on of both
//   bytes    4096 bytes  q8_0 instead of all these: chunk c < 4 row g, c >= 4 row g + 8, column
//                        64 t + 16 (c % 4) + j
//   header               scales: see the dot products in tile_dot.cc
//
// kMma: the lane has the columns 32 c + 8 t to 32 c + 8 t + 7 for c = 0..7, in words w = 2 c + h of
// four columns, h = 0, 1. In the words of a plane, w (or the counter named) goes through 16 bytes
// of the lane, then through the blocks of 512. What a tensor core takes as one fragment register is
// two columns of a row: registers i = 4 h + r of chunk c hold columns 0 and 2 of the four (r < 2)
// or 1 and 3, of row g (r even) or g + 8.
//
//   nibbles  word w, byte i: column i of the four, row g in the low half, row g + 8 in the high
//   fifth    word c / 2: bit 8 (c % 2) + i the fifth bit of register i's first column, 16 bits
//            higher that of its second
//   pairs    word c: bits 2 i and 2 i + 1 those of register i's first column, 16 bits higher those
//            of its second
//   bytes    word w of row g, 2048 bytes further on of row g + 8; q + 128
//   header   q4_k, q5_k: the first 16 bytes of each row's block, as in the file.
//            q6_k: 16 bytes a row, the scales of the blocks 0, 2, ... 14, then 1, 3, ... 15; at 256
//            d of each row. q4_0, q8_0: 16 bytes a row, its eight d.
//
// Multiples of 128 bytes: q6_k is padded by 2.9 %, as copies of 3360 bytes reached 87 % of the read
// bandwidth and copies of 3456 bytes 96.7 % (128256 x 4096, H200, 2026-11-20).
//
// Tile (row_tile, block) of a matrix is number row_tile * (K / 256) + block. Pure functions.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_TILE_FORMAT_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_TILE_FORMAT_H_

#include <cstdint>

#include "absl/types/span.h"
#include "codegen/spec_fields.h"
#include "ptx_templates/quant_type.h"

namespace ptxsmith {

inline constexpr uint32_t kTileRows = 16;
inline constexpr uint32_t kTileColumns = 256;

enum class TileLayout : uint8_t { kDot, kMma };

// What follows the nibbles.
enum class TilePlane : uint8_t { kNone, kFifth, kPairs, kBytes };
enum class TileHeader : uint8_t {
  kScalesAndMinimums,  // q4_k, q5_k: 128 + 64 + 64 bytes
  kSignedScales,       // q6_k: 256 + 32 bytes
  kHalves,             // q8_0, q4_0: four f16 a lane
};

struct TileFormat {
  QuantType type;
  TilePlane plane;
  TileHeader header;
  uint32_t header_at;  // bytes before it
  uint32_t bytes;      // of a tile, a multiple of 128
  float scale;         // the dot products come out divided by this power of two
};

absl::Span<const TileFormat> AllTileFormats();
// Null when the type has no tiles.
const TileFormat* FindTileFormat(QuantType type);
// REQUIRES: kTileQuantRule admits the type.
const TileFormat& TileFormatOf(QuantType type);

inline constexpr FieldRule kTileQuantRule =
    OneOf(QuantType::kQ4_0, QuantType::kQ8_0, QuantType::kQ4K, QuantType::kQ5K, QuantType::kQ6K);

constexpr uint32_t DivideUp(uint32_t a, uint32_t b) { return (a + b - 1) / b; }

// Row tiles of a matrix of n rows.
constexpr uint32_t RowTileCount(uint32_t n) { return DivideUp(n, kTileRows); }

// Of a matrix of n rows of k weights; the last tiles are filled up when n is no multiple of 16.
uint64_t TileBytes(const TileFormat& format, uint32_t k, uint32_t n);

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_TILE_FORMAT_H_

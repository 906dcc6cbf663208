#include "ptx_templates/tiles/tile_format.h"

#include <algorithm>

namespace ptxsmith {
namespace {

constexpr float kTwo24 = 16777216.0f;  // scales are read as subnormal halves

constexpr TileFormat kFormats[] = {
    {QuantType::kQ4_0, TilePlane::kNone, TileHeader::kHalves, 2048, 2304, 1.0f},
    {QuantType::kQ8_0, TilePlane::kBytes, TileHeader::kHalves, 4096, 4352, 1.0f},
    {QuantType::kQ4K, TilePlane::kNone, TileHeader::kScalesAndMinimums, 2048, 2304, kTwo24},
    {QuantType::kQ5K, TilePlane::kFifth, TileHeader::kScalesAndMinimums, 2560, 2816, kTwo24},
    {QuantType::kQ6K, TilePlane::kPairs, TileHeader::kSignedScales, 3072, 3456, kTwo24},
};

}  // namespace

absl::Span<const TileFormat> AllTileFormats() { return kFormats; }

const TileFormat* FindTileFormat(QuantType type) {
  const auto* found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                   [&](const TileFormat& f) { return f.type == type; });
  return found == std::end(kFormats) ? nullptr : found;
}

const TileFormat& TileFormatOf(QuantType type) { return *FindTileFormat(type); }

uint64_t TileBytes(const TileFormat& format, uint32_t k, uint32_t n) {
  return uint64_t{RowTileCount(n)} * (k / kTileColumns) * format.bytes;
}

}  // namespace ptxsmith

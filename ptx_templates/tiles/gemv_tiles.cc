#include "ptx_templates/tiles/gemv_tiles.h"

#include <algorithm>

#include "codegen/async.h"
#include "codegen/kernel_builder.h"
#include "codegen/warp.h"
#include "ptx_templates/tiles/row_sums.h"
#include "ptx_templates/tiles/tile_ring.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kMaxRowTiles = 14;  // summed at a time
constexpr uint32_t kCompute = 1;       // the named barrier of the compute warps
constexpr uint32_t kLoadedAhead = 4;   // blocks of x

// The image of x. Each warp loads some of its blocks before it converts any.
void StageInput(KernelBuilder& k, const GemvTilesSpec& spec, const TileProduct& product,
                const In<F32>& x) {
  const uint32_t blocks = spec.k / kTileColumns;
  const Val<U32> lane = k.Lane();
  k.For(k.Warp(), blocks, {.step = spec.warps * kLoadedAhead}, [&](const Val<U32>& first) {
    std::vector<Vec<F32, 4>> loaded;
    const uint32_t rounds = std::min(kLoadedAhead, (blocks + spec.warps - 1) / spec.warps);
    for (uint32_t i = 0; i < rounds; ++i) {
      const Val<U32> block = Min(first + i * spec.warps, blocks - 1);
      const In<F32> columns = x.At(block * kTileColumns + lane * 8);
      for (const uint32_t at : {0u, 4u}) loaded.push_back(columns.Load<4>(at));
    }
    for (uint32_t i = 0; i < rounds; ++i) {
      const Val<U32> block = first + i * spec.warps;
      k.If(block < blocks, [&] {
        StoreImage(k, product.image(block), lane,
                   MakeVec<8>([&](size_t j) { return loaded[2 * i + j / 4][j % 4]; }), spec.terms);
      });
    }
  });
  if (spec.warps == blocks || blocks % spec.warps == 0) {
    k.WarpBarrier();  // a warp multiplies by the blocks that it has staged itself
  } else {
    k.NamedBarrier(kCompute, spec.warps * kWarpLanes);
  }
}

}  // namespace

absl::StatusOr<KernelSpec> BuildGemvTiles(const GemvTilesSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckTileTarget(GemvTilesSpec::kFamily, target));
  const TileFormat& format = TileFormatOf(spec.quant);
  KernelBuilder k(KeyOf(spec, target), GemvTilesSpec::kFamily, target);

  const uint64_t tile_bytes = TileBytes(format, spec.k, spec.n);
  const uint32_t row_tiles = RowTileCount(spec.n);
  const uint32_t blocks = spec.k / kTileColumns;
  const uint32_t threads = spec.warps * kWarpLanes;
  const auto y = k.Param<Out<F32>>("y", {.count = spec.n});
  const auto tiles = k.Param<In<U8>>("tiles", {.count = tile_bytes, .constant = true});
  const auto x = k.Param<In<F32>>("x", {.count = spec.k});
  k.Launch({.block = {threads + kWarpLanes, 1, 1},
            .grid = {spec.ctas, 1, 1},
            .min_blocks_per_sm = 1,
            .programmatic = spec.programmatic});
  k.Costs({.bytes = tile_bytes + uint64_t{spec.k} * 4 + uint64_t{spec.n} * 4,
           .flops = uint64_t{spec.k} * spec.n * 2});

  TileRing ring(k, {.warps = spec.warps, .in_flight = spec.in_flight});
  const uint32_t most =
      std::min({MostRowTiles(spec.ctas, row_tiles), kMaxRowTiles, threads / kTileRows});
  TileProduct product(
      k, {.warps = spec.warps, .terms = spec.terms, .max_rows = most, .max_blocks = blocks});
  ring.Init();
  k.Barrier();
  if (spec.programmatic) k.LaunchDependents();

  const RowRange own = RowTilesOf(k.CtaX(), spec.ctas, row_tiles);
  const Val<U32> warp = k.Warp();
  const Val<U32> lane = k.Lane();
  k.If(
      warp == spec.warps,
      [&] {
        k.If(lane == 0, [&] {
          const Val<U64> policy = EvictFirst(k);
          const In<U8> from = tiles.At(own.first * blocks, format.bytes);
          k.For(0, own.count, {.step = most}, [&](const Val<U32>& first) {
            ring.Produce(format, from.At(first * blocks, format.bytes),
                         Min(own.count - first, most) * blocks, policy);
          });
        });
      },
      [&] {
        if (spec.programmatic) k.WaitForPredecessors();
        StageInput(k, spec, product, x);
        const Val<U32> thread = k.ThreadX();
        const auto rows = [&](const Val<U32>& first) {
          const Val<U32> count = Min(own.count - first, most);
          product.Multiply(ring, format, TileWalk(warp, spec.warps, blocks), count, k.Const<U32>(0),
                           warp, lane);
          k.NamedBarrier(kCompute, threads);
          const Val<U32> row = (own.first + first) * kTileRows + thread;
          k.If(thread < count * kTileRows && row < spec.n, [&] {
            y.Store(row,
                    product.SumOf(blocks, product.SlotsOf(thread / kTileRows, thread % kTileRows)));
          });
        };
        if (MostRowTiles(spec.ctas, row_tiles) <= most) return rows(k.Const<U32>(0));
        k.For(0, own.count, {.step = most}, [&](const Val<U32>& first) {
          rows(first);
          k.NamedBarrier(kCompute, threads);  // the sums have been read
        });
      });
  return std::move(k).Finish();
}

std::vector<GemvTilesSpec> GemvTilesVariants() {
  std::vector<GemvTilesSpec> variants;
  for (const TileFormat& format : AllTileFormats()) {
    for (uint32_t terms : {1u, 2u}) {
      variants.push_back({format.type, 512, 160, 3, 4, 2, terms});
      variants.push_back({format.type, 2304, 50, 2, 3, 4, terms});
      variants.push_back({format.type, 256, 16, 2, 1, 1, terms, true});
      variants.push_back({format.type, 4096, 4096, 132, 14, 6, terms, true});
    }
  }
  variants.push_back({QuantType::kQ4K, 256, 1000, 2, 4});  // more row tiles than are summed at once
  return variants;
}

}  // namespace ptxsmith

#include "ptx_templates/gemm.h"

#include <deque>
#include <optional>
#include <type_traits>
#include <vector>

#include "codegen/kernel_builder.h"
#include "codegen/mma.h"
#include "codegen/status_macros.h"
#include "codegen/warp.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kTileRows = 16;     // of one mma
constexpr uint32_t kTileTokens = 8;    // of one mma
constexpr uint32_t kStepWeights = 32;  // of a row that four lanes decode at once
constexpr uint32_t kStepsPerUnit = kUnitWeights / kStepWeights;

// A's fragment of one group of each of the lane's rows.
Vec<U32, 4> AFragment(const Vec<F32, 4>& near, const Vec<F32, 4>& far) {
  return Vec<U32, 4>({PackHalf2(near[0], near[1]), PackHalf2(far[0], far[1]),
                      PackHalf2(near[2], near[3]), PackHalf2(far[2], far[3])});
}

// Y is Out<F32>, or InOut<F32> when the result is added.
template <class Y>
absl::StatusOr<KernelSpec> Build(const GemmSpec& spec, const Target& target) {
  const Decoder& decoder = DecoderFor(spec.quant);
  KernelBuilder k(KeyOf(spec, target), GemmSpec::kFamily, target);

  // Sizes come after the buffers in the signature, but buffers are sized by them.
  uint32_t next_dim = spec.bias ? 4 : 3;
  const auto size_of = [&](const std::optional<uint32_t>& baked) {
    return baked ? SizeExpr(*baked) : SizeExpr::Param(next_dim++);
  };
  const SizeExpr k_size = size_of(spec.k);
  const SizeExpr n_size = size_of(spec.n);
  const SizeExpr m_size = size_of(spec.m);
  const SizeExpr w_bytes = n_size * CeilDiv(k_size, decoder.chunk_weights) * decoder.chunk_bytes;
  const auto y = k.Param<Y>("y", {.count = n_size * m_size});
  const auto w = k.Param<In<U8>>("w", {.count = w_bytes, .constant = true});
  const auto x = k.Param<In<F16>>("x", {.count = k_size * m_size});
  std::optional<In<F32>> bias;
  if (spec.bias) bias.emplace(k.Param<In<F32>>("bias", {.count = n_size, .constant = true}));
  const Dim cols = k.ParamDim("k", spec.k, decoder.chunk_weights);
  const Dim rows = k.ParamDim("n", spec.n);
  const Dim tokens = k.ParamDim("m", spec.m);

  k.Launch({.block = {kWarpLanes * spec.warps, 1, 1},
            .grid = {CeilDiv(n_size, kTileRows * spec.warps), CeilDiv(m_size, spec.tokens), 1},
            .min_blocks_per_sm = 1});
  k.Costs({.bytes = w_bytes + k_size * m_size * 2 + n_size * m_size * 4,
           .flops = n_size * k_size * m_size * 2});

  const Val<U32> g = k.Lane() / 4;
  const Val<U32> t = k.Lane() % 4;
  const Val<U32> tile_row = (k.CtaX() * spec.warps + k.Warp()) * kTileRows;
  const Val<U32> tile_token = k.CtaY() * spec.tokens;
  k.If(tile_row < rows, [&] {  // the same for all lanes of a warp
    const auto weights_of = [&](const Val<U32>& row) {
      return w.At(Min(row, rows - 1) * (cols / decoder.chunk_weights), decoder.chunk_bytes);
    };
    const In<U8> near_row = weights_of(tile_row + g);
    const In<U8> far_row = weights_of(tile_row + g + 8);
    std::vector<In<F16>> x_rows;
    std::deque<MmaTile> tiles;  // a Var cannot move
    for (uint32_t first = 0; first < spec.tokens; first += kTileTokens) {
      const Val<U32> token = Min(tile_token + g + first, tokens - 1);
      x_rows.push_back(x.At(token * (cols / kStepWeights), kStepWeights * kByteSize<F16>));
      tiles.emplace_back(k);
    }

    k.For(0, cols / kStepWeights, {.unroll = spec.unroll}, [&](const Val<U32>& step) {
      const Val<U32> unit = step / kStepsPerUnit;
      const Val<U32> lane = (step % kStepsPerUnit) * 4 + t;
      const LaneGroups<FloatGroup> near = DecodeFloats(decoder, near_row, unit, lane);
      const LaneGroups<FloatGroup> far = DecodeFloats(decoder, far_row, unit, lane);
      for (size_t group = 0; group < near.size(); ++group) {
        const Vec<U32, 4> a = AFragment(near[group].weights, far[group].weights);
        const Val<U32> column = unit * kUnitWeights + near[group].first;
        for (size_t i = 0; i < tiles.size(); ++i) {
          tiles[i].MultiplyAdd16(a, x_rows[i].At(column).template As<U32>().template Load<2>(0));
        }
      }
    });

    const Y y_tile = y.At(k.CtaY() * rows, kByteSize<F32> * spec.tokens);
    for (size_t i = 0; i < 4; ++i) {  // elements of a tile: see mma.h
      const Val<U32> row = tile_row + g + static_cast<uint32_t>(i / 2 * 8);
      k.If(row < rows, [&] {
        std::optional<Val<F32>> addend;
        if (bias) addend.emplace(bias->Load(row));
        for (size_t j = 0; j < tiles.size(); ++j) {
          const Val<U32> token = t * 2 + static_cast<uint32_t>(j * kTileTokens + i % 2);
          k.If(tile_token + token < tokens, [&] {
            const Val<U32> at = token * rows + row;
            const Val<F32> sum = tiles[j].Element(i);
            const Val<F32> biased = addend ? sum + *addend : sum;
            if constexpr (std::is_same_v<Y, InOut<F32>>) {
              y_tile.Store(at, y_tile.Load(at) + biased);
            } else {
              y_tile.Store(at, biased);
            }
          });
        }
      });
    }
  });
  return std::move(k).Finish();
}

}  // namespace

absl::StatusOr<KernelSpec> BuildGemm(const GemmSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  if (spec.k) PTXSMITH_RETURN_IF_ERROR(CheckK(GemmSpec::kFamily, spec.quant, *spec.k));
  return spec.residual ? Build<InOut<F32>>(spec, target) : Build<Out<F32>>(spec, target);
}

std::vector<GemmSpec> GemmVariants() {
  std::vector<GemmSpec> variants;
  for (const Decoder& decoder : AllDecoders()) {
    const QuantType type = decoder.type;
    variants.push_back({type, decoder.chunk_weights * 9, 19, 9, 16, 2});
    variants.push_back({type, 4096, 256, 128, 64, 4});
  }
  const QuantType type = QuantType::kQ4K;
  const std::optional<uint32_t> open;
  variants.push_back({type, open, open, open, 32, 4});
  variants.push_back({type, 512, 16, 8, 8, 1});
  variants.push_back({type, 256, 1, 1, 8, 8, 1, true});
  variants.push_back({type, 512, 33, 65, 64, 1, 2, false, true});
  variants.push_back({QuantType::kQ8_0, 288, 47, 33, 32, 2, 4, true, true});
  return variants;
}

}  // namespace ptxsmith

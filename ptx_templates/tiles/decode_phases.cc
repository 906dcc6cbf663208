// The phases of decode_token's compute warps, but for the attention: decode_attention.cc.
#include <algorithm>
#include <optional>

#include "codegen/math.h"
#include "ptx_templates/best.h"
#include "ptx_templates/tiles/decode_kernel.h"
#include "ptx_templates/tiles/repack.h"

namespace ptxsmith {
void DecodeKernel::Embed() {
  const uint32_t blocks = spec_.width / kTileColumns;
  const Decoder& decoder = DecoderFor(spec_.embedding);
  const Val<U32> token = Min(params_.tokens.Load(0), spec_.vocab - 1);
  // Decoders have their own order of a unit's weights; through shared memory it becomes eight in a
  // row for each lane.
  const InOut<F32> scratch = product_.images().As<F32>();
  k_.If(warp_ == 0, [&] {
    k_.For(cta_, blocks, {.step = spec_.ctas}, [&](const Val<U32>& block) {
      const uint32_t row_chunks = spec_.width / decoder.chunk_weights;
      const In<U8> row = params_.embedding.At(token * row_chunks, decoder.chunk_bytes);
      for (const FloatGroup& group : DecodeFloats(decoder, row, block, lane_)) {
        scratch.Store<4>(group.first, group.weights);
      }
      k_.WarpBarrier();
      const Val<U32> column = block * kTileColumns + lane_ * 8;
      Var<F32> squares = k_.NewVar<F32>(0.0f);
      for (uint32_t half = 0; half < 2; ++half) {
        const Vec<F32, 4> loaded = scratch.At(lane_ * 8).Load<4>(4 * half);
        const Vec<F32, 4> norm = params_.norms.At(column).Load<4>(4 * half);
        // Finite, so that no word is all ones.
        constexpr float kLargest = 3e38f;
        const auto x =
            MakeVec<4>([&](size_t i) { return Max(Min(loaded[i], kLargest), -kLargest); });
        const auto words = MakeVec<4>([&](size_t i) { return Bitcast<U32>(x[i]); });
        copy_.At(at_.embedding).At(column).Store<4>(4 * half, words, MemoryOrder::kRelaxed);
        const auto scaled = MakeVec<4>([&](size_t i) { return ClampToHalf(x[i] * norm[i]); });
        const Val<U32> low = PackHalf2(scaled[0], scaled[1]);
        copy_.At(at_.x)
            .At(column / 2)
            .Store<2>(2 * half, Vec<U32, 2>({low, PackHalf2(scaled[2], scaled[3])}),
                      MemoryOrder::kRelaxed);
        for (const Val<F32>& value : x) squares.Fma(value, value);
      }
      const Val<F32> own = squares;
      const Val<F32> both = own + ShuffleXor(own, 1);
      k_.If(lane_ % 2 == 0,
            [&] { Publish(copy_.At(at_.squares), column / kTileRows, Bitcast<U32>(both)); });
      k_.WarpBarrier();
    });
  });
  k_.NamedBarrier(kCompute, threads());  // the scratch is the images' again
}

void DecodeKernel::PublishHalf(const InOut<U32>& at, const Val<U32>& index, const Val<F32>& value,
                               const Pred& on) {
  const Val<F32> finite = ClampToHalf(value);
  const Val<U32> word = PackHalf2(finite, ShuffleXor(finite, 1));
  k_.If(on && thread_ % 2 == 0, [&] { Publish(at, index / 2, word); });
}

// Cosine and sine for the pair that row `row` of q or k belongs to.
Vec<F32, 2> DecodeKernel::Rotation(const Val<U32>& row) {
  const Val<U32> pair = row % spec_.head_dim / 2;
  const Vec<F32, 2> rate = params_.rates.Load<2>(pair * 2);
  return CosSinTurns(FractionOfTurns(ToF32(position_), rate[0], rate[1]));
}

void DecodeKernel::QueryKeyValue(const Val<U32>& layer, const Val<U32>& flags) {
  const InOut<U32> region = Region(layer);
  const auto row_from = [&](const Val<U32>& first) {
    return Min(first * kTileRows + thread_, qkv_rows() - 1);
  };
  // What a row needs besides its sum: fetched before the input has come, when rows are known.
  struct RowData {
    Vec<F32, 2> rotation;
    Val<F32> bias;
  };
  const auto data_of = [&](const Val<U32>& row) -> RowData {
    const Vec<F32, 2> rotation = Rotation(row);
    return {rotation, spec_.bias ? params_.biases->At(layer, qkv_rows() * 4).Load(row)
                                 : Constant<F32>(row, 0.0f)};
  };
  std::optional<RowData> early;
  if (MostRowTiles(spec_.ctas, qkv_.row_tiles()) <= MostAtOnce(qkv_)) {
    early.emplace(data_of(row_from(RowTilesOf(cta_, spec_.ctas, qkv_.row_tiles()).first)));
  }
  StageInput(region.At(at_.x), qkv_.blocks);
  MultiplyRows(qkv_, flags, /*squares=*/true, [&](const Val<U32>& first, const Val<U32>& count) {
    const Pred on = thread_ < count * kTileRows;
    const Val<U32> local = thread_ / kTileRows;
    const Val<U32> row = row_from(first);
    const RowData data = early ? *early : data_of(row);
    Var<F32> value = k_.NewVar<F32>(0.0f);
    k_.If(on, [&] {
      value = RowSum(qkv_, first, local, thread_ % kTileRows) * scale_.Load(0);
      if (spec_.bias) value += data.bias;
    });
    // The tiles' rows bring the two elements of a pair side by side.
    const Val<F32> mine = value;
    const Val<F32> partner = ShuffleXor(mine, 1);
    const auto [cosine, sine] = data.rotation;
    const Val<F32> rotated =
        Select<F32>(row % 2 == 0, mine * cosine - partner * sine, partner * sine + mine * cosine);
    const Val<F32> turned = Select<F32>(row < q_rows() + kv_rows(), rotated, mine);
    k_.If(on, [&] {
      // Where the element belongs in its head.
      const Val<U32> place =
          spec_.pairing == RopePairing::kAdjacent
              ? row
              : Select<U32>(row < q_rows() + kv_rows(),
                            SourceRow(RowOrder::kPairs, spec_.head_dim, row), row);
      k_.If(
          row < q_rows(), [&] { Publish(region.At(at_.qkv), place, Bitcast<U32>(turned)); },
          [&] {
            // Keys and values are used as the cache will have them.
            const Val<F16> half = ToF16(turned);
            Publish(region.At(at_.qkv), place, Bitcast<U32>(ToF32(half)));
            const Val<U32> in_part = place - q_rows();
            const Val<U32> is_value = Select<U32>(in_part >= kv_rows(), 1, 0);
            const Val<U32> in_kv = in_part - is_value * kv_rows();
            const Val<U32> cell = in_kv / spec_.head_dim * spec_.context + position_;
            params_.kv.At(layer * 2 + is_value, static_cast<uint32_t>(DecodeKvPartBytes(spec_)))
                .As<F16>()
                .At(cell, spec_.head_dim * 2)
                .Store(in_kv % spec_.head_dim, half);
          });
    });
  });
}

void DecodeKernel::AddToResidual(const PhaseMatrix& matrix, const Val<U32>& flags,
                                 const InOut<U32>& x, float gain, const NextInput& next) {
  const RowRange own = RowTilesOf(cta_, spec_.ctas, spec_.width / kTileRows);
  const Val<U32> row = Min(own.first * kTileRows + thread_, spec_.width - 1);
  // Before the wait, which is longer.
  const Val<F32> weight = next.norm.Load(row) * scale_.Load(kUnits + next.slot);
  StageInput(x, matrix.blocks);
  MultiplyRows(matrix, flags, /*squares=*/false, [&](const Val<U32>& first, const Val<U32>& count) {
    const Pred on = thread_ < count * kTileRows;
    k_.If(on, [&] {
      const Val<F32> sum = RowSum(matrix, first, thread_ / kTileRows, thread_ % kTileRows);
      *residual_ += gain == 1.0f ? sum : sum * gain;
    });
    const Val<F32> now = *residual_;
    PublishHalf(next.x, row, now * weight, on);
    Var<F32> square = k_.NewVar<F32>(now * now);
    for (uint32_t mask = 1; mask < kTileRows; mask *= 2) {
      square += ShuffleXor<F32>(square, mask);
    }
    k_.If(on && thread_ % kTileRows == 0,
          [&] { Publish(next.squares, row / kTileRows, Bitcast<U32>(Val<F32>(square))); });
  });
}

void DecodeKernel::GateUp(const Val<U32>& layer, const Val<U32>& flags) {
  constexpr uint32_t kOutputs = kTileRows / 2;  // of a tile, which holds rows of both
  const InOut<U32> region = Region(layer);
  StageInput(region.At(at_.x_ff), gate_up_.blocks);
  MultiplyRows(gate_up_, flags, /*squares=*/true,
               [&](const Val<U32>& first, const Val<U32>& count) {
                 const Pred on = thread_ < count * kOutputs;
                 Var<F32> hidden = k_.NewVar<F32>(0.0f);
                 k_.If(on, [&] {
                   const Val<U32> local = thread_ / kOutputs;
                   const Val<U32> row = thread_ % kOutputs;
                   const Val<F32> scale = scale_.Load(1);
                   const Val<F32> gate = RowSum(gate_up_, first, local, row) * scale;
                   const Val<F32> up = RowSum(gate_up_, first, local, row + kOutputs) * scale;
                   hidden = gate / (Exp(Neg(gate)) + 1.0f) * up * kExchangeHeadroom;
                 });
                 PublishHalf(region.At(at_.hidden), first * kOutputs + thread_, hidden, on);
               });
}

void DecodeKernel::Output() {
  const InOut<U32> region = copy_.At(spec_.layers * at_.layer);
  StageInput(region.At(at_.x), output_.blocks);
  Best best(k_);
  MultiplyRows(output_, k_.Const<U32>(0), /*squares=*/true,
               [&](const Val<U32>& first, const Val<U32>& count) {
                 const Val<U32> row = first * kTileRows + thread_;
                 k_.If(thread_ < count * kTileRows && row < spec_.vocab, [&] {
                   const Val<F32> logit =
                       RowSum(output_, first, thread_ / kTileRows, thread_ % kTileRows) *
                       scale_.Load(0);
                   params_.logits.Store(row, logit);
                   best.Offer(logit, row);
                 });
               });
  best.ReduceWarp();
  k_.If(lane_ == 0, [&] {
    best_values_.Store(warp_, best.value);
    best_indices_.Store(warp_, best.index);
  });
  k_.NamedBarrier(kCompute, threads());
  k_.If(warp_ == 0, [&] {
    const Val<U32> from = Min(lane_, spec_.warps - 1);
    best.Offer(best_values_.Load(from), best_indices_.Load(from));
    best.ReduceWarp();
    const InOut<U32> all = copy_.At(at_.best);
    k_.If(lane_ == 0, [&] {
      // Blocks without rows have nothing to offer.
      const Val<U32> index = Min(Val<U32>(best.index), spec_.vocab - 1);
      all.At(cta_ * 2).Store<2>(0, Vec<U32, 2>({Bitcast<U32>(Val<F32>(best.value)), index}),
                                MemoryOrder::kRelaxed);
    });
    k_.If(cta_ == 0, [&] { Pick(); });
  });
}

void DecodeKernel::Pick() {
  Best best(k_);
  k_.For(0, spec_.ctas, {.step = kWarpLanes}, [&](const Val<U32>& c) {
    Polled<2> offer(k_, copy_.At(at_.best).At(Min(c + lane_, spec_.ctas - 1) * 2));
    WaitFor(k_, offer);
    best.Offer(offer.floats()[0], offer.words()[1]);
  });
  best.ReduceWarp();
  k_.If(lane_ == 0, [&] {
    // Every block has begun long ago: it has read the turn, the token and the position.
    params_.exchange.Store(0, params_.exchange.Load(0) ^ 1);
    if (!spec_.pick) return;
    const Val<U32> token = Min(Val<U32>(best.index), spec_.vocab - 1);
    const Val<U32> step = params_.steps->Load(0);
    params_.picked->Store(0, token);
    params_.log->Store(step % spec_.ring, token);
    params_.steps->Store(0, step + 1);
    params_.tokens.Store(0, token);
    params_.positions.Store(0, position_ + 1);
  });
}

}  // namespace ptxsmith

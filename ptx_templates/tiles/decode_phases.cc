// The phases of decode_token's compute warps, but for the attention: decode_attention.cc.
#include <algorithm>
#include <deque>
#include <optional>
#include <vector>

#include "codegen/math.h"
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

void DecodeKernel::Compute() {
  Embed();
  // The residual stays with the thread that owns its row, in o and in down alike.
  const RowRange own = RowTilesOf(cta_, spec_.ctas, spec_.width / kTileRows);
  const Val<U32> row = Min(own.first * kTileRows + thread_, spec_.width - 1);
  Polled<1> embedded(k_, copy_.At(at_.embedding).At(row));
  WaitFor(k_, embedded);
  residual_.emplace(&k_.recorder(), embedded.floats()[0]);
  RowData data(k_);
  if (QkvAtOnce()) {
    Rotation(QkvRow(PassAt(StepAt(k_.Const<U32>(0)), k_.Const<U32>(0))), data);
  }
  k_.For(0, steps(), {}, [&](const Val<U32>& step) { Product(StepAt(step), data); });
}

void DecodeKernel::Product(const DecodeStep& step, RowData& data) {
  const auto in = [&](DecodePhase phase) { return step.phase == uint32_t{phase}; };
  const Pred normed = Holds(step.phase, [](const PhaseMatrix& m) { return m.normed; });
  const TileWalk walk = WalkOf(step.phase);
  // Or else a warp multiplies by the blocks of x that it has staged itself.
  const Pred shares = Holds(step.phase, [&](const PhaseMatrix& m) {
    return m.blocks != spec_.warps && m.blocks % spec_.warps != 0;
  });
  const Vec<U32, 2> formats = FormatsAt(step.phase, MarkWarpUniform(flags_.Load(step.layer)));
  const Val<U32> sums_at = Select<U32>(normed, 0, SumsApart());
  const InOut<F32> slots = product_.SlotsOf(sums_at + thread_ / kTileRows, thread_ % kTileRows);
  // Of the norm that the input was made for, or of the one before the next.
  const Val<U32> scale_at = step.phase / 2 % 2 + Select<U32>(normed, 0, kUnits);
  Best best(k_);
  Var<U32> done = k_.NewVar<U32>(0);
  k_.Repeat([&] {
    const DecodePass pass = PassAt(step, done);
    const Pred has_row = thread_ < pass.count * kTileRows;
    const Pred is_first = done == 0;
    LoadRowData(step, pass, data);
    k_.If(is_first, [&] { StageInput(step, walk, shares); });
    Multiply(pass, walk, formats, sums_at);
    k_.If(
        normed && is_first, [&] { k_.NamedBarrier(kSquares, threads() + kWarpLanes); },
        [&] { k_.NamedBarrier(kCompute, threads()); });
    const Val<F32> scale = scale_.Load(scale_at);
    const Val<F32> sum = RowSum(step.phase, slots, has_row);
    k_.If(
        !normed, [&] { FinishResidual(step, pass, has_row, sum, scale, data); },
        [&] {
          k_.If(
              in(kQkv), [&] { FinishQkv(step, pass, has_row, sum, scale, data); },
              [&] {
                k_.If(
                    in(kGateUp), [&] { FinishGateUp(has_row, sum, scale, data); },
                    [&] { FinishOutput(pass, has_row, sum, scale, best); });
              });
        });
    done += most();
    const Pred more = done < step.own.count;
    k_.If(more, [&] { k_.NamedBarrier(kCompute, threads()); });  // the sums have been read
    return more;
  });
  k_.If(in(kQkv), [&] { Attend(step.layer); });
  k_.If(in(kOutput), [&] { Choose(best); });
}

TileWalk DecodeKernel::WalkOf(const Val<U32>& phase) const {
  std::vector<uint32_t> seen = {matrices_[0].blocks};
  std::optional<TileWalk> walk(TileWalk(warp_, spec_.warps, seen[0]));
  for (const PhaseMatrix& matrix : matrices_) {
    if (std::find(seen.begin(), seen.end(), matrix.blocks) != seen.end()) continue;
    seen.push_back(matrix.blocks);
    const Pred here = Holds(phase, [&](const PhaseMatrix& m) { return m.blocks == matrix.blocks; });
    walk.emplace(TileWalk(here, TileWalk(warp_, spec_.warps, matrix.blocks), *walk));
  }
  return *walk;
}

void DecodeKernel::StageInput(const DecodeStep& step, const TileWalk& walk, const Pred& shares) {
  const Val<U32> from =
      Of(step.phase, [](const PhaseMatrix& m) { return m.input / kExchangeUnit; });
  const InOut<U32> x = Region(step.layer).At(from, kExchangeUnit * 4);
  // Several blocks of a warp are converted side by side; most matrices have one.
  std::vector<uint32_t> wide;
  for (const PhaseMatrix& matrix : matrices_) {
    const bool seen = std::find(wide.begin(), wide.end(), matrix.blocks) != wide.end();
    if (matrix.blocks > spec_.warps && !seen) wide.push_back(matrix.blocks);
  }
  const auto stage = [&](const auto& self, uint32_t i) -> void {
    if (i == wide.size()) return StageBlocks(x, {warp_ < walk.blocks});
    const uint32_t blocks = wide[i];
    k_.If(
        walk.blocks == blocks,
        [&] {
          std::vector<Pred> has;
          for (uint32_t first = 0; first < blocks; first += spec_.warps) {
            has.push_back(first + spec_.warps <= blocks ? k_.True() : warp_ + first < blocks);
          }
          StageBlocks(x, has);
        },
        [&] { self(self, i + 1); });
  };
  stage(stage, 0);
  k_.If(
      shares, [&] { k_.NamedBarrier(kCompute, threads()); }, [&] { k_.WarpBarrier(); });
}

// Every `warps`-th block from that of the warp's number on, if it has it.
void DecodeKernel::StageBlocks(const InOut<U32>& x, const std::vector<Pred>& has) {
  std::deque<Polled<4>> inputs;
  for (uint32_t i = 0; i < has.size(); ++i) {
    const Val<U32> block = warp_ + i * spec_.warps;
    inputs.emplace_back(k_, x.At(block, kTileColumns * 2).At(lane_ * 4), has[i]);
  }
  // Only the first one is polled before anything has come: when every warp of the device polled all
  // of its own, they read 3.8 MB a time, and what they waited for came 0.3 us later (8B, H200).
  for (uint32_t i = 0; i < has.size(); ++i) {
    const auto poll = [&] {
      k_.Repeat([&] {
        inputs[i].Load();
        return !inputs[i].Complete();
      });
    };
    if (i == 0) {
      poll();
      for (uint32_t j = 1; j < has.size(); ++j) inputs[j].Load();
    } else {
      k_.If(!inputs[i].Complete(), poll);
    }
    const Vec<U32, 4> words = inputs[i].words();
    k_.If(has[i], [&] {
      const auto pairs = std::array{UnpackHalf2(words[0]), UnpackHalf2(words[1]),
                                    UnpackHalf2(words[2]), UnpackHalf2(words[3])};
      StoreImage(k_, product_.image(warp_ + i * spec_.warps), lane_,
                 MakeVec<8>([&](size_t j) { return pairs[j / 2][j % 2]; }), spec_.terms);
    });
  }
}

void DecodeKernel::Multiply(const DecodePass& pass, const TileWalk& walk,
                            const Vec<U32, 2>& formats, const Val<U32>& sums_at) {
  k_.For(pass.begin, pass.end, {}, [&](const Val<U32>& part) {
    const Pred is_first = part == 0;
    const Val<U32> format = Select(is_first, formats[0], formats[1]);
    const Val<U32> row_tiles = Select(is_first, pass.in_first, pass.count - pass.in_first);
    const Val<U32> at = sums_at + Select<U32>(is_first, 0, pass.in_first);
    const auto from = [&](const auto& self, uint32_t i) -> void {
      const auto multiply = [&] {
        product_.Multiply(ring_, *formats_[i], walk, row_tiles, at, warp_, lane_);
      };
      if (i + 1 == formats_.size()) return multiply();
      k_.If(format == i, multiply, [&] { self(self, i + 1); });
    };
    from(from, 0);
  });
}

Val<F32> DecodeKernel::RowSum(const Val<U32>& phase, const InOut<F32>& slots,
                              const Pred& has_row) const {
  const auto count_of = [&](const PhaseMatrix& m) { return std::min(m.blocks, spec_.warps); };
  Var<F32> sum = k_.NewVar<F32>(0.0f);
  k_.If(has_row, [&] {
    std::vector<uint32_t> seen;
    for (const PhaseMatrix& matrix : matrices_) {
      const uint32_t its = count_of(matrix);
      if (std::find(seen.begin(), seen.end(), its) != seen.end()) continue;
      seen.push_back(its);
      k_.If(Holds(phase, [&](const PhaseMatrix& m) { return count_of(m) == its; }),
            [&] { sum = product_.SumOf(its, slots); });
    }
  });
  return sum;
}

// Cosine and sine for the pair that row `row` of q or k belongs to.
void DecodeKernel::Rotation(const Val<U32>& row, RowData& data) {
  const Val<U32> pair = row % spec_.head_dim / 2;
  const Vec<F32, 2> rate = params_.rates.Load<2>(pair * 2);
  const Vec<F32, 2> rotation = CosSinTurns(FractionOfTurns(ToF32(position_), rate[0], rate[1]));
  data.cosine = rotation[0];
  data.sine = rotation[1];
}

Val<U32> DecodeKernel::QkvPlace(const Val<U32>& row) const {
  if (spec_.pairing == RopePairing::kAdjacent) return row;
  return Select<U32>(row < q_rows() + kv_rows(), SourceRow(RowOrder::kPairs, spec_.head_dim, row),
                     row);
}

void DecodeKernel::LoadRowData(const DecodeStep& step, const DecodePass& pass, RowData& data) {
  const Val<U32> row = pass.first * kTileRows + thread_;
  const Val<U32> region = step.layer * at_.layer;
  const auto in = [&](DecodePhase phase) { return step.phase == uint32_t{phase}; };
  k_.If(in(kQkv), [&] {
    const Val<U32> its = QkvRow(pass);
    if (!QkvAtOnce()) Rotation(its, data);
    if (spec_.bias) data.number = params_.biases->At(step.layer, qkv_rows() * 4).Load(its);
    data.to = region + at_.qkv + QkvPlace(its);
  });
  k_.If(in(kGateUp), [&] {
    // A tile has eight rows of the gate, then those of up.
    constexpr uint32_t kOutputs = kTileRows / 2;
    const Val<U32> hidden = row / kTileRows * kOutputs + thread_ % kOutputs;
    data.to = region + at_.hidden + hidden / 2;
  });
  k_.If(Holds(step.phase, [](const PhaseMatrix& m) { return !m.normed; }), [&] {
    const Pred is_down = in(kDown);
    const Val<U32> norm = 2 * step.layer + Select<U32>(is_down, 2, 1);
    data.number = params_.norms.At(norm, spec_.width * 4).Load(Min(row, spec_.width - 1));
    data.to = region + Select<U32>(is_down, at_.layer + at_.x, at_.x_ff) + row / 2;
  });
}

void DecodeKernel::PublishHalf(const Val<U32>& word, const Val<F32>& value, const Pred& has_row) {
  const Val<F32> finite = ClampToHalf(value);
  const Val<U32> both = PackHalf2(finite, ShuffleXor(finite, 1));
  k_.If(has_row && thread_ % 2 == 0, [&] { Publish(copy_, word, both); });
}

void DecodeKernel::FinishQkv(const DecodeStep& step, const DecodePass& pass, const Pred& has_row,
                             const Val<F32>& sum, const Val<F32>& scale, const RowData& data) {
  const Val<U32> row = QkvRow(pass);
  const Val<F32> scaled = sum * scale;
  const Val<F32> mine = spec_.bias ? scaled + data.number : scaled;
  // The tiles' rows bring the two elements of a pair side by side.
  const Val<F32> partner = ShuffleXor(mine, 1);
  const Val<F32> cosine = data.cosine;
  const Val<F32> sine = data.sine;
  const Val<F32> rotated =
      Select<F32>(row % 2 == 0, mine * cosine - partner * sine, partner * sine + mine * cosine);
  const Val<F32> turned = Select<F32>(row < q_rows() + kv_rows(), rotated, mine);
  k_.If(has_row, [&] {
    k_.If(
        row < q_rows(), [&] { Publish(copy_, data.to, Bitcast<U32>(turned)); },
        [&] {
          // Keys and values are used as the cache will have them.
          const Val<F16> half = ToF16(turned);
          Publish(copy_, data.to, Bitcast<U32>(ToF32(half)));
          const Val<U32> in_part = QkvPlace(row) - q_rows();
          const Val<U32> is_value = Select<U32>(in_part >= kv_rows(), 1, 0);
          const Val<U32> in_kv = in_part - is_value * kv_rows();
          const Val<U32> cell = in_kv / spec_.head_dim * spec_.context + position_;
          params_.kv.At(step.layer * 2 + is_value, static_cast<uint32_t>(DecodeKvPartBytes(spec_)))
              .As<F16>()
              .At(cell, spec_.head_dim * 2)
              .Store(in_kv % spec_.head_dim, half);
        });
  });
}

// After o and down, in whose one pass a thread has the same row: adds to the residual and publishes
// the next input, which is multiplied by the weights of its norm and what scale_ says.
void DecodeKernel::FinishResidual(const DecodeStep& step, const DecodePass& pass,
                                  const Pred& has_row, const Val<F32>& sum, const Val<F32>& scale,
                                  const RowData& data) {
  const Pred is_down = step.phase == uint32_t{kDown};
  *residual_ += sum * Select<F32>(is_down, 1.0f / kExchangeHeadroom, 1.0f);
  const Val<F32> now = *residual_;
  PublishHalf(data.to, now * (data.number * scale), has_row);
  Var<F32> square = k_.NewVar<F32>(now * now);
  for (uint32_t mask = 1; mask < kTileRows; mask *= 2) {
    square += ShuffleXor<F32>(square, mask);
  }
  k_.If(has_row && thread_ % kTileRows == 0, [&] {
    const InOut<U32> region = Region(step.layer);
    const InOut<U32> squares =
        region.At(Select<U32>(is_down, at_.layer + at_.squares, at_.squares_ff));
    Publish(squares, pass.first + thread_ / kTileRows, Bitcast<U32>(Val<F32>(square)));
  });
}

void DecodeKernel::FinishGateUp(const Pred& has_row, const Val<F32>& sum, const Val<F32>& scale,
                                const RowData& data) {
  constexpr uint32_t kOutputs = kTileRows / 2;
  const Val<F32> gate = sum * scale;
  const Val<F32> up = ShuffleXor(gate, kOutputs);
  const Val<F32> hidden = gate / (Exp(Neg(gate)) + 1.0f) * up * kExchangeHeadroom;
  PublishHalf(data.to, hidden, has_row && thread_ % kTileRows < kOutputs);
}

void DecodeKernel::FinishOutput(const DecodePass& pass, const Pred& has_row, const Val<F32>& sum,
                                const Val<F32>& scale, Best& best) {
  const Val<U32> row = pass.first * kTileRows + thread_;
  k_.If(has_row && row < spec_.vocab, [&] {
    const Val<F32> logit = sum * scale;
    params_.logits.Store(row, logit);
    best.Offer(logit, row);
  });
}

void DecodeKernel::Choose(Best& best) {
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

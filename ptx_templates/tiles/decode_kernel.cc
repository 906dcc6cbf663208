// The frame of decode_token: parameters, the kinds of warps, and what the phases share.
#include "ptx_templates/tiles/decode_kernel.h"

#include <algorithm>

namespace ptxsmith {
namespace {

PhaseMatrix MatrixOf(uint32_t k, std::vector<MatrixPart> parts) {
  return {k / kTileColumns, std::move(parts)};
}
MatrixPart PartOf(QuantType type, uint32_t rows, uint32_t plan_word) {
  const TileFormat* format = &TileFormatOf(type);
  return {format, format, 0, plan_word, rows / kTileRows};
}
MatrixPart PartOf(QuantType type, QuantType more, uint32_t flag, uint32_t rows,
                  uint32_t plan_word) {
  return {&TileFormatOf(type), &TileFormatOf(more), flag, plan_word, rows / kTileRows};
}

}  // namespace

DecodeParams::DecodeParams(KernelBuilder& k, const DecodeTokenSpec& spec)
    : tokens(k.Param<InOut<U32>>("tokens", {.count = 1, .alignment = 4})),
      positions(k.Param<InOut<U32>>("positions", {.count = 1, .alignment = 4})),
      logits(k.Param<Out<F32>>("logits", {.count = spec.vocab})),
      exchange(
          k.Param<InOut<U32>>("exchange", {.count = DecodeExchangeWords(spec), .alignment = 128})),
      kv(k.Param<InOut<U8>>("kv",
                            {.count = DecodeKvPartBytes(spec) * (2 * spec.layers - 1) +
                                      uint64_t{spec.kv_heads} * spec.context * spec.head_dim * 2})),
      tiles(k.Param<In<U8>>("tiles", {.count = 1, .alignment = 128, .constant = true})),
      plan(k.Param<In<U32>>("plan",
                            {.count = uint64_t{spec.layers + 1} * kPlanWords, .constant = true})),
      norms(k.Param<In<F32>>(
          "norms", {.count = (2 * uint64_t{spec.layers} + 1) * spec.width, .constant = true})),
      rates(In<F32>(Address{})),
      embedding(In<U8>(Address{})) {
  const uint64_t qkv = (spec.heads + 2 * uint64_t{spec.kv_heads}) * spec.head_dim;
  if (spec.bias) {
    biases = k.Param<In<F32>>("biases", {.count = qkv * spec.layers, .constant = true});
  }
  rates = k.Param<In<F32>>("rates", {.count = spec.head_dim, .constant = true});
  const QuantTypeInfo& info = Info(spec.embedding);
  embedding = k.Param<In<U8>>(
      "embedding",
      {.count = uint64_t{spec.vocab} * (spec.width / info.block_weights) * info.block_bytes,
       .constant = true});
  if (!spec.pick) return;
  steps = k.Param<InOut<U32>>("steps", {.count = 1, .alignment = 4});
  log = k.Param<InOut<U32>>("log", {.count = spec.ring, .alignment = 4});
  picked = k.Param<Out<U32>>("picked", {.count = 1, .alignment = 4});
}

DecodeKernel::DecodeKernel(KernelBuilder& k, const DecodeTokenSpec& spec)
    : k_(k),
      spec_(spec),
      at_(spec),
      qkv_(MatrixOf(spec.width, {PartOf(spec.qk, q_rows() + kv_rows(), 0),
                                 PartOf(spec.v, spec.v_more, kPlanMoreV, kv_rows(), 1)})),
      o_(MatrixOf(q_rows(), {PartOf(spec.o, spec.width, 2)})),
      gate_up_(MatrixOf(spec.width, {PartOf(spec.gate_up, 2 * spec.ff, 3)})),
      down_(MatrixOf(spec.ff, {PartOf(spec.down, spec.down_more, kPlanMoreDown, spec.width, 4)})),
      output_(MatrixOf(spec.width, {PartOf(spec.output, spec.vocab + kTileRows - 1, 0)})),
      params_(k, spec),
      ring_(k, {.warps = spec.warps, .in_flight = spec.in_flight, .slots = spec.slots}),
      product_(k, Sums()),
      scale_(k.SharedArray<F32>("scale", 4)),
      best_values_(k.SharedArray<F32>("best_values", spec.warps)),
      best_indices_(k.SharedArray<U32>("best_indices", spec.warps)),
      thread_(k.ThreadX()),
      warp_(k.Warp()),
      lane_(k.Lane()),
      cta_(k.CtaX()),
      position_(params_.positions.Load(0)),
      copy_(params_.exchange),
      other_copy_(params_.exchange),
      partials_(params_.exchange.At(kExchangeHeader + 2 * at_.copy)),
      head_group_(cta_ % (spec.heads / DecodeHeadGroup(spec))),
      part_(cta_ / (spec.heads / DecodeHeadGroup(spec))),
      part_positions_(PartPositions()),
      parts_(Max((position_ + part_positions_ - 1) / part_positions_, 1)),
      first_cached_(Min(part_ * part_positions_, position_)),
      cached_(Min(part_positions_, position_ - first_cached_)) {
  const Val<U32> turn = params_.exchange.Load(0) & 1;
  const InOut<U32> copies = params_.exchange.At(kExchangeHeader);
  copy_ = copies.At(turn, at_.copy * 4);
  other_copy_ = copies.At(turn ^ 1, at_.copy * 4);
}

TileProduct::Shape DecodeKernel::Sums() {
  // Nobody waits between reading a matrix's sums and writing those of the next: the two lie apart.
  const uint32_t apart = std::max({MostAtOnce(qkv_), MostAtOnce(gate_up_), MostAtOnce(output_)});
  o_.sums_at = down_.sums_at = apart;
  const uint32_t scratch = (AttentionBytes() + kImageBytes - 1) / kImageBytes;
  return {.warps = spec_.warps,
          .terms = spec_.terms,
          .max_rows = apart + std::max(MostAtOnce(o_), MostAtOnce(down_)),
          .max_blocks = std::max({qkv_.blocks, o_.blocks, down_.blocks, scratch})};
}

// Whole units of what a warp takes at a time, so that no part is empty.
Val<U32> DecodeKernel::PartPositions() const {
  const Val<U32> parts = Min(position_ / spec_.split + 1, at_.max_splits);
  const Val<U32> each = Max((position_ + parts - 1) / parts, 1);
  return (each + (kAttentionPositions - 1)) & ~(kAttentionPositions - 1);
}

uint32_t DecodeKernel::MostAtOnce(const PhaseMatrix& matrix) const {
  return std::min(
      {MostRowTiles(spec_.ctas, matrix.row_tiles()), kMaxRowTiles, threads() / kTileRows});
}

void DecodeKernel::Record() {
  ring_.Init();
  k_.Barrier();
  k_.If(
      warp_ < spec_.warps, [&] { Compute(); },
      [&] {
        k_.If(
            warp_ == spec_.warps, [&] { k_.If(lane_ == 0, [&] { Produce(); }); },
            [&] { SumSquares(); });
      });
}

// --- The producer. ---

void DecodeKernel::ProduceRows(const PhaseMatrix& matrix, const std::deque<Var<U32>>& plan,
                               const Val<U64>& policy) {
  const Val<U32> flags = plan[kPlanFlags];
  const RowRange own = RowTilesOf(cta_, spec_.ctas, matrix.row_tiles());
  k_.For(0, own.count, {.step = MostAtOnce(matrix)}, [&](const Val<U32>& done) {
    const Val<U32> count = Min(own.count - done, MostAtOnce(matrix));
    ForParts(matrix, flags, own.first + done, count,
             [&](const TileFormat& format, const MatrixPart& part, const Val<U32>& row_tile,
                 const Val<U32>&, const Val<U32>& n) {
               const In<U8> tiles = params_.tiles.At(Val<U32>(plan[part.plan_word]), kPlanUnit)
                                        .At(row_tile * matrix.blocks, format.bytes);
               ring_.Produce(format, tiles, n * matrix.blocks, policy);
             });
  });
}

void DecodeKernel::Produce() {
  const Val<U64> policy = EvictFirst(k_);
  // A layer's plan is loaded while the one before is copied: the ring must not wait for it.
  std::deque<Var<U32>> plan;
  const auto load = [&](const In<U32>& row) {
    const Vec<U32, 4> low = row.Load<4>(0);
    const Vec<U32, 4> high = row.Load<4>(4);
    return MakeVec<kPlanWords>([&](size_t i) { return i < 4 ? low[i] : high[i - 4]; });
  };
  for (const Val<U32>& word : load(params_.plan)) plan.emplace_back(&k_.recorder(), word);
  k_.For(0, spec_.layers, {}, [&](const Val<U32>& layer) {
    const Vec<U32, kPlanWords> next = load(params_.plan.At(layer + 1, kPlanWords * 4));
    ProduceRows(qkv_, plan, policy);
    ProduceCache(layer, policy);
    for (const PhaseMatrix* matrix : {&o_, &gate_up_, &down_}) ProduceRows(*matrix, plan, policy);
    for (uint32_t i = 0; i < kPlanWords; ++i) plan[i] = next[i];
  });
  ProduceRows(output_, plan, policy);
}

// --- The warp of the sums of squares. ---

void DecodeKernel::SumSquares() {
  const uint32_t words = spec_.width / kTileRows;
  Var<F32> unit = k_.NewVar<F32>(1.0f);  // what the input was multiplied by
  const auto scale = [&](const InOut<U32>& squares, uint32_t slot) {
    std::deque<Polled<1>> polled;
    for (uint32_t i = 0; i < words; i += kWarpLanes) {
      polled.emplace_back(k_, squares.At(Min(lane_ + i, words - 1)));
    }
    WaitForEach(k_, polled);
    Var<F32> sum = k_.NewVar<F32>(0.0f);
    for (uint32_t i = 0; i < polled.size(); ++i) {
      const Val<F32> square = polled[i].floats()[0];
      const bool whole = (i + 1) * kWarpLanes <= words;
      sum += whole ? square : Select<F32>(lane_ + i * kWarpLanes < words, square, 0.0f);
    }
    const Val<F32> mean = WarpSum(sum) / static_cast<float>(spec_.width);
    const Val<F32> root = Sqrt(mean + spec_.eps);
    const Val<F32> inverse = Constant<F32>(root, 1.0f) / root;
    // The sign and exponent alone: a power of two.
    const Val<F32> next = Bitcast<F32>(Bitcast<U32>(inverse) & 0xff800000) * kExchangeHeadroom;
    k_.If(lane_ == 0, [&] {
      scale_.Store(slot, inverse / unit);
      scale_.Store(kUnits + slot, next);
    });
    unit = next;
    k_.NamedBarrier(kSquares, threads() + kWarpLanes);
  };
  // Wipes this block's part of `words` words of the other copy, for the launch after this one.
  const auto wipe = [&](const InOut<U32>& at, uint32_t count) {
    const uint32_t quads = count / 4;
    const Val<U32> ones = k_.Const<U32>(kUnwritten);
    k_.For(cta_ * kWarpLanes + lane_, quads, {.step = spec_.ctas * kWarpLanes},
           [&](const Val<U32>& i) {
             at.Store<4>(i * 4, Vec<U32, 4>({ones, ones, ones, ones}));
           });
  };
  k_.For(0, spec_.layers, {}, [&](const Val<U32>& layer) {
    scale(Region(layer).At(at_.squares), 0);
    scale(Region(layer).At(at_.squares_ff), 1);
    wipe(other_copy_.At(layer, at_.layer * 4), at_.layer);
  });
  scale(copy_.At(spec_.layers * at_.layer + at_.squares), 0);
  wipe(other_copy_.At(spec_.layers * at_.layer), at_.copy - spec_.layers * at_.layer);
}

// --- The compute warps. ---

void DecodeKernel::Compute() {
  Embed();
  // The residual stays with the thread that owns its row, in o and in down alike.
  const RowRange own = RowTilesOf(cta_, spec_.ctas, spec_.width / kTileRows);
  const Val<U32> row = Min(own.first * kTileRows + thread_, spec_.width - 1);
  Polled<1> embedded(k_, copy_.At(at_.embedding).At(row));
  WaitFor(k_, embedded);
  residual_.emplace(&k_.recorder(), embedded.floats()[0]);

  k_.For(0, spec_.layers, {}, [&](const Val<U32>& layer) {
    const Val<U32> flags = params_.plan.At(layer, kPlanWords * 4).Load(kPlanFlags);
    const InOut<U32> region = Region(layer);
    const InOut<U32> next = region.At(at_.layer);
    const In<F32> norms = params_.norms.At(layer, 2 * spec_.width * 4);
    QueryKeyValue(layer, flags);
    Attend(layer);
    AddToResidual(o_, flags, region.At(at_.attended), 1.0f,
                  {norms.At(spec_.width), 0, region.At(at_.x_ff), region.At(at_.squares_ff)});
    GateUp(layer, flags);
    AddToResidual(down_, flags, region.At(at_.hidden), 1.0f / kExchangeHeadroom,
                  {norms.At(2 * spec_.width), 1, next.At(at_.x), next.At(at_.squares)});
  });
  Output();
}

void DecodeKernel::StageInput(const InOut<U32>& x, uint32_t blocks) {
  const uint32_t rounds = (blocks + spec_.warps - 1) / spec_.warps;
  std::deque<Polled<4>> inputs;
  std::vector<Pred> has;
  for (uint32_t i = 0; i < rounds; ++i) {
    const Val<U32> block = warp_ + i * spec_.warps;
    has.push_back((i + 1) * spec_.warps <= blocks ? k_.True() : block < blocks);
    inputs.emplace_back(k_, x.At(block, kTileColumns * 2).At(lane_ * 4), has[i]);
  }
  // Only the first one is polled before anything has come: when every warp of the device polled all
  // of its own, they read 3.8 MB a time, and what they waited for came 0.3 us later (8B, H200).
  for (uint32_t i = 0; i < rounds; ++i) {
    const auto poll = [&] {
      k_.Repeat([&] {
        inputs[i].Load();
        return !inputs[i].Complete();
      });
    };
    if (i == 0) {
      poll();
      for (uint32_t j = 1; j < rounds; ++j) inputs[j].Load();
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
  if (spec_.warps == blocks || blocks % spec_.warps == 0) {
    k_.WarpBarrier();  // a warp multiplies by the blocks that it has staged itself
  } else {
    k_.NamedBarrier(kCompute, threads());
  }
}

Val<F32> DecodeKernel::RowSum(const PhaseMatrix& matrix, const Val<U32>& first,
                              const Val<U32>& local, const Val<U32>& row) {
  if (matrix.parts.size() == 1)
    return product_.RowSum(matrix.blocks, local + matrix.sums_at, local, row);
  // Counted from the start of the part, which Multiply numbered its tiles from.
  const uint32_t second = matrix.parts[0].row_tiles;
  const Val<U32> start = Max(first, second) - first;
  const Val<U32> order = Select<U32>(first + local >= second, local - start, local);
  return product_.RowSum(matrix.blocks, local + matrix.sums_at, order, row);
}

}  // namespace ptxsmith

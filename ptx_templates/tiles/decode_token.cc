#include "ptx_templates/tiles/decode_token.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "codegen/math.h"
#include "ptx_templates/best.h"
#include "ptx_templates/tiles/decode_kernel.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kMaxSplits = 16;
constexpr float kLargestHalf = 65504.0f;

uint32_t Aligned(uint32_t words) { return (words + 31) / 32 * 32; }

constexpr uint32_t kFlags = 5;  // their place in the plan

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

Val<F32> ClampToHalf(const Val<F32>& x) {
  return Max(Min(x, kLargestHalf), -kLargestHalf);  // also for NaN
}

absl::Status Check(const DecodeTokenSpec& spec) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  const auto refuse = [](const auto&... text) {
    return absl::InvalidArgumentError(absl::StrCat("decode_token: ", text...));
  };
  if (spec.heads % spec.kv_heads != 0 || spec.heads / spec.kv_heads % spec.group != 0) {
    return refuse("group=", spec.group, " does not divide the query heads of a key head, ",
                  spec.heads, " / ", spec.kv_heads);
  }
  if (spec.heads * spec.head_dim % kTileColumns != 0) {
    return refuse("heads * head_dim = ", spec.heads * spec.head_dim, " is not a multiple of 256");
  }
  if (spec.heads / spec.group > spec.ctas) {
    return refuse("ctas=", spec.ctas, " is less than the ", spec.heads / spec.group,
                  " groups of heads");
  }
  // The residual of a row stays with one thread.
  const uint32_t tiles = MostRowTiles(spec.ctas, spec.width / kTileRows);
  const uint32_t most = std::min(kMaxRowTiles, spec.warps * kWarpLanes / kTileRows);
  if (tiles > most) {
    return refuse("width=", spec.width, " over ctas=", spec.ctas, " is ", tiles,
                  " tiles of rows a block; warps=", spec.warps, " have room for ", most);
  }
  return CheckK(DecodeTokenSpec::kFamily, spec.embedding, spec.width);
}

}  // namespace

DecodeExchange::DecodeExchange(const DecodeTokenSpec& spec) {
  const uint32_t q = spec.heads * spec.head_dim;
  const uint32_t kv = spec.kv_heads * spec.head_dim;
  max_splits = std::clamp(spec.ctas / (spec.heads / spec.group), 1u, kMaxSplits);
  uint32_t next = 0;
  const auto place = [&](uint32_t words) {
    const uint32_t at = next;
    next += Aligned(words);
    return at;
  };
  x = place(spec.width / 2);
  qkv = place(q + 2 * kv);
  attended = place(q / 2);
  x_ff = place(spec.width / 2);
  hidden = place(spec.ff / 2);
  squares = place(spec.width / kTileRows);
  squares_ff = place(spec.width / kTileRows);
  partials = place((max_splits - 1) * spec.heads * (spec.head_dim + 4));
  layer = next;
  next = (spec.layers + 1) * layer;
  embedding = place(spec.width);
  best = place(2 * spec.ctas);
  copy = next;
}

DecodeParams::DecodeParams(KernelBuilder& k, const DecodeTokenSpec& spec, const DecodeExchange& at)
    : tokens(k.Param<InOut<U32>>("tokens", {.count = 1, .alignment = 4})),
      positions(k.Param<InOut<U32>>("positions", {.count = 1, .alignment = 4})),
      logits(k.Param<Out<F32>>("logits", {.count = spec.vocab})),
      exchange(k.Param<InOut<U32>>(
          "exchange", {.count = kExchangeHeader + 2 * uint64_t{at.copy}, .alignment = 128})),
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
      params_(k, spec, at_),
      ring_(k, {.warps = spec.warps, .in_flight = spec.in_flight, .slots = spec.slots}),
      product_(k, {.warps = spec.warps,
                   .terms = spec.terms,
                   .max_rows = std::max({MostAtOnce(qkv_), MostAtOnce(o_), MostAtOnce(gate_up_),
                                         MostAtOnce(down_), MostAtOnce(output_)}),
                   .max_blocks = std::max(
                       {qkv_.blocks, o_.blocks, down_.blocks,
                        // the attention's own scratch lies in the images
                        (spec.warps * spec.group * (spec.head_dim + 4) * 4 + kImageBytes - 1) /
                            kImageBytes})}),
      scale_(k.SharedArray<F32>("scale", 2)),
      best_values_(k.SharedArray<F32>("best_values", spec.warps)),
      best_indices_(k.SharedArray<U32>("best_indices", spec.warps)),
      thread_(k.ThreadX()),
      warp_(k.Warp()),
      lane_(k.Lane()),
      cta_(k.CtaX()),
      position_(params_.positions.Load(0)),
      copy_(params_.exchange),
      other_copy_(params_.exchange) {
  const Val<U32> turn = params_.exchange.Load(0) & 1;
  const InOut<U32> copies = params_.exchange.At(kExchangeHeader);
  copy_ = copies.At(turn, at_.copy * 4);
  other_copy_ = copies.At(turn ^ 1, at_.copy * 4);
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

template <class F>
void DecodeKernel::ForParts(const PhaseMatrix& matrix, const Val<U32>& flags, const Val<U32>& first,
                            const Val<U32>& count, F&& body) {
  uint32_t begin = 0;
  for (const MatrixPart& part : matrix.parts) {
    const uint32_t end = begin + part.row_tiles;
    const bool only = matrix.parts.size() == 1;
    const Val<U32> low = only ? first : Max(first, begin);
    const Val<U32> n = only ? count : Max(Min(first + count, end), low) - low;
    const auto run = [&](const TileFormat& format) { body(format, part, low - begin, low, n); };
    if (part.format == part.more) {
      run(*part.format);
    } else {
      k_.If((flags & part.flag) != 0, [&] { run(*part.more); }, [&] { run(*part.format); });
    }
    begin = end;
  }
}

void DecodeKernel::ProduceRows(const PhaseMatrix& matrix, const In<U32>& plan,
                               const Val<U32>& flags, const Val<U64>& policy) {
  const RowRange own = RowTilesOf(cta_, spec_.ctas, matrix.row_tiles());
  k_.For(0, own.count, {.step = MostAtOnce(matrix)}, [&](const Val<U32>& done) {
    const Val<U32> count = Min(own.count - done, MostAtOnce(matrix));
    ForParts(matrix, flags, own.first + done, count,
             [&](const TileFormat& format, const MatrixPart& part, const Val<U32>& row_tile,
                 const Val<U32>&, const Val<U32>& n) {
               const In<U8> tiles = params_.tiles.At(plan.Load(part.plan_word), kPlanUnit)
                                        .At(row_tile * matrix.blocks, format.bytes);
               ring_.Produce(format, tiles, n * matrix.blocks, policy);
             });
  });
}

void DecodeKernel::Produce() {
  const Val<U64> policy = EvictFirst(k_);
  k_.For(0, spec_.layers, {}, [&](const Val<U32>& layer) {
    const In<U32> plan = params_.plan.At(layer, kPlanWords * 4);
    const Val<U32> flags = plan.Load(kFlags);
    for (const PhaseMatrix* matrix : {&qkv_, &o_, &gate_up_, &down_}) {
      ProduceRows(*matrix, plan, flags, policy);
    }
  });
  ProduceRows(output_, params_.plan.At(spec_.layers * kPlanWords), k_.Const<U32>(0), policy);
}

// --- The warp of the sums of squares. ---

void DecodeKernel::SumSquares() {
  const uint32_t words = spec_.width / kTileRows;
  const auto scale = [&](const InOut<U32>& squares, uint32_t slot) {
    std::deque<Polled<1>> polled;
    for (uint32_t i = 0; i < words; i += kWarpLanes) {
      polled.emplace_back(k_, squares.At(Min(lane_ + i, words - 1)));
    }
    Var<F32> sum = k_.NewVar<F32>(0.0f);
    for (uint32_t i = 0; i < polled.size(); ++i) {
      WaitFor(k_, polled[i]);
      const Val<F32> square = polled[i].floats()[0];
      const bool whole = (i + 1) * kWarpLanes <= words;
      sum += whole ? square : Select<F32>(lane_ + i * kWarpLanes < words, square, 0.0f);
    }
    const Val<F32> mean = WarpSum(sum) / static_cast<float>(spec_.width);
    const Val<F32> root = Sqrt(mean + spec_.eps);
    k_.If(lane_ == 0, [&] { scale_.Store(slot, Constant<F32>(root, 1.0f) / root); });
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
    const Val<U32> flags = params_.plan.At(layer, kPlanWords * 4).Load(kFlags);
    const InOut<U32> region = Region(layer);
    const InOut<U32> next = region.At(at_.layer);
    const In<F32> norms = params_.norms.At(layer, 2 * spec_.width * 4);
    QueryKeyValue(layer, flags);
    Attend(layer);
    AddToResidual(o_, flags, region.At(at_.attended), norms.At(spec_.width), region.At(at_.x_ff),
                  region.At(at_.squares_ff));
    GateUp(layer, flags);
    AddToResidual(down_, flags, region.At(at_.hidden), norms.At(2 * spec_.width), next.At(at_.x),
                  next.At(at_.squares));
  });
  Output();
}

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

void DecodeKernel::StageInput(const InOut<U32>& x, uint32_t blocks) {
  // All loads first; then, in order, what has not come is polled and each block stored.
  const uint32_t rounds = (blocks + spec_.warps - 1) / spec_.warps;
  std::deque<Polled<4>> inputs;
  for (uint32_t i = 0; i < rounds; ++i) {
    const Val<U32> block = Min(warp_ + i * spec_.warps, blocks - 1);
    inputs.emplace_back(k_, x.At(block, kTileColumns * 2).At(lane_ * 4));
  }
  for (uint32_t i = 0; i < rounds; ++i) {
    const auto poll = [&] {
      k_.Repeat([&] {
        for (uint32_t j = i; j < rounds; ++j) inputs[j].Load();
        return !inputs[i].Complete();
      });
    };
    if (i == 0) {
      poll();
    } else {
      k_.If(!inputs[i].Complete(), poll);
    }
    const Vec<U32, 4> words = inputs[i].words();
    const auto store = [&] {
      const auto pairs = std::array{UnpackHalf2(words[0]), UnpackHalf2(words[1]),
                                    UnpackHalf2(words[2]), UnpackHalf2(words[3])};
      StoreImage(k_, product_.image(warp_ + i * spec_.warps), lane_,
                 MakeVec<8>([&](size_t j) { return pairs[j / 2][j % 2]; }), spec_.terms);
    };
    if ((i + 1) * spec_.warps <= blocks) {
      store();
    } else {
      k_.If(warp_ + i * spec_.warps < blocks, store);
    }
  }
  k_.NamedBarrier(kCompute, threads());
}

template <class F>
void DecodeKernel::MultiplyRows(const PhaseMatrix& matrix, const Val<U32>& flags, bool squares,
                                F&& rows) {
  const RowRange own = RowTilesOf(cta_, spec_.ctas, matrix.row_tiles());
  const uint32_t most = MostAtOnce(matrix);
  const auto some = [&](const Val<U32>& first, const Val<U32>& count) {
    ForParts(matrix, flags, first, count,
             [&](const TileFormat& format, const MatrixPart&, const Val<U32>&, const Val<U32>& low,
                 const Val<U32>& n) {
               product_.Multiply(ring_, format, matrix.blocks, n, low - first, warp_, lane_);
             });
  };
  const auto meet = [&](bool with_squares) {
    with_squares ? k_.NamedBarrier(kSquares, threads() + kWarpLanes)
                 : k_.NamedBarrier(kCompute, threads());
  };
  if (MostRowTiles(spec_.ctas, matrix.row_tiles()) <= most) {  // all at once
    some(own.first, own.count);
    meet(squares);
    rows(own.first, own.count);
    return;
  }
  if (squares) meet(true);
  k_.For(0, own.count, {.step = most}, [&](const Val<U32>& done) {
    const Val<U32> count = Min(own.count - done, most);
    some(own.first + done, count);
    meet(false);
    rows(own.first + done, count);
    meet(false);  // the sums have been read
  });
}

Val<F32> DecodeKernel::RowSum(const PhaseMatrix& matrix, const Val<U32>& first,
                              const Val<U32>& local, const Val<U32>& row) {
  if (matrix.parts.size() == 1) return product_.RowSum(matrix.blocks, local, local, row);
  // Counted from the start of the part, which Multiply numbered its tiles from.
  const uint32_t second = matrix.parts[0].row_tiles;
  const Val<U32> start = Max(first, second) - first;
  const Val<U32> order = Select<U32>(first + local >= second, local - start, local);
  return product_.RowSum(matrix.blocks, local, order, row);
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
      const Val<U32> in_head = row % spec_.head_dim;
      // Where the element belongs in its head.
      const Val<U32> place =
          spec_.pairing == RopePairing::kAdjacent
              ? row
              : Select<U32>(row < q_rows() + kv_rows(),
                            row - in_head + in_head / 2 + in_head % 2 * (spec_.head_dim / 2), row);
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
                                 const InOut<U32>& x, const In<F32>& norm, const InOut<U32>& next_x,
                                 const InOut<U32>& squares) {
  const RowRange own = RowTilesOf(cta_, spec_.ctas, spec_.width / kTileRows);
  const Val<U32> row = Min(own.first * kTileRows + thread_, spec_.width - 1);
  const Val<F32> weight = norm.Load(row);  // before the wait, which is longer
  StageInput(x, matrix.blocks);
  MultiplyRows(matrix, flags, /*squares=*/false, [&](const Val<U32>& first, const Val<U32>& count) {
    const Pred on = thread_ < count * kTileRows;
    k_.If(on,
          [&] { *residual_ += RowSum(matrix, first, thread_ / kTileRows, thread_ % kTileRows); });
    const Val<F32> now = *residual_;
    PublishHalf(next_x, row, now * weight, on);
    Var<F32> square = k_.NewVar<F32>(now * now);
    for (uint32_t mask = 1; mask < kTileRows; mask *= 2) {
      square += ShuffleXor<F32>(square, mask);
    }
    k_.If(on && thread_ % kTileRows == 0,
          [&] { Publish(squares, row / kTileRows, Bitcast<U32>(Val<F32>(square))); });
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
                   hidden = gate / (Exp(Neg(gate)) + 1.0f) * up;
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

absl::StatusOr<KernelSpec> BuildDecodeToken(const DecodeTokenSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(Check(spec));
  PTXSMITH_RETURN_IF_ERROR(CheckTileTarget(DecodeTokenSpec::kFamily, target));
  KernelBuilder k(KeyOf(spec, target), DecodeTokenSpec::kFamily, target);
  // One warp fills the ring, one adds up squares.
  k.Launch({.block = {(spec.warps + 2) * kWarpLanes, 1, 1},
            .grid = {spec.ctas, 1, 1},
            .min_blocks_per_sm = 1,
            .cooperative = true});
  DecodeKernel kernel(k, spec);
  kernel.Record();
  return std::move(k).Finish();
}

std::vector<DecodeTokenSpec> DecodeTokenVariants() {
  const DecodeTokenSpec small = {.ctas = 5, .warps = 8, .in_flight = 2};
  DecodeTokenSpec biased = small;
  biased.pairing = RopePairing::kHalfSplit;
  biased.bias = true;
  biased.group = 2;
  biased.split = 4;
  biased.ctas = 4;
  biased.pick = false;
  DecodeTokenSpec wide = small;
  wide.head_dim = 128;
  wide.heads = 2;
  wide.kv_heads = 1;
  wide.layers = 1;
  wide.ff = 1536;  // more blocks than warps
  wide.warps = 5;
  wide.vocab = 1000;
  wide.terms = 1;
  wide.embedding = QuantType::kQ8_0;
  wide.qk = wide.v = wide.v_more = wide.o = QuantType::kQ8_0;
  wide.split = 3;
  wide.ctas = 5;
  return {small, biased, wide};
}

}  // namespace ptxsmith

// The frame of decode_token: parameters, the kinds of warps, and what the phases share.
#include "ptx_templates/tiles/decode_kernel.h"

#include <algorithm>

namespace ptxsmith {
namespace {

PhaseMatrix MatrixOf(uint32_t input, bool normed, uint32_t k, std::vector<MatrixPart> parts) {
  return {input, normed, k / kTileColumns, std::move(parts)};
}
MatrixPart PartOf(QuantType type, uint32_t rows, uint32_t plan_word) {
  const TileFormat* format = &TileFormatOf(type);
  return {format, format, 0, plan_word, rows / kTileRows};
}
MatrixPart PartOf(QuantType type, QuantType more, uint32_t flag, uint32_t rows,
                  uint32_t plan_word) {
  return {&TileFormatOf(type), &TileFormatOf(more), flag, plan_word, rows / kTileRows};
}

std::vector<const TileFormat*> FormatsOf(absl::Span<const PhaseMatrix> matrices) {
  std::vector<const TileFormat*> formats;
  for (const PhaseMatrix& matrix : matrices) {
    for (const MatrixPart& part : matrix.parts) {
      for (const TileFormat* format : {part.format, part.more}) {
        if (std::find(formats.begin(), formats.end(), format) == formats.end()) {
          formats.push_back(format);
        }
      }
    }
  }
  return formats;
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
      matrices_({MatrixOf(at_.x, true, spec.width,
                          {PartOf(spec.qk, q_rows() + kv_rows(), 0),
                           PartOf(spec.v, spec.v_more, kPlanMoreV, kv_rows(), 1)}),
                 MatrixOf(at_.attended, false, q_rows(), {PartOf(spec.o, spec.width, 2)}),
                 MatrixOf(at_.x_ff, true, spec.width, {PartOf(spec.gate_up, 2 * spec.ff, 3)}),
                 MatrixOf(at_.hidden, false, spec.ff,
                          {PartOf(spec.down, spec.down_more, kPlanMoreDown, spec.width, 4)}),
                 MatrixOf(at_.x, true, spec.width,
                          {PartOf(spec.output, spec.vocab + kTileRows - 1, 0)})}),
      formats_(FormatsOf(matrices_)),
      params_(k, spec),
      ring_(k, {.warps = spec.warps, .in_flight = spec.in_flight, .slots = spec.slots}),
      product_(k, Sums()),
      scale_(k.SharedArray<F32>("scale", 4)),
      best_values_(k.SharedArray<F32>("best_values", spec.warps)),
      best_indices_(k.SharedArray<U32>("best_indices", spec.warps)),
      flags_(k.SharedArray<U32>("flags", spec.layers + 1)),
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

// Nobody waits between reading a matrix's sums and writing those of the next: the two lie apart.
uint32_t DecodeKernel::SumsApart() const {
  return std::max({MostAtOnce(kQkv), MostAtOnce(kGateUp), MostAtOnce(kOutput)});
}

TileProduct::Shape DecodeKernel::Sums() const {
  uint32_t max_blocks = (AttentionBytes() + kImageBytes - 1) / kImageBytes;
  for (const PhaseMatrix& matrix : matrices_) max_blocks = std::max(max_blocks, matrix.blocks);
  return {.warps = spec_.warps,
          .terms = spec_.terms,
          .max_rows = SumsApart() + std::max(MostAtOnce(kAttentionOutput), MostAtOnce(kDown)),
          .max_blocks = max_blocks};
}

// Whole units of what a warp takes at a time, so that no part is empty.
Val<U32> DecodeKernel::PartPositions() const {
  const Val<U32> parts = Min(position_ / spec_.split + 1, at_.max_splits);
  const Val<U32> each = Max((position_ + parts - 1) / parts, 1);
  return (each + (kAttentionPositions - 1)) & ~(kAttentionPositions - 1);
}

void DecodeKernel::Record() {
  ring_.Init();
  k_.For(thread_, spec_.layers + 1, {.step = threads() + 2 * kWarpLanes},
         [&](const Val<U32>& layer) {
           flags_.Store(layer, params_.plan.At(layer, kPlanWords * 4).Load(kPlanFlags));
         });
  k_.Barrier();
  k_.If(
      warp_ < spec_.warps, [&] { Compute(); },
      [&] {
        k_.If(
            warp_ == spec_.warps, [&] { k_.If(lane_ == 0, [&] { Produce(); }); },
            [&] { SumSquares(); });
      });
}

// --- Steps. ---

Pred DecodeKernel::Holds(const Val<U32>& phase,
                         absl::FunctionRef<bool(const PhaseMatrix&)> test) const {
  std::optional<Pred> any;
  uint32_t count = 0;
  for (uint32_t i = 0; i < kDecodePhases; ++i) {
    if (!test(matrices_[i])) continue;
    ++count;
    any.emplace(any ? *any || phase == i : phase == i);
  }
  return count == kDecodePhases ? k_.True() : any ? *any : !k_.True();
}

Val<U32> DecodeKernel::Of(const Val<U32>& phase,
                          absl::FunctionRef<uint32_t(const PhaseMatrix&)> number) const {
  std::vector<uint32_t> seen = {number(matrices_[0])};
  std::optional<Val<U32>> result(k_.Const<U32>(seen[0]));
  for (const PhaseMatrix& matrix : matrices_) {
    const uint32_t value = number(matrix);
    if (std::find(seen.begin(), seen.end(), value) != seen.end()) continue;
    seen.push_back(value);
    const Pred here = Holds(phase, [&](const PhaseMatrix& m) { return number(m) == value; });
    result.emplace(Select<U32>(here, value, *result));
  }
  return *result;
}

DecodeStep DecodeKernel::StepAt(const Val<U32>& step) const {
  const Val<U32> layer = step / kLayerPhases;
  const Val<U32> phase = Select<U32>(layer == spec_.layers, uint32_t{kOutput}, step % kLayerPhases);
  const Val<U32> row_tiles = Of(phase, [](const PhaseMatrix& m) { return m.row_tiles(); });
  const Val<U32> first = cta_ * row_tiles / spec_.ctas;
  return {layer, phase, {first, (cta_ + 1) * row_tiles / spec_.ctas - first}};
}

DecodePass DecodeKernel::PassAt(const DecodeStep& step, const Val<U32>& done) const {
  const Val<U32> first = step.own.first + done;
  const Val<U32> count = Min(step.own.count - done, most());
  const Val<U32> part =
      Of(step.phase, [](const PhaseMatrix& m) { return m.parts.front().row_tiles; });
  const Val<U32> in_first = Min(first + count, part) - Min(first, part);
  return {first, count, in_first, Select<U32>(in_first == 0, 1, 0),
          Select<U32>(in_first == count, 1, 2)};
}

Vec<U32, 2> DecodeKernel::FormatsAt(const Val<U32>& phase, const Val<U32>& flags) const {
  const auto index = [&](const TileFormat* format) {
    return static_cast<uint32_t>(std::find(formats_.begin(), formats_.end(), format) -
                                 formats_.begin());
  };
  const auto format = [&](const auto& part_of) {
    const Val<U32> flag = Of(phase, [&](const PhaseMatrix& m) { return part_of(m).flag; });
    return Select<U32>((flags & flag) != 0,
                       Of(phase, [&](const PhaseMatrix& m) { return index(part_of(m).more); }),
                       Of(phase, [&](const PhaseMatrix& m) { return index(part_of(m).format); }));
  };
  const Val<U32> first = format([](const PhaseMatrix& m) { return m.parts.front(); });
  return Vec<U32, 2>({first, format([](const PhaseMatrix& m) { return m.parts.back(); })});
}

// --- The producer. Its steps are no loop: between two matrices it would count, and the ring wait,
// 1.4 % of a token (8B). ---

void DecodeKernel::ProduceRows(const PhaseMatrix& matrix, const std::deque<Var<U32>>& plan,
                               const Val<U64>& policy) {
  const RowRange own = RowTilesOf(cta_, spec_.ctas, matrix.row_tiles());
  k_.For(0, own.count, {.step = most()}, [&](const Val<U32>& done) {
    const Val<U32> first = own.first + done;
    const Val<U32> end = first + Min(own.count - done, most());
    uint32_t begin = 0;  // of the part
    for (const MatrixPart& part : matrix.parts) {
      const bool only = matrix.parts.size() == 1;
      const Val<U32> low = only ? first : Max(first, begin);
      const Val<U32> count = (only ? end : Max(Min(end, begin + part.row_tiles), low)) - low;
      const auto produce = [&](const TileFormat& format) {
        const In<U8> tiles = params_.tiles.At(Val<U32>(plan[part.plan_word]), kPlanUnit)
                                 .At((low - begin) * matrix.blocks, format.bytes);
        ring_.Produce(format, tiles, count * matrix.blocks, policy);
      };
      if (part.format == part.more) {
        produce(*part.format);
      } else {
        k_.If((plan[kPlanFlags] & part.flag) != 0, [&] { produce(*part.more); },
              [&] { produce(*part.format); });
      }
      begin += part.row_tiles;
    }
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
    ProduceRows(matrices_[kQkv], plan, policy);
    ProduceCache(layer, policy);
    for (const DecodePhase phase : {kAttentionOutput, kGateUp, kDown}) {
      ProduceRows(matrices_[phase], plan, policy);
    }
    for (uint32_t i = 0; i < kPlanWords; ++i) plan[i] = next[i];
  });
  ProduceRows(matrices_[kOutput], plan, policy);
}

// --- The warp of the sums of squares. ---

void DecodeKernel::SumSquares() {
  const uint32_t words = spec_.width / kTileRows;
  Var<F32> unit = k_.NewVar<F32>(1.0f);  // what the input was multiplied by
  const auto scale = [&](const InOut<U32>& squares, const Val<U32>& slot) {
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
  k_.For(0, 2 * spec_.layers + 1, {}, [&](const Val<U32>& i) {
    const Val<U32> layer = i / 2;
    const Val<U32> slot = i % 2;
    scale(Region(layer).At(Select<U32>(slot == 0, at_.squares, at_.squares_ff)), slot);
    k_.If(slot == 1, [&] { wipe(other_copy_.At(layer, at_.layer * 4), at_.layer); });
  });
  wipe(other_copy_.At(spec_.layers * at_.layer), at_.copy - spec_.layers * at_.layer);
}

}  // namespace ptxsmith

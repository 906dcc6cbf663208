// The parts of the decode_token kernel while it is being recorded: parameters, shared memory and
// what every thread knows. Used by decode_token.cc (phases) and decode_attention.cc.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_DECODE_KERNEL_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_DECODE_KERNEL_H_

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "codegen/kernel_builder.h"
#include "codegen/warp.h"
#include "ptx_templates/tiles/decode_token.h"
#include "ptx_templates/tiles/polling.h"
#include "ptx_templates/tiles/row_sums.h"
#include "ptx_templates/tiles/tile_ring.h"

namespace ptxsmith {

inline constexpr uint32_t kMaxRowTiles = 14;         // that a block sums at a time
inline constexpr uint32_t kAttentionPositions = 16;  // that a warp takes at a time

// What fits into f16; also for NaN.
inline Val<F32> ClampToHalf(const Val<F32>& x) {
  constexpr float kLargest = 65504.0f;
  return Max(Min(x, kLargest), -kLargest);
}

// Rows of one type inside a matrix, whose type may depend on the layer.
struct MatrixPart {
  const TileFormat* format;
  const TileFormat* more;  // in layers whose flag is set
  uint32_t flag;           // bit of the layer's flags
  uint32_t plan_word;      // where its place stands in the plan
  uint32_t row_tiles;
};

// One of the matrices that a layer multiplies by, or the output matrix.
struct PhaseMatrix {
  uint32_t blocks;  // K / 256
  std::vector<MatrixPart> parts;
  uint32_t sums_at = 0;  // the row tile of the sums that its own begin at

  uint32_t row_tiles() const {
    uint32_t sum = 0;
    for (const MatrixPart& part : parts) sum += part.row_tiles;
    return sum;
  }
};

struct DecodeParams {
  DecodeParams(KernelBuilder& k, const DecodeTokenSpec& spec);

  InOut<U32> tokens, positions;
  Out<F32> logits;
  InOut<U32> exchange;
  InOut<U8> kv;
  In<U8> tiles;
  In<U32> plan;
  In<F32> norms;
  std::optional<In<F32>> biases;
  In<F32> rates;
  In<U8> embedding;
  std::optional<InOut<U32>> steps, log;
  std::optional<Out<U32>> picked;
};

class DecodeKernel {
 public:
  DecodeKernel(KernelBuilder& k, const DecodeTokenSpec& spec);

  void Record();

 private:
  // Named barriers. 0 is the block's own.
  static constexpr uint32_t kCompute = 1;  // the warps that compute
  static constexpr uint32_t kSquares = 2;  // these and the one for sums of squares

  static constexpr uint32_t kUnits = 2;  // in scale_

  uint32_t threads() const { return spec_.warps * kWarpLanes; }
  uint32_t q_rows() const { return spec_.heads * spec_.head_dim; }
  uint32_t kv_rows() const { return spec_.kv_heads * spec_.head_dim; }
  uint32_t qkv_rows() const { return q_rows() + 2 * kv_rows(); }
  // Row tiles of a matrix that are summed at a time.
  uint32_t MostAtOnce(const PhaseMatrix& matrix) const;
  TileProduct::Shape Sums();       // says in the matrices where their sums lie
  Val<U32> PartPositions() const;  // of the cache, that a part of the attention has at most

  // The region of a layer in this launch's copy of the exchange.
  InOut<U32> Region(const Val<U32>& layer) const { return copy_.At(layer, at_.layer * 4); }

  // --- The three kinds of warps. ---
  void Compute();
  void Produce();
  void SumSquares();

  // --- Phases of the compute warps, in order. ---
  void Embed();
  void QueryKeyValue(const Val<U32>& layer, const Val<U32>& flags);
  // decode_attention.cc
  void Attend(const Val<U32>& layer);
  void StageQueries(const InOut<U32>& qkv);
  template <size_t E>
  void JoinWarps(const Val<U32>& layer, const Val<U32>& warps);
  void JoinParts(const Val<U32>& layer);
  // A lane's share of the results, not yet divided by the sum of the weights.
  template <size_t E>
  void PublishAttended(const InOut<U32>& to, const std::deque<Var<F32>>& out, const Val<F32>& sum);
  uint32_t AttentionBytes() const;  // of shared memory
  // This block's keys and values into the ring.
  void ProduceCache(const Val<U32>& layer, const Val<U64>& policy);
  // A part's results for `unit` of 64 elements of the group's heads, in the exchange; 64 elements,
  // maximum, sum.
  InOut<U32> Partial(const Val<U32>& layer, Operand<U32> part, const Val<U32>& unit) const {
    const uint32_t units = DecodeHeadGroup(spec_) * spec_.head_dim / kPartialElements;
    const uint32_t groups = spec_.heads / DecodeHeadGroup(spec_);
    return partials_.At(((layer * at_.max_splits + part) * groups + head_group_) * units + unit,
                        kPartialWords * 4);
  }
  // What comes after a sum into the residual: its norm, the slot of the norm before it, whose unit
  // it takes, and where its x and sums of squares belong.
  struct NextInput {
    const In<F32>& norm;
    uint32_t slot;
    const InOut<U32>& x;
    const InOut<U32>& squares;
  };
  // o and down: adds `gain` times the product of `x`, in the exchange, to the residual, and
  // publishes the next input.
  void AddToResidual(const PhaseMatrix& matrix, const Val<U32>& flags, const InOut<U32>& x,
                     float gain, const NextInput& next);
  void GateUp(const Val<U32>& layer, const Val<U32>& flags);
  void Output();
  void Pick();

  // Polls the f16 input of a matrix and puts its image into shared memory.
  void StageInput(const InOut<U32>& x, uint32_t blocks);
  // Multiplies the block's rows, some at a time: then calls rows(first, count) in every compute
  // thread, `first` counted in row tiles of the matrix. With `squares` the sums of squares are
  // there, too.
  template <class F>
  void MultiplyRows(const PhaseMatrix& matrix, const Val<U32>& flags, bool squares, F&& rows);
  void ProduceRows(const PhaseMatrix& matrix, const std::deque<Var<U32>>& plan,
                   const Val<U64>& policy);
  // part(format, part, begin, count) for the row tiles [first, first + count) of the matrix;
  // `begin` is the first of the part's own row tiles, `local` counts from `first`.
  template <class F>
  void ForParts(const PhaseMatrix& matrix, const Val<U32>& flags, const Val<U32>& first,
                const Val<U32>& count, F&& body);
  // The sum of row `row` of row tile first + local.
  Val<F32> RowSum(const PhaseMatrix& matrix, const Val<U32>& first, const Val<U32>& local,
                  const Val<U32>& row);
  // Stores the f16 of consecutive threads' values, two in a word. By whole warps.
  void PublishHalf(const InOut<U32>& at, const Val<U32>& index, const Val<F32>& value,
                   const Pred& on);
  Vec<F32, 2> Rotation(const Val<U32>& row);

  KernelBuilder& k_;
  const DecodeTokenSpec& spec_;
  const DecodeExchange at_;
  PhaseMatrix qkv_, o_, gate_up_, down_, output_;
  DecodeParams params_;
  TileRing ring_;
  TileProduct product_;
  // 1 / rms of the input of q, k, v and of gate and up, over what it was multiplied by; at kUnits
  // what the inputs after these are multiplied by.
  Shared<F32> scale_;
  Shared<F32> best_values_;
  Shared<U32> best_indices_;
  const Val<U32> thread_, warp_, lane_, cta_;
  const Val<U32> position_;
  InOut<U32> copy_, other_copy_, partials_;
  // This block's part of the attention: a group of heads, and cached positions.
  const Val<U32> head_group_, part_, part_positions_, parts_, first_cached_, cached_;
  std::optional<Var<F32>> residual_;  // of the thread's row of width
};

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

template <class F>
void DecodeKernel::MultiplyRows(const PhaseMatrix& matrix, const Val<U32>& flags, bool squares,
                                F&& rows) {
  const RowRange own = RowTilesOf(cta_, spec_.ctas, matrix.row_tiles());
  const uint32_t most = MostAtOnce(matrix);
  const auto some = [&](const Val<U32>& first, const Val<U32>& count) {
    ForParts(matrix, flags, first, count,
             [&](const TileFormat& format, const MatrixPart&, const Val<U32>&, const Val<U32>& low,
                 const Val<U32>& n) {
               product_.Multiply(ring_, format, matrix.blocks, n, low - first + matrix.sums_at,
                                 warp_, lane_);
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

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_DECODE_KERNEL_H_

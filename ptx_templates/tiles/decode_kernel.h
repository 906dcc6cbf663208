// The parts of the decode_token kernel while it is being recorded: parameters, shared memory, what
// every thread knows, and the steps that both sides of the ring go through. Used by
// decode_token.cc; the bodies are in decode_kernel.cc, decode_phases.cc and decode_attention.cc.
#ifndef PTXSMITH_PTX_TEMPLATES_TILES_DECODE_KERNEL_H_
#define PTXSMITH_PTX_TEMPLATES_TILES_DECODE_KERNEL_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "absl/functional/function_ref.h"
#include "codegen/kernel_builder.h"
#include "codegen/warp.h"
#include "ptx_templates/best.h"
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

// What a token is multiplied by: four matrices in each layer, then the output matrix.
enum DecodePhase : uint32_t { kQkv, kAttentionOutput, kGateUp, kDown, kOutput, kDecodePhases };
inline constexpr uint32_t kLayerPhases = kOutput;

// Rows of one type inside a matrix, whose type may depend on the layer.
struct MatrixPart {
  const TileFormat* format;
  const TileFormat* more;  // in layers whose flag is set
  uint32_t flag;           // bit of the layer's flags
  uint32_t plan_word;      // where its place stands in the plan
  uint32_t row_tiles;
};

struct PhaseMatrix {
  uint32_t input;                 // where x lies in the region of a layer
  bool normed;                    // x is still to be divided by its root mean square
  uint32_t blocks;                // K / 256
  std::vector<MatrixPart> parts;  // one or two

  uint32_t row_tiles() const {
    uint32_t sum = 0;
    for (const MatrixPart& part : parts) sum += part.row_tiles;
    return sum;
  }
};

// A turn of the loop over all products of a token.
struct DecodeStep {
  Val<U32> layer, phase;
  RowRange own;  // this block's row tiles of the matrix
};

// Row tiles of a step that are summed at a time; `in_first` of them lie in the matrix's first part.
// The parts from `begin` to `end` have some.
struct DecodePass {
  Val<U32> first, count, in_first;
  Val<U32> begin, end;
};

// What becomes of a thread's row: fetched before the input has come, which takes longer.
struct RowData {
  explicit RowData(KernelBuilder& k)
      : cosine(k.NewVar<F32>(0.0f)),
        sine(k.NewVar<F32>(0.0f)),
        number(k.NewVar<F32>(0.0f)),
        to(k.NewVar<U32>(0)) {}
  Var<F32> cosine, sine;  // of q and k; the same in every layer
  Var<F32> number;        // a bias, or the weight of the next norm
  Var<U32> to;            // its word of this copy of the exchange
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
  // Row tiles of a matrix that are summed at a time, at most.
  uint32_t most() const { return std::min(kMaxRowTiles, threads() / kTileRows); }
  uint32_t MostAtOnce(DecodePhase phase) const {
    return std::min(MostRowTiles(spec_.ctas, matrices_[phase].row_tiles()), most());
  }
  // The row tile of the sums that those of o and down begin at.
  uint32_t SumsApart() const;
  bool QkvAtOnce() const { return MostRowTiles(spec_.ctas, matrices_[kQkv].row_tiles()) <= most(); }
  TileProduct::Shape Sums() const;
  Val<U32> PartPositions() const;  // of the cache, that a part of the attention has at most

  // The region of a layer in this launch's copy of the exchange.
  InOut<U32> Region(const Val<U32>& layer) const { return copy_.At(layer, at_.layer * 4); }

  // --- The three kinds of warps. ---
  void Compute();
  void Produce();
  void SumSquares();

  // --- Steps: what both sides of the ring go through, in the same order. ---
  uint32_t steps() const { return kLayerPhases * spec_.layers + 1; }
  DecodeStep StepAt(const Val<U32>& step) const;
  // The rows of a step from `done` on.
  DecodePass PassAt(const DecodeStep& step, const Val<U32>& done) const;
  // A number of the step's matrix; and whether something holds for it.
  Val<U32> Of(const Val<U32>& phase,
              absl::FunctionRef<uint32_t(const PhaseMatrix& matrix)> number) const;
  Pred Holds(const Val<U32>& phase, absl::FunctionRef<bool(const PhaseMatrix& matrix)> test) const;
  // The indices in formats_ of a matrix's parts.
  Vec<U32, 2> FormatsAt(const Val<U32>& phase, const Val<U32>& flags) const;
  void ProduceRows(const PhaseMatrix& matrix, const std::deque<Var<U32>>& plan,
                   const Val<U64>& policy);

  // --- The compute warps, decode_phases.cc: all steps are one piece of code, in which each
  // format's product, most of the instructions of the kernel, exists once. ---
  void Embed();
  void Product(const DecodeStep& step, RowData& data);
  // Polls the f16 input of a matrix and puts its image into shared memory.
  void StageInput(const DecodeStep& step, const TileWalk& walk, const Pred& shares);
  void StageBlocks(const InOut<U32>& x, const std::vector<Pred>& has);
  TileWalk WalkOf(const Val<U32>& phase) const;
  void Multiply(const DecodePass& pass, const TileWalk& walk, const Vec<U32, 2>& formats,
                const Val<U32>& sums_at);
  // The sum of the thread's row of a pass, if it has one.
  Val<F32> RowSum(const Val<U32>& phase, const InOut<F32>& slots, const Pred& has_row) const;
  void LoadRowData(const DecodeStep& step, const DecodePass& pass, RowData& data);
  void Rotation(const Val<U32>& row, RowData& data);
  // What becomes of the sums; `scale` is what scale_ has for the phase.
  void FinishQkv(const DecodeStep& step, const DecodePass& pass, const Pred& has_row,
                 const Val<F32>& sum, const Val<F32>& scale, const RowData& data);
  void FinishResidual(const DecodeStep& step, const DecodePass& pass, const Pred& has_row,
                      const Val<F32>& sum, const Val<F32>& scale, const RowData& data);
  void FinishGateUp(const Pred& has_row, const Val<F32>& sum, const Val<F32>& scale,
                    const RowData& data);
  void FinishOutput(const DecodePass& pass, const Pred& has_row, const Val<F32>& sum,
                    const Val<F32>& scale, Best& best);
  // The likeliest of all blocks' rows.
  void Choose(Best& best);
  void Pick();
  // Stores the f16 of this thread's value and the next one's in a word. By whole warps.
  void PublishHalf(const Val<U32>& word, const Val<F32>& value, const Pred& has_row);
  // The row of qkv_rows() that a thread finishes.
  Val<U32> QkvRow(const DecodePass& pass) const {
    return Min(pass.first * kTileRows + thread_, qkv_rows() - 1);
  }
  // Where it belongs in its head.
  Val<U32> QkvPlace(const Val<U32>& row) const;

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

  KernelBuilder& k_;
  const DecodeTokenSpec& spec_;
  const DecodeExchange at_;
  const std::array<PhaseMatrix, kDecodePhases> matrices_;
  std::vector<const TileFormat*> formats_;  // all that occur
  DecodeParams params_;
  TileRing ring_;
  TileProduct product_;
  // 1 / rms of the input of q, k, v and of gate and up, over what it was multiplied by; at kUnits
  // what the inputs after these are multiplied by.
  Shared<F32> scale_;
  Shared<F32> best_values_;
  Shared<U32> best_indices_;
  // Of the layers and of the output. Loaded when they are wanted they would be waited for; a layer
  // ahead, their register was spilled, and that waited: 1 % of a token (8B).
  Shared<U32> flags_;
  const Val<U32> thread_, warp_, lane_, cta_;
  const Val<U32> position_;
  InOut<U32> copy_, other_copy_, partials_;
  // This block's part of the attention: a group of heads, and cached positions.
  const Val<U32> head_group_, part_, part_positions_, parts_, first_cached_, cached_;
  std::optional<Var<F32>> residual_;  // of the thread's row of width
};

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_TILES_DECODE_KERNEL_H_

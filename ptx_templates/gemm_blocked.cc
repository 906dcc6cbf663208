#include "ptx_templates/gemm_blocked.h"

#include <algorithm>
#include <deque>
#include <optional>
#include <type_traits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/async.h"
#include "codegen/kernel_builder.h"
#include "codegen/math.h"
#include "codegen/status_macros.h"
#include "codegen/warp.h"
#include "codegen/wgmma.h"
#include "ptx_templates/blocked_half.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kGroupTokens = WgmmaTile::kRows;  // of one warp group
constexpr uint32_t kRowBytes = kBlockColumns * kByteSize<F16>;
constexpr uint32_t kBlockBytes = kBlockHalves * kByteSize<F16>;
constexpr float kLargestHalf = 65504.0f;
// Of the 65536 registers of an SM, where one warp group copies and two compute.
constexpr uint32_t kCopyingRegisters = 40;
constexpr uint32_t kComputingRegisters = 232;

uint32_t Groups(const GemmBlockedSpec& spec) { return spec.tokens / kGroupTokens; }

// Where a thread is in the ring of stages.
class RingPlace {
 public:
  RingPlace(KernelBuilder& k, uint32_t stages)
      : stages_(stages), slot_(&k.recorder(), 0), parity_(&k.recorder(), 0) {}

  Val<U32> slot() const { return slot_; }
  Val<U32> parity() const { return parity_; }  // of the slot's phase that this round fills
  void Advance() {
    const Val<U32> next = slot_ + 1;
    const Pred wraps = next == stages_;
    parity_ = Select<U32>(wraps, 1 - parity_, parity_);
    slot_ = Select<U32>(wraps, 0, next);
  }

 private:
  const uint32_t stages_;
  Var<U32> slot_, parity_;
};

Val<F32> Bounded(const Val<F32>& x) { return Max(Min(x, kLargestHalf), -kLargestHalf); }

// silu(gate) * up, approximately: the sums before it are not the same bits everywhere either.
Val<F32> Gated(const Val<F32>& gate, const Val<F32>& up) {
  constexpr float kMinusLog2E = -1.44269504f;
  return gate / (Exp2Approx(gate * kMinusLog2E) + 1.0f) * up;
}

// The two results of one row that a lane holds side by side.
void StorePair(const Out<F32>& y, const Vec<F32, 2>& v) { y.Store<2>(0, v); }
void StorePair(const InOut<F32>& y, const Vec<F32, 2>& v) { y.Store<2>(0, v); }
void StorePair(const Out<F16>& y, const Vec<F32, 2>& v) {
  const Val<F32> low = Bounded(v[0]);
  y.As<U32>().Store(0, PackHalf2(low, Bounded(v[1])));
}

template <class Y>
class Builder {
 public:
  Builder(const GemmBlockedSpec& spec, KernelBuilder& k)
      : spec_(spec),
        k_(k),
        y_(k.Param<Y>("y", {.count = Results()})),
        w_(k.Param<In<F16>>("w", {.count = BlockedCount(Size(spec.n, 1), Size(spec.k, 0))})),
        x_(k.Param<In<F16>>("x", {.count = BlockedCount(Size(spec.m, 2), Size(spec.k, 0))})),
        columns_(k.ParamDim("k", spec.k, kBlockColumns)),
        rows_(k.ParamDim("n", spec.n, spec.glu ? spec.rows : 2)),
        tokens_(k.ParamDim("m", spec.m)),
        x_stages_(k.AlignedSharedArray<F16>("x_stages", spec.stages * spec.tokens * kBlockColumns,
                                            SwizzledRows::kAlignment)),
        w_stages_(k.AlignedSharedArray<F16>("w_stages", spec.stages * spec.rows * kBlockColumns,
                                            SwizzledRows::kAlignment)),
        full_(k, "full", spec.stages),
        empty_(k, "empty", spec.stages) {}

  void Run();

 private:
  // The size of a dimension that is the given one of those that are open.
  SizeExpr Size(const std::optional<uint32_t>& baked, uint32_t dim) const {
    constexpr uint32_t kPointers = 3;
    if (baked) return SizeExpr(*baked);
    const uint32_t before = (dim > 0 && !spec_.k ? 1 : 0) + (dim > 1 && !spec_.n ? 1 : 0);
    return SizeExpr::Param(kPointers + before);
  }
  SizeExpr Results() const {
    const SizeExpr m = Size(spec_.m, 2), n = Size(spec_.n, 1);
    return spec_.glu ? BlockedCount(m, CeilDiv(n, 2)) : n * m;
  }
  // Of W, and of a tile's rows.
  uint32_t Parts() const { return spec_.glu ? 2 : 1; }
  Val<U32> Steps() const { return columns_ / kBlockColumns; }
  // body(first token, first row) for each tile of this block.
  template <class F>
  void ForEachTile(F&& body) const {
    const Val<U32> token_tiles = (tokens_ + (spec_.tokens - 1)) / spec_.tokens;
    const Val<U32> row_tiles = (rows_ + (spec_.rows - 1)) / spec_.rows;
    k_.For(k_.CtaX(), token_tiles * row_tiles, {.step = spec_.blocks}, [&](const Val<U32>& tile) {
      body(tile % token_tiles * spec_.tokens, tile / token_tiles * (spec_.rows / Parts()));
    });
  }
  void Produce() const;
  void Copy(const InOut<F16>& to, uint32_t rows, const In<F16>& matrix, const Val<U32>& first,
            const Val<U32>& end, const Val<U32>& step, const Val<U32>& slot) const;
  void Consume(const Val<U32>& group) const;
  void Store(const WgmmaTile& tile, const Val<U32>& first_token, const Val<U32>& first_row) const;
  void StoreGated(const WgmmaTile& tile, const Val<U32>& first_token,
                  const Val<U32>& first_row) const;

  const GemmBlockedSpec& spec_;
  KernelBuilder& k_;
  const Y y_;
  const In<F16> w_, x_;
  const Dim columns_, rows_, tokens_;
  const Shared<F16> x_stages_, w_stages_;
  const MBarriers full_;   // the stage has arrived
  const MBarriers empty_;  // every warp is through with it
};

template <class Y>
void Builder<Y>::Run() {
  const uint32_t groups = Groups(spec_);
  k_.Launch({.block = {kWarpGroupThreads * (1 + groups), 1, 1},
             .grid = {spec_.blocks, 1, 1},
             .min_blocks_per_sm = 1});
  const SizeExpr n = rows_.size(), m = tokens_.size(), k = columns_.size();
  const uint32_t result_bytes = kByteSize<typename PointerTraits<Y>::Elem>;
  k_.Costs({.bytes = (n + m) * k * 2 + Results() * result_bytes, .flops = n * k * m * 2});
  const Val<U32> thread = k_.ThreadX();
  k_.If(thread < spec_.stages, [&] {
    full_.Init(thread, 1);
    empty_.Init(thread, groups * kWarpGroupWarps);
    FenceMBarrierInit(k_);
  });
  k_.Barrier();
  const Val<U32> group = Broadcast(k_.Warp() / kWarpGroupWarps, 0);
  k_.If(
      group == 0,
      [&] {
        if (groups > 1) LowerMaxRegisters(k_, kCopyingRegisters);
        k_.If(thread == 0, [&] { Produce(); });
      },
      [&] {
        if (groups > 1) RaiseMaxRegisters(k_, kComputingRegisters);
        Consume(group - 1);
      });
}

template <class Y>
void Builder<Y>::Produce() const {
  RingPlace place(k_, spec_.stages);
  ForEachTile([&](const Val<U32>& first_token, const Val<U32>& first_row) {
    k_.For(0, Steps(), {}, [&](const Val<U32>& step) {
      const Val<U32> slot = place.slot();
      empty_.Wait(k_, slot, 1 - place.parity());
      full_.ArriveExpecting(slot, (spec_.tokens + spec_.rows) * kRowBytes);
      Copy(x_stages_.At(slot, spec_.tokens * kRowBytes), spec_.tokens, x_, first_token, tokens_,
           step, slot);
      const uint32_t part = spec_.rows / Parts();
      for (uint32_t p = 0; p < Parts(); ++p) {
        Copy(w_stages_.At(slot, spec_.rows * kRowBytes).At(p * part * kBlockColumns), part, w_,
             p == 0 ? first_row : first_row + rows_ / 2, rows_, step, slot);
      }
      place.Advance();
    });
  });
}

// Rows `first` and following, of one step's columns. Of blocks beyond the end the last one is
// copied instead.
template <class Y>
void Builder<Y>::Copy(const InOut<F16>& to, uint32_t rows, const In<F16>& matrix,
                      const Val<U32>& first, const Val<U32>& end, const Val<U32>& step,
                      const Val<U32>& slot) const {
  const uint32_t together = std::min(rows, kBlockRows);
  for (uint32_t done = 0; done < rows; done += together) {
    const Val<U32> row = first + done;
    const Val<U32> block = Min(row, end - 1) / kBlockRows * Steps() + step;
    const In<F16> from =
        matrix.At(block, kBlockBytes).At(row % kBlockRows / together, together * kRowBytes);
    CopyBulk(to.At(done * kBlockColumns).template As<U8>(), from.template As<U8>(),
             together * kRowBytes, full_, slot);
  }
}

template <class Y>
void Builder<Y>::Consume(const Val<U32>& group) const {
  WgmmaTile tile(k_, spec_.rows);
  RingPlace place(k_, spec_.stages);
  Var<U32> previous(&k_.recorder(), 0);  // the slot of the step before
  const Val<U32> lane = k_.Lane();
  const auto release = [&] { k_.If(lane == 0, [&] { empty_.Arrive(previous, 1); }); };
  const auto multiply = [&](bool first) {
    const Val<U32> slot = place.slot();
    full_.Wait(k_, slot, place.parity());
    const SwizzledRows x(
        x_stages_.At(slot, spec_.tokens * kRowBytes).At(group, kGroupTokens * kRowBytes));
    const SwizzledRows w(w_stages_.At(slot, spec_.rows * kRowBytes));
    WgmmaFence(k_);
    for (uint32_t i = 0; i < kBlockColumns / 16; ++i) {
      tile.MultiplyAdd16(x, w, i, first && i == 0 ? !k_.True() : k_.True());
    }
    WgmmaCommit(k_);
    if (!first) {
      WgmmaWait(k_, 1);
      release();
    }
    previous = slot;
    place.Advance();
  };
  ForEachTile([&](const Val<U32>& first_token, const Val<U32>& first_row) {
    multiply(/*first=*/true);
    k_.For(1, Steps(), {}, [&](const Val<U32>&) { multiply(/*first=*/false); });
    WgmmaWait(k_, 0);
    release();
    const Val<U32> token = first_token + group * kGroupTokens;
    if constexpr (std::is_same_v<Y, Out<F16>>) {
      if (spec_.glu) return StoreGated(tile, token, first_row);
    }
    Store(tile, token, first_row);
  });
}

template <class Y>
void Builder<Y>::Store(const WgmmaTile& tile, const Val<U32>& first_token,
                       const Val<U32>& first_row) const {
  // Loads of what is added to wait for each other's stores unless some go first.
  constexpr uint32_t kTogether = 16;
  const Val<U32> lane = k_.Lane();
  const Val<U32> row = first_row + lane % 4 * 2;
  const Val<U32> token = first_token + k_.Warp() % kWarpGroupWarps * 16 + lane / 4;
  for (uint32_t far = 0; far < 2; ++far) {
    k_.If(token + 8 * far < tokens_, [&] {
      const Y at = y_.At((token + 8 * far) * rows_).At(row);
      const bool whole = spec_.n && *spec_.n % spec_.rows == 0;
      const auto inside = [&](uint32_t j) { return whole ? k_.True() : Pred(row + 8 * j < rows_); };
      for (uint32_t begin = 0; begin < spec_.rows / 8; begin += kTogether) {
        const uint32_t end = std::min(begin + kTogether, spec_.rows / 8);
        std::deque<Var<F32>> sums;
        for (uint32_t j = begin; j < end; ++j) {
          for (uint32_t e = 0; e < 2; ++e) {
            sums.emplace_back(&k_.recorder(), tile.Element(4 * j + 2 * far + e));
          }
          if constexpr (std::is_same_v<Y, InOut<F32>>) {
            k_.If(inside(j), [&] {
              const Vec<F32, 2> before = at.At(8 * j).template Load<2>(0);
              for (uint32_t e = 0; e < 2; ++e) sums[2 * (j - begin) + e] += before[e];
            });
          }
        }
        for (uint32_t j = begin; j < end; ++j) {
          k_.If(inside(j), [&] {
            StorePair(at.At(8 * j),
                      Vec<F32, 2>({sums[2 * (j - begin)], sums[2 * (j - begin) + 1]}));
          });
        }
      }
    });
  }
}

// Gates in the first half of the tile's columns, what they let through in the second.
template <class Y>
void Builder<Y>::StoreGated(const WgmmaTile& tile, const Val<U32>& first_token,
                            const Val<U32>& first_row) const {
  const Val<U32> lane = k_.Lane();
  const Val<U32> token = first_token + k_.Warp() % kWarpGroupWarps * 16 + lane / 4;
  const uint32_t groups = spec_.rows / 16;  // of 8 columns
  for (uint32_t far = 0; far < 2; ++far) {
    k_.If(token + 8 * far < tokens_, [&] {
      for (uint32_t j = 0; j < groups; ++j) {
        const auto gated = [&](uint32_t e) {
          const uint32_t i = 4 * j + 2 * far + e;
          return Gated(tile.Element(i), tile.Element(i + 4 * groups));
        };
        const Val<F32> low = gated(0);
        const Val<U32> piece = BlockedPiece(token + 8 * far, first_row + 8 * j, rows_ / 2);
        StorePair(y_.At(piece).At(lane % 4 * 2), Vec<F32, 2>({low, gated(1)}));
      }
    });
  }
}

template <class Y>
absl::StatusOr<KernelSpec> Build(const GemmBlockedSpec& spec, const Target& target,
                                 const Target& specific) {
  KernelBuilder k(KeyOf(spec, target), GemmBlockedSpec::kFamily, specific);
  Builder<Y>(spec, k).Run();
  return std::move(k).Finish();
}

}  // namespace

absl::StatusOr<KernelSpec> BuildGemmBlocked(const GemmBlockedSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  if (spec.half && spec.residual) {
    return absl::InvalidArgumentError("gemm_blocked: residual=1 adds to f32, half=1 is f16");
  }
  if (spec.glu && (spec.half || spec.residual || spec.rows < kBlockRows)) {
    // Half a tile's rows are whole blocks of columns of y.
    return absl::InvalidArgumentError(absl::StrCat(
        "gemm_blocked: glu=1 has a y of its own, and needs rows=", kBlockRows, " or more"));
  }
  if (target.sm != 90) {
    return absl::FailedPreconditionError(
        absl::StrCat("gemm_blocked: only sm_90 has wgmma, the target is ", target.sm_name()));
  }
  PTXSMITH_ASSIGN_OR_RETURN(const Target specific, target.Specific());
  if (spec.half || spec.glu) return Build<Out<F16>>(spec, target, specific);
  return spec.residual ? Build<InOut<F32>>(spec, target, specific)
                       : Build<Out<F32>>(spec, target, specific);
}

std::vector<GemmBlockedSpec> GemmBlockedVariants() {
  const std::optional<uint32_t> open;
  return {{192, 256, 130, 128, 256, 3, 3},
          {128, 320, 128, 128, 128, 4, 2, true},
          {448, 194, 70, 64, 64, 5, 3, false, true},
          {64, 128, 65, 64, 128, 2, 2, true},
          {open, open, open, 128, 256, 4, 2},
          {open, open, open, 64, 64, 6, 3, true},
          {open, open, open, 128, 128, 6, 132, false, true},
          {192, 512, 130, 128, 256, 3, 2, false, false, true},
          {open, open, open, 64, 128, 4, 3, false, false, true}};
}

}  // namespace ptxsmith

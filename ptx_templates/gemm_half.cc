#include "ptx_templates/gemm_half.h"

#include <deque>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "codegen/async.h"
#include "codegen/kernel_builder.h"
#include "codegen/mma.h"
#include "codegen/status_macros.h"
#include "codegen/warp.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kWarpTile = 64;  // tokens, and rows, of one warp
constexpr uint32_t kPiece = 8;      // halves of 16 bytes: what one lane copies
// Rows in shared memory are padded by one piece: their distance is then an odd number of pieces, so
// that the eight rows of a matrix lie in different banks.
constexpr uint32_t kPad = kPiece;
constexpr float kLargestHalf = 65504.0f;

// The part of one operand that a block works on: `rows` rows of it, step by step.
class Operands {
 public:
  Operands(KernelBuilder& k, const char* name, const GemmHalfSpec& spec, const In<F16>& matrix,
           uint32_t rows, const Val<U32>& first, const Dim& end, const Dim& columns)
      : depth_(spec.depth),
        stage_(rows * (spec.depth + kPad)),
        halves_(k.SharedArray<F16>(name, spec.stages * stage_)) {
    const uint32_t threads = kWarpLanes * spec.token_warps * spec.row_warps;
    const uint32_t row_pieces = depth_ / kPiece;
    for (uint32_t done = 0; done < rows * row_pieces; done += threads) {
      const Val<U32> piece = k.ThreadX() + done;
      const Val<U32> row = piece / row_pieces;
      const Val<U32> column = piece % row_pieces * kPiece;
      pieces_.push_back({matrix.At(Min(first + row, end - 1) * columns).At(column),
                         row * (depth_ + kPad) + column});
    }
  }

  // Starts copying the columns of this step into stage `slot`.
  void Copy(const Val<U32>& step, const Val<U32>& slot) const {
    const InOut<F16> to = halves_.At(slot * stage_);
    for (const Piece& piece : pieces_) {
      CopyAsync16(to.At(piece.to).template As<U8>(),
                  piece.from.At(step * depth_).template As<U8>());
    }
  }

  InOut<F16> Stage(const Val<U32>& slot) const { return halves_.At(slot * stage_); }

 private:
  struct Piece {
    In<F16> from;  // of step 0
    Val<U32> to;   // in a stage
  };

  const uint32_t depth_, stage_;
  const Shared<F16> halves_;
  std::vector<Piece> pieces_;
};

// The two results of one row that a lane holds, side by side in y.
void StorePair(const Out<F32>& y, const Val<U32>& at, const Vec<F32, 2>& v) {
  y.At(at).Store<2>(0, v);
}
void StorePair(const Out<F16>& y, const Val<U32>& at, const Vec<F32, 2>& v) {
  const auto bounded = [](const Val<F32>& x) { return Max(Min(x, kLargestHalf), -kLargestHalf); };
  const Val<F32> low = bounded(v[0]);
  y.At(at).As<U32>().Store(0, PackHalf2(low, bounded(v[1])));
}
void StorePair(const InOut<F32>& y, const Val<U32>& at, const Vec<F32, 2>& v) {
  const Vec<F32, 2> before = y.At(at).Load<2>(0);
  y.At(at).Store<2>(0, Vec<F32, 2>({before[0] + v[0], before[1] + v[1]}));
}

template <class Y>
absl::StatusOr<KernelSpec> Build(const GemmHalfSpec& spec, const Target& target) {
  KernelBuilder k(KeyOf(spec, target), GemmHalfSpec::kFamily, target);
  uint32_t next_dim = 3;
  const auto size_of = [&](const std::optional<uint32_t>& baked) {
    return baked ? SizeExpr(*baked) : SizeExpr::Param(next_dim++);
  };
  const SizeExpr k_size = size_of(spec.k);
  const SizeExpr n_size = size_of(spec.n);
  const SizeExpr m_size = size_of(spec.m);
  const auto y = k.Param<Y>("y", {.count = n_size * m_size});
  const auto w = k.Param<In<F16>>("w", {.count = n_size * k_size});
  const auto x = k.Param<In<F16>>("x", {.count = m_size * k_size});
  const Dim columns = k.ParamDim("k", spec.k, spec.depth);
  const Dim rows = k.ParamDim("n", spec.n, 2);
  const Dim tokens = k.ParamDim("m", spec.m);
  const uint32_t block_tokens = kWarpTile * spec.token_warps;
  const uint32_t block_rows = kWarpTile * spec.row_warps;
  k.Launch({.block = {kWarpLanes * spec.token_warps * spec.row_warps, 1, 1},
            .grid = {CeilDiv(m_size, block_tokens), CeilDiv(n_size, block_rows), 1},
            .min_blocks_per_sm = 1});
  k.Costs({.bytes = (n_size + m_size) * k_size * 2 + n_size * m_size * (spec.half ? 2 : 4),
           .flops = n_size * k_size * m_size * 2});

  const Val<U32> lane = k.Lane();
  const Val<U32> first_token = k.CtaX() * block_tokens;
  const Val<U32> first_row = k.CtaY() * block_rows;
  const Operands x_part(k, "x_stages", spec, x, block_tokens, first_token, tokens, columns);
  const Operands w_part(k, "w_stages", spec, w, block_rows, first_row, rows, columns);
  const Val<U32> warp_token = k.Warp() % spec.token_warps * kWarpTile;
  const Val<U32> warp_row = k.Warp() / spec.token_warps * kWarpTile;
  // Where the lane's row of four matrices lies (LoadMatrices): of x 16 tokens by 8 columns, then
  // the next 8 columns, A's fragment; of W 8 rows by 16 columns, then the next 8 rows, B's of two
  // tiles.
  const uint32_t stride = spec.depth + kPad;
  const Val<U32> x_lane = (warp_token + lane % 16) * stride + lane / 16 * kPiece;
  const Val<U32> w_lane = (warp_row + lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * kPiece;

  std::deque<MmaTile> tiles;  // [tokens / 16][rows / 8]
  for (uint32_t i = 0; i < kWarpTile / 16 * (kWarpTile / 8); ++i) tiles.emplace_back(k);

  const Val<U32> steps = columns / spec.depth;
  const auto copy = [&](const Val<U32>& step, const Val<U32>& slot) {
    k.If(step < steps, [&] {
      x_part.Copy(step, slot);
      w_part.Copy(step, slot);
    });
    CommitCopies(k);  // also an empty group: the count of groups is that of steps
  };
  for (uint32_t i = 0; i + 1 < spec.stages; ++i) copy(k.Const<U32>(i), k.Const<U32>(i));
  k.For(0, steps, {}, [&](const Val<U32>& step) {
    WaitForCopies(k, spec.stages - 2);
    // All see this step's copies arrived, and are through with the step before, whose stage the
    // next copy takes.
    k.Barrier();
    copy(step + (spec.stages - 1), (step + (spec.stages - 1)) % spec.stages);
    const Val<U32> slot = step % spec.stages;
    const InOut<F16> x_stage = x_part.Stage(slot).At(x_lane);
    const InOut<F16> w_stage = w_part.Stage(slot).At(w_lane);
    for (uint32_t c = 0; c < spec.depth; c += 16) {
      std::vector<Vec<U32, 4>> a, b;
      for (uint32_t i = 0; i < kWarpTile; i += 16) {
        a.push_back(LoadMatrices(x_stage.At(i * stride + c), false));
        b.push_back(LoadMatrices(w_stage.At(i * stride + c), false));
      }
      for (uint32_t i = 0; i < a.size(); ++i) {
        for (uint32_t j = 0; j < b.size(); ++j) {
          for (uint32_t half = 0; half < 2; ++half) {
            tiles[i * (kWarpTile / 8) + 2 * j + half].MultiplyAdd16(
                a[i], Vec<U32, 2>({b[j][2 * half], b[j][2 * half + 1]}));
          }
        }
      }
    }
  });

  for (uint32_t i = 0; i < kWarpTile / 16; ++i) {
    for (uint32_t far = 0; far < 2; ++far) {
      const Val<U32> token = first_token + warp_token + lane / 4 + (16 * i + 8 * far);
      k.If(token < tokens, [&] {
        for (uint32_t j = 0; j < kWarpTile / 8; ++j) {
          const Val<U32> row = first_row + warp_row + lane % 4 * 2 + 8 * j;
          k.If(row < rows, [&] {
            const MmaTile& tile = tiles[i * (kWarpTile / 8) + j];
            StorePair(y.At(token * rows), row,
                      Vec<F32, 2>({tile.Element(2 * far), tile.Element(2 * far + 1)}));
          });
        }
      });
    }
  }
  return std::move(k).Finish();
}

}  // namespace

absl::StatusOr<KernelSpec> BuildGemmHalf(const GemmHalfSpec& spec, const Target& target) {
  PTXSMITH_RETURN_IF_ERROR(CheckFields(spec));
  if (spec.k && *spec.k % spec.depth != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("gemm_half: k=", *spec.k, " is not a multiple of depth=", spec.depth));
  }
  if (spec.depth == 64 && target.sm < 80) {
    // ptxas 13.0 spills: without cp.async the copies pass through registers.
    return absl::FailedPreconditionError(
        absl::StrCat("gemm_half: depth=64 needs sm_80, the target is ", target.sm_name()));
  }
  if (spec.half && spec.residual) {
    return absl::InvalidArgumentError("gemm_half: residual=1 adds to f32, half=1 is f16");
  }
  if (spec.half) return Build<Out<F16>>(spec, target);
  return spec.residual ? Build<InOut<F32>>(spec, target) : Build<Out<F32>>(spec, target);
}

std::vector<GemmHalfSpec> GemmHalfVariants() {
  const std::optional<uint32_t> open;
  return {{96, 70, 65, 1, 1, 32, 2},
          {64, 130, 3, 1, 2, 64, 2},
          {320, 66, 130, 2, 1, 64, 2},
          {256, 128, 64, 2, 2, 32, 3, true},
          {160, 62, 70, 1, 2, 32, 4, false, true},
          {open, open, open, 1, 1, 32, 2},
          {open, open, open, 2, 2, 32, 2, true}};
}

}  // namespace ptxsmith

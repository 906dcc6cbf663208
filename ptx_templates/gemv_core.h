// The inner part of every matrix-vector kernel: one block, its outputs, and the sums of an output
// for one or more tokens. Used by projection.cc (gemv, gemv_norm, gemv_q8_1, gemv_multi) and
// gate_up.cc. One object per kernel under construction, like its KernelBuilder.
//
//   GemvBlock block(k, shape, cols);
//   const std::vector<Val<F32>> sums = block.Multiply(x, {w_row}, exists);
//   block.ForOwnOutputs(exists, [&](const Val<U32>& token) { y.Store(token * n + row, sums[0]); });
//
// Geometry. A block has outputs_per_block outputs, each with warps_per_output warps. A row is cut
// into units of 256 weights; warp p of an output takes the units p, p + warps_per_output, ... With
// `stage` the block first copies that many activations of every token to shared memory, works on
// the units they cover, and goes on with the next ones.
//
// Numerics. A lane adds the products of a token in the order of its units with fma, the lanes are
// summed by a butterfly, the warps of an output one after the other. Neither m nor stage nor
// outputs_per_block changes the bits of a result. Floating-point activations: each product of a
// weight and an activation is one fma. q8_1 activations: four products are summed exactly as
// integers, then scaled: d * (scale * sum + offset * sum of the quants).
#ifndef PTXSMITH_PTX_TEMPLATES_GEMV_CORE_H_
#define PTXSMITH_PTX_TEMPLATES_GEMV_CORE_H_

#include <cstdint>
#include <deque>
#include <optional>
#include <variant>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "codegen/kernel_builder.h"
#include "ptx_templates/decoder.h"

namespace ptxsmith {

inline constexpr uint32_t kMaxGemvTokens = 32;  // one lane of a warp stores each

// The fields that the families share.
inline constexpr FieldRule kOutputsPerBlockRule = OneOf(1, 2, 4, 8, 16);
inline constexpr absl::string_view kOutputsPerBlockHelp = "outputs per block";
inline constexpr FieldRule kUnrollRule = OneOf(1, 2, 4);
inline constexpr absl::string_view kUnrollHelp = "units of 256 weights in flight per warp";
inline constexpr FieldRule kGemvInputRule = OneOf(QuantType::kF32, QuantType::kQ8_1);
inline constexpr FieldRule kTokensRule = Between(1, kMaxGemvTokens);
inline constexpr FieldRule kWarpsPerOutputRule = OneOf(1, 2, 4, 8);
inline constexpr absl::string_view kWarpsPerOutputHelp = "warps that share an output";
inline constexpr FieldRule kStageRule = Between(0, 65536, kUnitWeights);
inline constexpr absl::string_view kStageHelp = "activations per token in shared memory, or 0";

// The quantised types: those whose weights a decoder gives as bytes.
inline constexpr FieldRule kPackedQuantRule =
    OneOf(QuantType::kQ4_0, QuantType::kQ4_1, QuantType::kQ5_0, QuantType::kQ5_1, QuantType::kQ8_0,
          QuantType::kQ2K, QuantType::kQ3K, QuantType::kQ4K, QuantType::kQ5K, QuantType::kQ6K,
          QuantType::kIQ4NL, QuantType::kIQ4XS, QuantType::kMXFP4);

struct GemvShape {
  QuantType quant = QuantType::kQ4K;
  uint32_t m = 1;  // tokens
  uint32_t outputs_per_block = 4;
  uint32_t warps_per_output = 1;
  uint32_t unroll = 1;                 // units in flight per warp
  uint32_t stage = 0;                  // activations per token in shared memory, 0 for none
  bool q8_1 = false;                   // the activations' form
  std::optional<float> norm_eps = {};  // RMSNorm of the activations before the product

  uint32_t input_params() const { return norm_eps ? 2 : 1; }
  // For LaunchRule: to reach 64 warps per SM, ptxas 13.0 would rather spill a register of the
  // address arithmetic of staging (f16, open sizes, m=2 on sm_90: 32 registers and a spill; 56
  // without). Not so for many tokens: free to, it would hoist loads into all 255 registers and
  // spill there.
  uint32_t min_blocks_per_sm() const { return stage != 0 ? 1 : 0; }

  uint32_t warps() const { return outputs_per_block * warps_per_output; }
};

// InvalidArgument when k does not fit the type, a staged phase does not divide among the warps of
// an output, the type has no integer form and the activations are q8_1, these are staged or
// normalised, or eps is negative.
absl::Status CheckGemvShape(absl::string_view family, const GemvShape& shape,
                            std::optional<uint32_t> k);

// The layout of ggml's block_q8_1: 32 signed bytes q with activation = d * q.
inline constexpr uint32_t kQ8_1Block = 32;  // activations
inline constexpr uint32_t kQ8_1Bytes = 36;  // d f16 at 0, s = d * sum of q as f16 at 2, q at 4

// Activations [m][k], each multiplied by the norm's weight [k] when there is one.
struct GemvInput {
  In<F32> x;
  std::optional<In<F32>> norm_weight;
};
// Activations [m][k / 32] as blocks of q8_1.
struct GemvInputQ8_1 {
  In<U8> x;
};
using GemvActivations = std::variant<GemvInput, GemvInputQ8_1>;

// The parameter "x", and "weight" with a norm: shape.input_params() of them.
GemvActivations ActivationParams(KernelBuilder& k, const GemvShape& shape, const SizeExpr& k_size);
// Bytes of one token's activations.
SizeExpr ActivationBytes(const GemvShape& shape, const SizeExpr& k_size);

class GemvBlock {
 public:
  // REQUIRES: k.Launch with 32 * shape.warps() threads.
  GemvBlock(KernelBuilder& k, const GemvShape& shape, const Dim& cols);

  // The number of this warp's output, counted over the grid.
  const Val<U32>& output() const { return output_; }

  // For each of `rows`, all of this warp's output: W x, x normalised if asked for. Lane t has the
  // value of token t; lanes beyond m repeat the last token's. Rows that do not exist are not read
  // and give 0. All threads of the block take part.
  std::vector<Val<F32>> Multiply(const GemvActivations& x, absl::Span<const In<U8>> rows,
                                 const Pred& exists);

  // body(token) in the lanes that store results: lane t of the first warp of an existing output.
  void ForOwnOutputs(const Pred& exists, absl::FunctionRef<void(const Val<U32>& token)> body);

 private:
  using Sums = std::deque<Var<F32>>;  // of one row, by token; a Var cannot move

  Sums NewSums();
  // load(first) gives what loads four activations of a token, `first` counted from the unit's
  // start: so an address is computed once for all tokens.
  template <class Load>
  void AddFloats(absl::Span<const In<U8>> rows, const Val<U32>& unit, const Load& load,
                 std::vector<Sums>& sums);
  void AddUnit(const GemvInput& x, absl::Span<const In<U8>> rows, const Val<U32>& unit,
               std::vector<Sums>& sums);
  void AddUnit(const GemvInputQ8_1& x, absl::Span<const In<U8>> rows, const Val<U32>& unit,
               std::vector<Sums>& sums);
  void AddStaged(const GemvInput& x, absl::Span<const In<U8>> rows, const Pred& exists,
                 std::vector<Sums>& sums);
  // 1 / sqrt(mean of x^2 + eps), of token t in lane t.
  Val<F32> RmsScale(const In<F32>& x, float eps);
  // Lane t: the sum of sums[t] over the lanes of `warps` warps from `first_warp` on.
  Val<F32> Join(const Sums& sums, const Val<U32>& first_warp, uint32_t warps);

  KernelBuilder& k_;
  const GemvShape shape_;
  const Decoder& decoder_;
  const Dim& cols_;
  const Val<U32> lane_, warp_;
  const Val<U32> output_, part_;       // part: number of this warp within its output
  const Val<U32> token_;               // of this lane
  const Val<U32> units_;               // per row
  std::vector<Val<U32>> token_start_;  // token * k
  uint32_t joins_ = 0;                 // shared arrays made so far
};

}  // namespace ptxsmith

#endif  // PTXSMITH_PTX_TEMPLATES_GEMV_CORE_H_

#include "model/prompt_lowering.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/candidates.h"
#include "ptx_templates/dequantize.h"
#include "ptx_templates/elementwise.h"
#include "ptx_templates/embed_row.h"
#include "ptx_templates/gemm_half.h"
#include "ptx_templates/gemv.h"
#include "ptx_templates/glu_half.h"
#include "ptx_templates/kv_append.h"
#include "ptx_templates/prefill_attention.h"
#include "ptx_templates/rms_norm.h"
#include "ptx_templates/rope.h"

namespace ptxsmith {
namespace {

// Prompts come in any length: their kernels leave the number of rows open.
constexpr std::optional<uint32_t> kOpen;
constexpr uint64_t kHalfBytes = 2;

absl::Status Unsupported(absl::string_view what) {
  return absl::UnimplementedError(absl::StrCat("prompts by dense products: ", what));
}

// What lies between the kernels of a step, for the largest one.
struct Scratch {
  Buffer x;        // f32, the residual stream
  Buffer qkv;      // f32: queries of all rows, then keys, then values
  Buffer half;     // f16: what the next product reads
  Buffer gate_up;  // f16: both of each row, side by side
  Buffer weights;  // f16: the matrix of the product under way
  Buffer norm;     // f32: the last row, normalised
};

class PromptLowering : public Lowering {
 public:
  PromptLowering(const ModelParts& parts, std::shared_ptr<const DenseGemm> gemm)
      : parts_(parts), gemm_(std::move(gemm)) {}

  absl::Status Allocate();
  absl::string_view name() const override {
    return gemm_ != nullptr ? "prompt, products by cuBLASLt" : "prompt";
  }
  absl::StatusOr<Step> Lower(const StepShape& shape) override;

 private:
  friend class PromptStep;

  uint32_t q_width() const { return parts_.config.head_count * parts_.config.head_dim; }
  uint32_t kv_width() const { return parts_.config.head_count_kv * parts_.config.head_dim; }
  uint32_t AttentionTile() const;  // positions per step

  const ModelParts parts_;
  const std::shared_ptr<const DenseGemm> gemm_;
  Scratch scratch_;
};

// One step under construction.
class PromptStep {
 public:
  PromptStep(const PromptLowering& lowering, const StepShape& shape);

  absl::Status Embedding();
  absl::Status Layer(uint32_t index);
  absl::Status Head();
  Step Take() && { return std::move(builder_).Take(); }

 private:
  // What a product leaves: f32, f32 added to what was there, or f16.
  enum class Result { kSet, kAdded, kHalf };

  // half = norm(x)
  absl::Status Norm(absl::string_view stage, const Matrix& norm);
  // y = half W^T for these matrices, which lie one after the other and so count as one.
  absl::Status Product(absl::string_view stage, std::initializer_list<const Matrix*> matrices,
                       BufferView y, Result result);
  absl::Status Attention(uint32_t index);

  const PromptLowering& lowering_;
  const ModelParts& parts_;
  const ModelConfig& config_;
  const StepShape shape_;
  const uint32_t rows_;
  StepBuilder builder_;
  BufferView x_, q_, k_, v_, half_, gate_up_;
  BufferView positions_;
};

// The most positions per step that fit: see the limits of the kernel.
uint32_t PromptLowering::AttentionTile() const {
  const uint32_t row = parts_.config.head_dim + 8;
  const uint32_t room = parts_.modules.device()->profile().target.limits().max_shared;
  uint32_t tile = 64;
  while (tile > 16 && row * (8 * tile + 128) > room) tile /= 2;
  return tile;
}

absl::Status PromptLowering::Allocate() {
  const ModelConfig& c = parts_.config;
  const uint64_t rows = parts_.io.rows();
  const uint64_t width = c.embedding_length, hidden = c.feed_forward_length;
  const uint64_t largest = std::max({2 * hidden * width, uint64_t{q_width()} * width});
  struct Part {
    const char* name;
    Buffer& buffer;
    uint64_t bytes;
  };
  for (const Part& part :
       {Part{"x", scratch_.x, rows * width * sizeof(float)},
        Part{"qkv", scratch_.qkv, rows * (q_width() + 2 * kv_width()) * sizeof(float)},
        Part{"half", scratch_.half,
             rows * std::max({width, hidden, uint64_t{q_width()}}) * kHalfBytes},
        Part{"gate_up", scratch_.gate_up, rows * 2 * hidden * kHalfBytes},
        Part{"weights", scratch_.weights, largest * kHalfBytes},
        Part{"norm", scratch_.norm, width * sizeof(float)}}) {
    PTXSMITH_ASSIGN_OR_RETURN(part.buffer,
                              parts_.modules.device()->Allocate(part.bytes, part.name));
  }
  return absl::OkStatus();
}

absl::StatusOr<Step> PromptLowering::Lower(const StepShape& shape) {
  if (shape.rows == 0 || shape.rows > parts_.io.rows()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a step of ", shape.rows, " rows; there is room for 1 to ", parts_.io.rows()));
  }
  if (shape.exact) return Unsupported("rows with the bits they would have alone");
  if (shape.logits == LogitRows::kAll && shape.rows > 1) return Unsupported("logits of all rows");
  PromptStep step(*this, shape);
  PTXSMITH_RETURN_IF_ERROR(step.Embedding());
  for (uint32_t i = 0; i < parts_.config.block_count; ++i) {
    PTXSMITH_RETURN_IF_ERROR(step.Layer(i));
  }
  PTXSMITH_RETURN_IF_ERROR(step.Head());
  return std::move(step).Take();
}

PromptStep::PromptStep(const PromptLowering& lowering, const StepShape& shape)
    : lowering_(lowering),
      parts_(lowering.parts_),
      config_(lowering.parts_.config),
      shape_(shape),
      rows_(shape.rows),
      builder_(lowering.parts_.modules),
      half_(lowering.scratch_.half),
      gate_up_(lowering.scratch_.gate_up),
      positions_(lowering.parts_.io.positions(shape.rows)) {
  const Scratch& s = lowering.scratch_;
  const uint64_t q_bytes = uint64_t{rows_} * lowering.q_width() * sizeof(float);
  const uint64_t kv_bytes = uint64_t{rows_} * lowering.kv_width() * sizeof(float);
  x_ = BufferView(s.x).Slice(0, uint64_t{rows_} * config_.embedding_length * sizeof(float));
  q_ = BufferView(s.qkv).Slice(0, q_bytes);
  k_ = BufferView(s.qkv).Slice(q_bytes, kv_bytes);
  v_ = BufferView(s.qkv).Slice(q_bytes + kv_bytes, kv_bytes);
}

absl::Status PromptStep::Embedding() {
  const Matrix& table = parts_.weights.token_embedding();
  return builder_.Add("embedding", BuildEmbedRow, EmbedRowSpec{table.type, table.k, table.n, kOpen},
                      {x_, table.data, parts_.io.tokens(rows_), rows_}, x_);
}

absl::Status PromptStep::Layer(uint32_t index) {
  const LayerWeights& w = parts_.weights.layers()[index];
  builder_.SetLayer(static_cast<int32_t>(index));
  PTXSMITH_RETURN_IF_ERROR(Norm("qkv", w.attn_norm));
  PTXSMITH_RETURN_IF_ERROR(Product("qkv", {&w.q}, q_, Result::kSet));
  PTXSMITH_RETURN_IF_ERROR(Product("qkv", {&w.k}, k_, Result::kSet));
  PTXSMITH_RETURN_IF_ERROR(Product("qkv", {&w.v}, v_, Result::kSet));
  for (const auto& [bias, y] :
       {std::pair(&w.q_bias, q_), std::pair(&w.k_bias, k_), std::pair(&w.v_bias, v_)}) {
    if (!bias->exists()) continue;
    PTXSMITH_RETURN_IF_ERROR(builder_.Add("qkv_bias", BuildBiasAdd, BiasAddSpec{bias->k, kOpen},
                                          {y, bias->data, rows_}, y));
  }
  PTXSMITH_RETURN_IF_ERROR(Attention(index));
  PTXSMITH_RETURN_IF_ERROR(Product("attn_output", {&w.attn_output}, x_, Result::kAdded));
  PTXSMITH_RETURN_IF_ERROR(Norm("ffn_gate_up", w.ffn_norm));
  PTXSMITH_RETURN_IF_ERROR(Product("ffn_gate_up", {&w.gate, &w.up}, gate_up_, Result::kHalf));
  PTXSMITH_RETURN_IF_ERROR(builder_.Add("swiglu", BuildGluHalf, GluHalfSpec{w.gate.n, kOpen},
                                        {half_, gate_up_, rows_}, BufferView()));
  return Product("ffn_down", {&w.down}, x_, Result::kAdded);
}

absl::Status PromptStep::Norm(absl::string_view stage, const Matrix& norm) {
  RmsNormSpec spec{norm.k, kOpen, config_.rms_eps};
  spec.half = true;
  return builder_.Add(stage, BuildRmsNorm, spec, {half_, x_, norm.data, rows_}, BufferView());
}

absl::Status PromptStep::Product(absl::string_view stage,
                                 std::initializer_list<const Matrix*> matrices, BufferView y,
                                 Result result) {
  const BufferView half_weights = lowering_.scratch_.weights;
  GemmProblem problem{.m = rows_, .n = 0, .k = (*matrices.begin())->k};
  uint64_t at = 0;
  for (const Matrix* w : matrices) {
    const uint64_t bytes = uint64_t{w->k} * w->n * kHalfBytes;
    PTXSMITH_RETURN_IF_ERROR(builder_.Add(stage, BuildDequantize,
                                          DequantizeSpec{w->type, QuantType::kF16, w->k, w->n},
                                          {half_weights.Slice(at, bytes), w->data}, BufferView()));
    at += bytes;
    problem.n += w->n;
  }
  if (result == Result::kHalf) problem.output = GemmProblem::Output::kF16;
  problem.accumulate = result == Result::kAdded;
  const BufferView seen = result == Result::kHalf ? BufferView() : y;
  if (lowering_.gemm_ != nullptr) {
    PTXSMITH_ASSIGN_OR_RETURN(BoundGemm gemm,
                              lowering_.gemm_->Bind(problem, y, half_, half_weights));
    builder_.AddProduct(stage, std::move(gemm), seen);
    return absl::OkStatus();
  }
  GemmHalfSpec spec = DefaultGemmHalfSpec(problem.k, problem.n, rows_, builder_.target());
  spec.residual = problem.accumulate;
  spec.half = result == Result::kHalf;
  return builder_.Add(stage, BuildGemmHalf, spec, {y, half_weights, half_, rows_}, seen);
}

absl::Status PromptStep::Attention(uint32_t index) {
  const ModelConfig& c = config_;
  const uint32_t context = parts_.cache.options().context;
  const BufferView keys = parts_.cache.keys(index);
  const BufferView values = parts_.cache.values(index);
  const auto rope = [&](absl::string_view stage, uint32_t heads, BufferView heads_of) {
    return builder_.Add(stage, BuildRope,
                        RopeSpec{c.rope_pairing, heads, c.head_dim, c.rope_dim, kOpen},
                        {heads_of, positions_, parts_.rope_rates, rows_}, heads_of);
  };
  PTXSMITH_RETURN_IF_ERROR(rope("rope_q", c.head_count, q_));
  PTXSMITH_RETURN_IF_ERROR(rope("rope_k", c.head_count_kv, k_));
  PTXSMITH_RETURN_IF_ERROR(builder_.Add("kv_append", BuildKvAppend,
                                        KvAppendSpec{c.head_count_kv, c.head_dim, context, kOpen},
                                        {keys, values, k_, v_, positions_, rows_}, BufferView()));
  PrefillAttentionSpec spec{c.head_count, c.head_count_kv, c.head_dim, context, kOpen};
  spec.tile = lowering_.AttentionTile();
  return builder_.Add("attention", BuildPrefillAttention, spec,
                      {half_, q_, keys, values, positions_, rows_}, BufferView());
}

absl::Status PromptStep::Head() {
  builder_.SetLayer(-1);
  if (shape_.logits == LogitRows::kNone) return absl::OkStatus();
  const uint64_t row_bytes = uint64_t{config_.embedding_length} * sizeof(float);
  const BufferView last = x_.Slice((rows_ - 1) * row_bytes, row_bytes);
  const BufferView norm = lowering_.scratch_.norm;
  const BufferView logits = parts_.io.logits(1);
  const Matrix& weight = parts_.weights.output_norm();
  const Matrix& output = parts_.weights.output();
  PTXSMITH_RETURN_IF_ERROR(builder_.Add("output_norm", BuildRmsNorm,
                                        RmsNormSpec{weight.k, 1, config_.rms_eps},
                                        {norm, last, weight.data}, norm));
  PTXSMITH_RETURN_IF_ERROR(builder_.Add("output", BuildGemv,
                                        DefaultGemvSpec({output.type, output.k, output.n, 1}),
                                        {logits, output.data, norm}, logits));
  return shape_.pick ? Lowering::AddPick(parts_, 1, builder_) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Lowering>> NewPromptLowering(const ModelParts& parts,
                                                            std::shared_ptr<const DenseGemm> gemm) {
  PTXSMITH_RETURN_IF_ERROR(parts.config.CheckPlainBlocks());
  const KvCache::Options& cache = parts.cache.options();
  if (cache.type != QuantType::kF16) return Unsupported("a cache of other than f16");
  if (cache.slots != 1) return Unsupported("a cache of several sequences");
  if (parts.config.feed_forward_length % 8 != 0) {
    return Unsupported(absl::StrCat("a feed-forward length of ", parts.config.feed_forward_length,
                                    ", which is not a multiple of 8"));
  }
  auto lowering = std::make_unique<PromptLowering>(parts, std::move(gemm));
  PTXSMITH_RETURN_IF_ERROR(lowering->Allocate());
  return lowering;
}

}  // namespace ptxsmith

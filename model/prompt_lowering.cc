#include "model/prompt_lowering.h"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/blocked_half.h"
#include "ptx_templates/candidates.h"
#include "ptx_templates/dequantize.h"
#include "ptx_templates/elementwise.h"
#include "ptx_templates/embed_row.h"
#include "ptx_templates/gemm.h"
#include "ptx_templates/gemm_blocked.h"
#include "ptx_templates/gemm_half.h"
#include "ptx_templates/gemv.h"
#include "ptx_templates/glu_half.h"
#include "ptx_templates/kv_append.h"
#include "ptx_templates/prefill_attention.h"
#include "ptx_templates/quantize_e4m3_rows.h"
#include "ptx_templates/rms_norm.h"
#include "ptx_templates/rope.h"

namespace ptxsmith {
namespace {

// Prompts come in any length: their kernels leave the number of rows open.
constexpr std::optional<uint32_t> kOpen;
constexpr uint64_t kHalfBytes = 2;
constexpr uint32_t kE4M3Multiple = 16;  // of the sizes of an FP8 product

absl::Status Unsupported(absl::string_view what) {
  return absl::UnimplementedError(absl::StrCat("prompts by dense products: ", what));
}

// What lies between the kernels of a step, for the largest one.
struct Scratch {
  BufferView x;        // f32, the residual stream
  BufferView qkv;      // f32: queries of all rows, then keys, then values
  BufferView half;     // f16: what the next product reads, in blocks where the products read those
  BufferView gate_up;  // f16: both of each row, side by side; in blocks, their gated product
  BufferView weights;  // f16: the matrix of the product under way
  BufferView norm;     // f32: the last row, normalised
  BufferView e4m3;     // what the next product reads as FP8, with kept weights of that type
  BufferView scales;   // f32: of its rows
};

// A matrix as products read it.
struct Operand {
  BufferView weights;
  BufferView scales;  // of E4M3 rows
};

class PromptLowering : public Lowering {
 public:
  PromptLowering(const ModelParts& parts, std::shared_ptr<const DenseGemm> gemm,
                 PromptWeights weights)
      : parts_(parts),
        gemm_(std::move(gemm)),
        weights_(weights),
        blocked_(gemm_ == nullptr && FitsBlocks(parts)) {}

  absl::Status Allocate();
  absl::Status KeepWeights();
  absl::string_view name() const override { return gemm_ != nullptr ? "cublaslt" : "dense"; }
  absl::StatusOr<Step> Lower(const StepShape& shape) override;

 private:
  friend class PromptStep;

  uint32_t q_width() const { return parts_.config.head_count * parts_.config.head_dim; }
  uint32_t kv_width() const { return parts_.config.head_count_kv * parts_.config.head_dim; }
  uint32_t AttentionTile() const;  // positions per step
  // Whether gemm_blocked computes all products.
  static bool FitsBlocks(const ModelParts& parts);
  DequantizeSpec ExpandSpec(const Matrix& w) const {
    DequantizeSpec spec{w.type, QuantType::kF16, w.k, w.n};
    spec.blocked = blocked_;
    return spec;
  }
  // Halves that a matrix takes as products read it.
  uint64_t Halves(uint64_t rows, uint64_t columns) const {
    return blocked_ ? BlockedCount(rows, columns) : rows * columns;
  }

  const ModelParts parts_;
  const std::shared_ptr<const DenseGemm> gemm_;
  const PromptWeights weights_;
  const bool blocked_;
  Workspace workspace_;
  Scratch scratch_;
  Buffer kept_, kept_scales_;
  std::map<DevicePtr, Operand> operands_;  // of kept matrices, by where the file's lie
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
  // What a product leaves: f32, f32 added to what was there, f16, or, in blocks, silu of its first
  // half times the second.
  enum class Result { kSet, kAdded, kHalf, kGated };

  // half = norm(x), for products of the layers, or by rows.
  absl::Status Norm(absl::string_view stage, const Matrix& norm, bool blocked);
  // What `half` holds now, rows of k, is what the next products read.
  absl::Status Activations(absl::string_view stage, uint32_t k);
  // y = half W^T for these matrices, which lie one after the other and so count as one.
  absl::Status Product(absl::string_view stage, std::initializer_list<const Matrix*> matrices,
                       BufferView y, Result result) {
    return Product(stage, matrices, half_, y, result);
  }
  // ... of x, where products read blocks.
  absl::Status Product(absl::string_view stage, std::initializer_list<const Matrix*> matrices,
                       BufferView x, BufferView y, Result result);
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

bool PromptLowering::FitsBlocks(const ModelParts& parts) {
  const ModelConfig& c = parts.config;
  return parts.modules.device()->profile().target.sm == 90 &&
         c.embedding_length % kBlockColumns == 0 &&
         c.head_count * c.head_dim % kBlockColumns == 0 &&
         // Up follows gate: a whole number of blocks.
         c.feed_forward_length % kBlockRows == 0;
}

absl::Status PromptLowering::Allocate() {
  const ModelConfig& c = parts_.config;
  const uint64_t rows = parts_.io.rows();
  const uint64_t width = c.embedding_length, hidden = c.feed_forward_length;
  const uint64_t largest =
      std::max({Halves(2 * hidden, width), Halves(q_width(), width), Halves(kv_width(), width)});
  const uint64_t widest = std::max({width, hidden, uint64_t{q_width()}});
  const bool e4m3 = weights_ == PromptWeights::kE4M3;
  Scratch& s = scratch_;
  PTXSMITH_ASSIGN_OR_RETURN(
      workspace_,
      Workspace::Allocate(*parts_.modules.device(), "workspace of prompts",
                          {{"x", s.x, rows * width * sizeof(float)},
                           {"qkv", s.qkv, rows * (q_width() + 2 * kv_width()) * sizeof(float)},
                           {"half", s.half, Halves(rows, widest) * kHalfBytes},
                           {"gate_up", s.gate_up,
                            (blocked_ ? Halves(rows, hidden) : rows * 2 * hidden) * kHalfBytes},
                           {"weights", s.weights, largest * kHalfBytes},
                           {"norm", s.norm, width * sizeof(float)},
                           {"e4m3", s.e4m3, e4m3 ? rows * widest : 0},
                           {"scales", s.scales, e4m3 ? rows * sizeof(float) : 0}}));
  if (!blocked_) return absl::OkStatus();
  // Rows beyond the end of a matrix are read, though nothing depends on them.
  PTXSMITH_ASSIGN_OR_RETURN(Stream stream, parts_.modules.device()->NewStream());
  PTXSMITH_RETURN_IF_ERROR(stream.Fill(scratch_.half, 0));
  PTXSMITH_RETURN_IF_ERROR(stream.Fill(scratch_.gate_up, 0));
  PTXSMITH_RETURN_IF_ERROR(stream.Fill(scratch_.weights, 0));
  return stream.Synchronize();
}

absl::Status PromptLowering::KeepWeights() {
  if (weights_ == PromptWeights::kExpanded) return absl::OkStatus();
  const bool e4m3 = weights_ == PromptWeights::kE4M3;
  if (e4m3 && gemm_ == nullptr) return Unsupported("FP8 without cuBLASLt");
  std::vector<const Matrix*> matrices;
  uint64_t elements = 0, rows = 0;
  for (const LayerWeights& w : parts_.weights.layers()) {
    // Gate and up follow each other: they are one matrix to their product.
    for (const Matrix* matrix : {&w.q, &w.k, &w.v, &w.attn_output, &w.gate, &w.up, &w.down}) {
      matrices.push_back(matrix);
      elements += Halves(matrix->n, matrix->k);
      rows += matrix->n;
      if (e4m3 && (matrix->k % kE4M3Multiple != 0 || matrix->n % kE4M3Multiple != 0)) {
        return Unsupported(absl::StrCat("FP8 of a matrix of ", matrix->n, " x ", matrix->k,
                                        ", which are not multiples of ", kE4M3Multiple));
      }
    }
  }
  Device& device = *parts_.modules.device();
  const uint64_t element_bytes = e4m3 ? 1 : kHalfBytes;
  PTXSMITH_ASSIGN_OR_RETURN(kept_, device.Allocate(elements * element_bytes, "kept weights"));
  PTXSMITH_ASSIGN_OR_RETURN(kept_scales_,
                            device.Allocate(e4m3 ? rows * sizeof(float) : 0, "kept scales"));
  PTXSMITH_ASSIGN_OR_RETURN(Stream stream, device.NewStream());
  if (blocked_) PTXSMITH_RETURN_IF_ERROR(stream.Fill(kept_, 0));  // as in Allocate
  StepBuilder builder(parts_.modules);
  uint64_t at = 0, row = 0;
  for (const Matrix* w : matrices) {
    const uint64_t count = Halves(w->n, w->k);
    // To the end, so that a product may read the next matrix too.
    Operand& operand = operands_[w->data.ptr];
    operand.weights = BufferView(kept_).Slice(at, kept_.bytes() - at);
    const BufferView half = e4m3 ? scratch_.weights : operand.weights;
    PTXSMITH_RETURN_IF_ERROR(
        builder.Add("keep", BuildDequantize, ExpandSpec(*w), {half, w->data}, BufferView()));
    at += count * element_bytes;
    if (!e4m3) continue;
    operand.scales = BufferView(kept_scales_).Slice(row, kept_scales_.bytes() - row);
    row += w->n * sizeof(float);
    PTXSMITH_RETURN_IF_ERROR(builder.Add("keep", BuildQuantizeE4M3Rows,
                                         QuantizeE4M3RowsSpec{w->k, w->n},
                                         {operand.weights, operand.scales, half}, BufferView()));
  }
  PTXSMITH_RETURN_IF_ERROR(std::move(builder).Take().Enqueue(stream));
  return stream.Synchronize();
}

absl::StatusOr<Step> PromptLowering::Lower(const StepShape& shape) {
  PTXSMITH_RETURN_IF_ERROR(CheckShape(parts_.io, shape, parts_.io.rows()));
  if (shape.exact) return Unsupported("rows with the bits they would have alone");
  if (shape.logits == LogitRows::kAll && shape.pick) return Unsupported("a choice for all rows");
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
  x_ = s.x.Slice(0, uint64_t{rows_} * config_.embedding_length * sizeof(float));
  q_ = s.qkv.Slice(0, q_bytes);
  k_ = s.qkv.Slice(q_bytes, kv_bytes);
  v_ = s.qkv.Slice(q_bytes + kv_bytes, kv_bytes);
}

absl::Status PromptStep::Embedding() {
  const Matrix& table = parts_.weights.token_embedding();
  return builder_.Add("embedding", BuildEmbedRow, EmbedRowSpec{table.type, table.k, table.n, kOpen},
                      {x_, table.data, parts_.io.tokens(rows_), rows_}, x_);
}

absl::Status PromptStep::Layer(uint32_t index) {
  const LayerWeights& w = parts_.weights.layers()[index];
  builder_.SetLayer(static_cast<int32_t>(index));
  PTXSMITH_RETURN_IF_ERROR(Norm("qkv", w.attn_norm, lowering_.blocked_));
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
  PTXSMITH_RETURN_IF_ERROR(Norm("ffn_gate_up", w.ffn_norm, lowering_.blocked_));
  if (lowering_.blocked_) {
    PTXSMITH_RETURN_IF_ERROR(Product("ffn_gate_up", {&w.gate, &w.up}, gate_up_, Result::kGated));
    return Product("ffn_down", {&w.down}, gate_up_, x_, Result::kAdded);
  }
  PTXSMITH_RETURN_IF_ERROR(Product("ffn_gate_up", {&w.gate, &w.up}, gate_up_, Result::kHalf));
  PTXSMITH_RETURN_IF_ERROR(builder_.Add("swiglu", BuildGluHalf, GluHalfSpec{w.gate.n, kOpen},
                                        {half_, gate_up_, rows_}, BufferView()));
  PTXSMITH_RETURN_IF_ERROR(Activations("swiglu", w.gate.n));
  return Product("ffn_down", {&w.down}, x_, Result::kAdded);
}

absl::Status PromptStep::Norm(absl::string_view stage, const Matrix& norm, bool blocked) {
  RmsNormSpec spec{norm.k, kOpen, config_.rms_eps};
  spec.half = true;
  spec.blocked = blocked;
  PTXSMITH_RETURN_IF_ERROR(
      builder_.Add(stage, BuildRmsNorm, spec, {half_, x_, norm.data, rows_}, BufferView()));
  return Activations(stage, norm.k);
}

absl::Status PromptStep::Activations(absl::string_view stage, uint32_t k) {
  if (lowering_.weights_ != PromptWeights::kE4M3) return absl::OkStatus();
  return builder_.Add(stage, BuildQuantizeE4M3Rows, QuantizeE4M3RowsSpec{k, kOpen},
                      {lowering_.scratch_.e4m3, lowering_.scratch_.scales, half_, rows_},
                      BufferView());
}

absl::Status PromptStep::Product(absl::string_view stage,
                                 std::initializer_list<const Matrix*> matrices, BufferView x,
                                 BufferView y, Result result) {
  const Scratch& scratch = lowering_.scratch_;
  GemmProblem problem{.m = rows_, .n = 0, .k = (*matrices.begin())->k};
  for (const Matrix* w : matrices) problem.n += w->n;
  Operand operand{scratch.weights, {}};
  if (lowering_.weights_ != PromptWeights::kExpanded) {
    operand = lowering_.operands_.at((*matrices.begin())->data.ptr);
  } else {
    uint64_t at = 0;
    for (const Matrix* w : matrices) {
      const uint64_t bytes = lowering_.Halves(w->n, w->k) * kHalfBytes;
      PTXSMITH_RETURN_IF_ERROR(builder_.Add(stage, BuildDequantize, lowering_.ExpandSpec(*w),
                                            {operand.weights.Slice(at, bytes), w->data},
                                            BufferView()));
      at += bytes;
    }
  }
  if (result == Result::kHalf) problem.output = GemmProblem::Output::kF16;
  problem.accumulate = result == Result::kAdded;
  const bool floats = result == Result::kSet || result == Result::kAdded;
  const BufferView seen = floats ? y : BufferView();
  if (lowering_.gemm_ != nullptr) {
    if (lowering_.weights_ == PromptWeights::kE4M3) {
      problem.input = GemmProblem::Input::kE4M3;
      x = scratch.e4m3;
    }
    PTXSMITH_ASSIGN_OR_RETURN(
        BoundGemm gemm,
        lowering_.gemm_->Bind(problem, y, x, operand.weights, {scratch.scales, operand.scales}));
    builder_.AddProduct(stage, std::move(gemm), seen);
    return absl::OkStatus();
  }
  if (lowering_.blocked_) {
    const DeviceProfile& device = parts_.modules.device()->profile();
    GemmBlockedSpec spec = DefaultGemmBlockedSpec(problem.k, problem.n, rows_, device.sm_count,
                                                  result == Result::kGated);
    spec.residual = problem.accumulate;
    return builder_.Add(stage, BuildGemmBlocked, spec, {y, operand.weights, x, rows_}, seen);
  }
  GemmHalfSpec spec = DefaultGemmHalfSpec(problem.k, problem.n, rows_, builder_.target());
  spec.residual = problem.accumulate;
  spec.half = result == Result::kHalf;
  return builder_.Add(stage, BuildGemmHalf, spec, {y, operand.weights, x, rows_}, seen);
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
  spec.blocked = lowering_.blocked_;
  PTXSMITH_RETURN_IF_ERROR(builder_.Add("attention", BuildPrefillAttention, spec,
                                        {half_, q_, keys, values, positions_, rows_},
                                        BufferView()));
  return Activations("attention", lowering_.q_width());
}

absl::Status PromptStep::Head() {
  builder_.SetLayer(-1);
  if (shape_.logits == LogitRows::kNone) return absl::OkStatus();
  const Matrix& weight = parts_.weights.output_norm();
  const Matrix& output = parts_.weights.output();
  if (shape_.logits == LogitRows::kAll) {
    // Not worth a copy of the vocabulary's matrix: this is for scoring texts.
    const BufferView logits = parts_.io.logits(rows_);
    PTXSMITH_RETURN_IF_ERROR(Norm("output_norm", weight, false));
    return builder_.Add("output", BuildGemm,
                        DefaultGemmSpec({output.type, output.k, output.n, rows_}),
                        {logits, output.data, half_, rows_}, logits);
  }
  const uint64_t row_bytes = uint64_t{config_.embedding_length} * sizeof(float);
  const BufferView last = x_.Slice((rows_ - 1) * row_bytes, row_bytes);
  const BufferView norm = lowering_.scratch_.norm;
  const BufferView logits = parts_.io.logits(1);
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
                                                            std::shared_ptr<const DenseGemm> gemm,
                                                            PromptWeights weights) {
  PTXSMITH_RETURN_IF_ERROR(parts.config.CheckPlainBlocks());
  const KvCache::Options& cache = parts.cache.options();
  if (cache.type != QuantType::kF16) return Unsupported("a cache of other than f16");
  if (cache.slots != 1) return Unsupported("a cache of several sequences");
  if (parts.config.feed_forward_length % 8 != 0) {
    return Unsupported(absl::StrCat("a feed-forward length of ", parts.config.feed_forward_length,
                                    ", which is not a multiple of 8"));
  }
  auto lowering = std::make_unique<PromptLowering>(parts, std::move(gemm), weights);
  PTXSMITH_RETURN_IF_ERROR(lowering->Allocate());
  PTXSMITH_RETURN_IF_ERROR(lowering->KeepWeights());
  return lowering;
}

}  // namespace ptxsmith

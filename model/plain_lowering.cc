#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/lowering.h"
#include "ptx_templates/advance.h"
#include "ptx_templates/argmax.h"
#include "ptx_templates/attention.h"
#include "ptx_templates/candidates.h"
#include "ptx_templates/dequantize.h"
#include "ptx_templates/elementwise.h"
#include "ptx_templates/embed_row.h"
#include "ptx_templates/gate_up.h"
#include "ptx_templates/gemv_multi.h"
#include "ptx_templates/gemv_norm.h"
#include "ptx_templates/gemv_q8_1.h"
#include "ptx_templates/kv_append.h"
#include "ptx_templates/layer_norm.h"
#include "ptx_templates/quantize_q8_1.h"
#include "ptx_templates/rms_norm.h"
#include "ptx_templates/rope.h"

namespace ptxsmith {
namespace {

// Positions that one block of a decoding attention takes; a longer context is split.
constexpr uint32_t kPositionsPerSplit = 128;
constexpr uint32_t kMaxSplits = 32;
constexpr uint32_t kDecodingWarps = 8;

uint32_t SplitsOf(uint32_t context) {
  return std::clamp(context / kPositionsPerSplit, 1u, kMaxSplits);
}

// The integer form of a product with the geometry of `shape`.
GemvQ8_1Spec IntegerSpec(const GemvSpec& shape, bool bias) {
  GemvQ8_1Spec spec{shape.quant, shape.k, shape.n};
  spec.outputs_per_block = shape.outputs_per_block;
  spec.unroll = shape.unroll;
  spec.m = shape.m;
  spec.warps_per_output = shape.warps_per_output;
  spec.bias = bias;
  return spec;
}

// What lies between the kernels of a step, for the largest one. f32, but for the halves that gemm
// reads and the byte-sized parts.
struct Scratch {
  BufferView x;        // the residual stream
  BufferView h;        // normalised
  BufferView qkv;      // queries of all rows, then keys, then values
  BufferView o;        // of attention
  BufferView partial;  // of attention's splits, for exact steps
  BufferView gate, up, g;
  BufferView half;  // f16: the activations of a product on tensor cores
  BufferView q8;    // q8_1: those of integer products
};

class PlainLowering : public Lowering {
 public:
  explicit PlainLowering(const ModelParts& parts) : parts_(parts) {}

  absl::Status Allocate();
  absl::string_view name() const override { return "plain"; }
  absl::StatusOr<Step> Lower(const StepShape& shape) override;

 private:
  friend class PlainStep;

  uint32_t q_width() const { return parts_.config.head_count * parts_.config.head_dim; }
  uint32_t kv_width() const { return parts_.config.head_count_kv * parts_.config.head_dim; }

  const ModelParts parts_;
  Workspace workspace_;
  Scratch scratch_;
};

// One step under construction: the layers of the model in the order of the computation.
class PlainStep {
 public:
  PlainStep(const PlainLowering& lowering, const StepShape& shape);

  absl::Status Embedding();
  absl::Status Layer(uint32_t index);
  absl::Status Head();
  Step Take() && { return std::move(builder_).Take(); }

 private:
  // y = W x (+ bias) of one matrix among several over the same x.
  struct Product {
    const Matrix& w;
    const Matrix& bias;  // may not exist
    BufferView y;
  };
  struct NormWeights {
    const Matrix& weight;
    const Matrix& bias;  // of a layer norm
  };

  absl::Status Attention(uint32_t index);
  absl::Status HeadNorms(const LayerWeights& w);
  absl::Status Rope();
  // What attention or the feed-forward gives is the product of x; it joins the residual stream.
  absl::Status Join(absl::string_view stage, const Matrix& w, const Matrix& bias, BufferView x,
                    const Matrix& post_norm);
  // g = the activation of W h, h the normalised residual stream.
  absl::Status FeedForward(const LayerWeights& w);

  // All products of x, normalised first.
  absl::Status NormProducts(absl::string_view stage, const NormWeights& norm, BufferView x,
                            absl::Span<const Product> products, uint32_t rows);
  // All products of x, folded into one kernel with the norm where there is one. Exact steps.
  absl::Status GemvProducts(absl::string_view stage, const Matrix* norm, BufferView x,
                            absl::Span<const Product> products, uint32_t rows);
  // One product, set or added to what is there.
  absl::Status OneProduct(absl::string_view stage, const Product& product, BufferView x,
                          bool residual);
  // Whether integer products compute all of these.
  bool IsInteger(absl::Span<const Product> products) const;
  // Rounds x, rows of so many elements, to q8_1, and makes it that.
  absl::Status ToQ8_1(absl::string_view stage, uint32_t elements, BufferView* x);
  absl::Status Gemm(absl::string_view stage, const Product& product, bool residual);
  // The activations of the next Gemm.
  absl::Status ToHalf(absl::string_view stage, BufferView x, uint32_t k);
  absl::Status Norm(absl::string_view stage, BufferView y, BufferView x, const NormWeights& norm,
                    uint32_t rows);
  template <class Spec>
  absl::Status Map(absl::string_view stage,
                   absl::StatusOr<KernelSpec> (*build)(const Spec&, const Target&), Spec spec,
                   std::vector<Arg> args, BufferView result);

  // The number of rows as the field of a spec, and as the argument that it asks for: prompts come
  // in any length, so their kernels leave it open.
  std::optional<uint32_t> baked(uint32_t rows) const {
    return shape_.exact ? std::optional(rows) : std::nullopt;
  }
  std::vector<Arg> With(uint32_t rows, std::vector<Arg> args) const {
    if (!shape_.exact) args.emplace_back(rows);
    return args;
  }
  GemvProblem Problem(const Matrix& w, uint32_t rows) const { return {w.type, w.k, w.n, rows}; }
  BufferView F32(BufferView buffer, uint64_t elements) const {
    return buffer.Slice(0, elements * 4);
  }

  const PlainLowering& lowering_;
  const ModelParts& parts_;
  const ModelConfig& config_;
  const StepShape shape_;
  const uint32_t rows_;
  StepBuilder builder_;
  const Matrix no_bias_;
  BufferView x_, h_, q_, k_, v_, o_, g_;
  BufferView positions_;
};

absl::Status PlainLowering::Allocate() {
  const ModelConfig& c = parts_.config;
  const uint64_t rows = parts_.io.rows();
  const uint64_t exact_rows = std::min<uint64_t>(rows, kMaxGemvTokens);
  const uint32_t splits = SplitsOf(parts_.cache.options().context);
  const uint64_t partial =
      splits == 1 ? 0 : exact_rows * c.head_count * splits * (uint64_t{c.head_dim} + 2);
  const uint64_t widest = std::max({c.embedding_length, c.feed_forward_length, q_width()});
  Scratch& s = scratch_;
  PTXSMITH_ASSIGN_OR_RETURN(
      workspace_,
      Workspace::Allocate(*parts_.modules.device(), "workspace of plain steps",
                          {{"x", s.x, rows * c.embedding_length * 4},
                           {"h", s.h, rows * c.embedding_length * 4},
                           {"qkv", s.qkv, rows * (q_width() + 2 * kv_width()) * 4},
                           {"o", s.o, rows * q_width() * 4},
                           {"partial", s.partial, partial * 4},
                           {"gate", s.gate, rows * c.feed_forward_length * 4},
                           {"up", s.up, rows * c.feed_forward_length * 4},
                           {"g", s.g, rows * c.feed_forward_length * 4},
                           {"half", s.half, rows * widest * 2},
                           {"q8", s.q8, exact_rows * widest / kQ8_1Block * kQ8_1Bytes}}));
  return absl::OkStatus();
}

absl::StatusOr<Step> PlainLowering::Lower(const StepShape& shape) {
  const uint32_t most = shape.exact ? std::min(parts_.io.rows(), kMaxGemvTokens) : parts_.io.rows();
  PTXSMITH_RETURN_IF_ERROR(CheckShape(parts_.io, shape, most));
  PlainStep step(*this, shape);
  PTXSMITH_RETURN_IF_ERROR(step.Embedding());
  for (uint32_t i = 0; i < parts_.config.block_count; ++i) {
    PTXSMITH_RETURN_IF_ERROR(step.Layer(i));
  }
  PTXSMITH_RETURN_IF_ERROR(step.Head());
  return std::move(step).Take();
}

PlainStep::PlainStep(const PlainLowering& lowering, const StepShape& shape)
    : lowering_(lowering),
      parts_(lowering.parts_),
      config_(lowering.parts_.config),
      shape_(shape),
      rows_(shape.rows),
      builder_(lowering.parts_.modules),
      positions_(lowering.parts_.io.positions(shape.rows)) {
  const Scratch& s = lowering.scratch_;
  const uint64_t q_bytes = uint64_t{rows_} * lowering.q_width() * 4;
  const uint64_t kv_bytes = uint64_t{rows_} * lowering.kv_width() * 4;
  x_ = F32(s.x, uint64_t{rows_} * config_.embedding_length);
  h_ = F32(s.h, uint64_t{rows_} * config_.embedding_length);
  q_ = BufferView(s.qkv).Slice(0, q_bytes);
  k_ = BufferView(s.qkv).Slice(q_bytes, kv_bytes);
  v_ = BufferView(s.qkv).Slice(q_bytes + kv_bytes, kv_bytes);
  o_ = BufferView(s.o).Slice(0, q_bytes);
  g_ = F32(s.g, uint64_t{rows_} * config_.feed_forward_length);
}

absl::Status PlainStep::Embedding() {
  const Matrix& table = parts_.weights.token_embedding();
  return builder_.Add(
      "embedding", BuildEmbedRow,
      EmbedRowSpec{table.type, table.k, table.n, baked(rows_), config_.embedding_scale},
      With(rows_, {x_, table.data, parts_.io.tokens(rows_)}), x_);
}

absl::Status PlainStep::Layer(uint32_t index) {
  const LayerWeights& w = parts_.weights.layers()[index];
  builder_.SetLayer(static_cast<int32_t>(index));
  PTXSMITH_RETURN_IF_ERROR(
      NormProducts("qkv", {w.attn_norm, w.attn_norm_bias}, x_,
                   {{w.q, w.q_bias, q_}, {w.k, w.k_bias, k_}, {w.v, w.v_bias, v_}}, rows_));
  if (config_.qk_norm) PTXSMITH_RETURN_IF_ERROR(HeadNorms(w));
  PTXSMITH_RETURN_IF_ERROR(Rope());
  PTXSMITH_RETURN_IF_ERROR(Attention(index));
  PTXSMITH_RETURN_IF_ERROR(
      Join("attn_output", w.attn_output, w.attn_output_bias, o_, w.attn_post_norm));
  PTXSMITH_RETURN_IF_ERROR(FeedForward(w));
  return Join("ffn_down", w.down, w.down_bias, g_, w.ffn_post_norm);
}

absl::Status PlainStep::HeadNorms(const LayerWeights& w) {
  PTXSMITH_RETURN_IF_ERROR(
      Norm("q_norm", q_, q_, {w.q_norm, no_bias_}, rows_ * config_.head_count));
  return Norm("k_norm", k_, k_, {w.k_norm, no_bias_}, rows_ * config_.head_count_kv);
}

absl::Status PlainStep::Join(absl::string_view stage, const Matrix& w, const Matrix& bias,
                             BufferView x, const Matrix& post_norm) {
  if (!post_norm.exists()) return OneProduct(stage, {w, bias, x_}, x, /*residual=*/true);
  PTXSMITH_RETURN_IF_ERROR(OneProduct(stage, {w, bias, h_}, x, /*residual=*/false));
  PTXSMITH_RETURN_IF_ERROR(Norm(stage, h_, h_, {post_norm, no_bias_}, rows_));
  return Map(stage, BuildResidualAdd, ResidualAddSpec(), {x_, h_}, x_);
}

absl::Status PlainStep::Rope() {
  const auto rope = [&](absl::string_view stage, uint32_t heads, BufferView heads_of) {
    return builder_.Add(
        stage, BuildRope,
        RopeSpec{config_.rope_pairing, heads, config_.head_dim, config_.rope_dim, baked(rows_)},
        With(rows_, {heads_of, positions_, parts_.rope_rates}), heads_of);
  };
  // The keys of a single row follow its queries: one kernel turns both.
  if (rows_ == 1 && shape_.exact) {
    return rope("rope", config_.head_count + config_.head_count_kv,
                BufferView(q_.ptr, q_.bytes + k_.bytes));
  }
  PTXSMITH_RETURN_IF_ERROR(rope("rope_q", config_.head_count, q_));
  return rope("rope_k", config_.head_count_kv, k_);
}

absl::Status PlainStep::Attention(uint32_t index) {
  const KvCache::Options& cache = parts_.cache.options();
  const BufferView keys = parts_.cache.keys(index);
  const BufferView values = parts_.cache.values(index);
  std::vector<Arg> append = {keys, values, k_, v_, positions_};
  std::vector<Arg> attend = {o_, q_, keys, values, positions_};
  if (cache.slots > 1) {
    append.emplace_back(parts_.io.slots(rows_));
    attend.emplace_back(parts_.io.slots(rows_));
  }
  PTXSMITH_RETURN_IF_ERROR(
      builder_.Add("kv_append", BuildKvAppend,
                   KvAppendSpec{config_.head_count_kv, config_.head_dim, cache.context,
                                baked(rows_), cache.type, cache.slots},
                   With(rows_, append), BufferView()));

  AttentionSpec spec{config_.head_count, config_.head_count_kv, config_.head_dim, cache.context};
  spec.rows = baked(rows_);
  spec.type = cache.type;
  spec.slots = cache.slots;
  spec.window = config_.WindowOf(index);
  spec.softcap = config_.attention_softcap;
  spec.scale = config_.attention_scale;
  if (shape_.exact || (cache.slots > 1 && rows_ <= kMaxGemvTokens)) {
    spec.splits = SplitsOf(cache.context);
    spec.warps = kDecodingWarps;
  } else if (cache.slots == 1) {
    spec.queries = 8;
  }
  if (spec.splits == 1) {
    return builder_.Add("attention", BuildAttention, spec, With(rows_, attend), o_);
  }
  const BufferView partial =
      F32(lowering_.scratch_.partial,
          uint64_t{rows_} * config_.head_count * spec.splits * (config_.head_dim + 2));
  attend[0] = partial;
  PTXSMITH_RETURN_IF_ERROR(
      builder_.Add("attention", BuildAttention, spec, With(rows_, attend), partial));
  return builder_.Add(
      "attention_combine", BuildAttentionCombine,
      AttentionCombineSpec{config_.head_count, config_.head_dim, spec.splits, baked(rows_)},
      With(rows_, {o_, partial}), o_);
}

absl::Status PlainStep::FeedForward(const LayerWeights& w) {
  if (shape_.exact && config_.feed_forward == FeedForward::kSwiGlu && w.gate.type == w.up.type) {
    const GemvSpec shape = parts_.profile.GemvFor(Problem(w.gate, rows_));
    GateUpSpec spec{w.gate.type, QuantType::kF32, w.gate.k, w.gate.n};
    spec.outputs_per_block = shape.outputs_per_block;
    spec.unroll = std::min(shape.unroll, 2u);  // of two matrices each
    spec.warps_per_output = shape.warps_per_output;
    spec.m = rows_;
    if (!IsInteger({{w.gate, no_bias_, g_}, {w.up, no_bias_, g_}})) {
      spec.norm = true;
      spec.eps = config_.rms_eps;
      return builder_.Add("ffn_gate_up", BuildGateUp, spec,
                          {g_, w.gate.data, w.up.data, x_, w.ffn_norm.data}, g_);
    }
    BufferView h = h_;
    PTXSMITH_RETURN_IF_ERROR(Norm("ffn_norm", h_, x_, {w.ffn_norm, no_bias_}, rows_));
    PTXSMITH_RETURN_IF_ERROR(ToQ8_1("ffn_norm", rows_ * w.gate.k, &h));
    spec.input = QuantType::kQ8_1;
    return builder_.Add("ffn_gate_up", BuildGateUp, spec, {g_, w.gate.data, w.up.data, h}, g_);
  }
  const uint64_t elements = uint64_t{rows_} * config_.feed_forward_length;
  const BufferView gate = F32(lowering_.scratch_.gate, elements);
  const BufferView up = F32(lowering_.scratch_.up, elements);
  std::vector<Product> products;
  if (w.gate.exists()) products.push_back({w.gate, no_bias_, gate});
  products.push_back({w.up, w.up_bias, up});
  if (!config_.parallel_block) {
    PTXSMITH_RETURN_IF_ERROR(
        NormProducts("ffn_gate_up", {w.ffn_norm, no_bias_}, x_, products, rows_));
  } else if (shape_.exact) {  // h is still what attention has read
    PTXSMITH_RETURN_IF_ERROR(GemvProducts("ffn_gate_up", nullptr, h_, products, rows_));
  } else {
    PTXSMITH_RETURN_IF_ERROR(ToHalf("ffn_gate_up", h_, config_.embedding_length));
    for (const Product& product : products) {
      PTXSMITH_RETURN_IF_ERROR(Gemm("ffn_gate_up", product, /*residual=*/false));
    }
  }
  switch (config_.feed_forward) {
    case FeedForward::kSwiGlu:
      return Map("swiglu", BuildSwiglu, SwigluSpec(), {g_, gate, up}, g_);
    case FeedForward::kGeGlu:
      return Map("geglu", BuildGeglu, GegluSpec(), {g_, gate, up}, g_);
    case FeedForward::kGelu:
      return Map("gelu", BuildGeluTanh, GeluTanhSpec(), {g_, up}, g_);
  }
  return absl::InternalError("plain lowering: unknown feed-forward");
}

absl::Status PlainStep::Head() {
  builder_.SetLayer(-1);
  if (shape_.logits == LogitRows::kNone) return absl::OkStatus();
  const uint32_t rows = shape_.logits == LogitRows::kAll ? rows_ : 1;
  const uint64_t row_bytes = uint64_t{config_.embedding_length} * 4;
  const BufferView x = x_.Slice((rows_ - rows) * row_bytes, rows * row_bytes);
  const BufferView logits = parts_.io.logits(rows);
  const NormWeights norm{parts_.weights.output_norm(), parts_.weights.output_norm_bias()};
  const Product output{parts_.weights.output(), parts_.weights.output_bias(), logits};
  if (shape_.exact || shape_.logits == LogitRows::kLast) {
    // The norm is not folded: each of many thousand blocks would repeat it.
    const BufferView h = h_.Slice(0, x.bytes);
    PTXSMITH_RETURN_IF_ERROR(Norm("output_norm", h, x, norm, rows));
    PTXSMITH_RETURN_IF_ERROR(GemvProducts("output", nullptr, h, {output}, rows));
  } else {
    PTXSMITH_RETURN_IF_ERROR(NormProducts("output", norm, x, {output}, rows));
  }
  if (config_.logit_softcap != 0) {
    PTXSMITH_RETURN_IF_ERROR(builder_.Add(
        "softcap", BuildSoftcap, SoftcapSpec{rows * config_.vocab_size, config_.logit_softcap},
        {logits, logits}, logits));
  }
  return shape_.pick ? Lowering::AddPick(parts_, rows, builder_) : absl::OkStatus();
}

absl::Status PlainStep::Norm(absl::string_view stage, BufferView y, BufferView x,
                             const NormWeights& norm, uint32_t rows) {
  if (norm.bias.exists()) {
    return builder_.Add(stage, BuildLayerNorm,
                        LayerNormSpec{norm.weight.k, baked(rows), config_.rms_eps},
                        With(rows, {y, x, norm.weight.data, norm.bias.data}), y);
  }
  return builder_.Add(stage, BuildRmsNorm, RmsNormSpec{norm.weight.k, baked(rows), config_.rms_eps},
                      With(rows, {y, x, norm.weight.data}), y);
}

// A kernel of elements: `spec` without their number, which is that of the result.
template <class Spec>
absl::Status PlainStep::Map(absl::string_view stage,
                            absl::StatusOr<KernelSpec> (*build)(const Spec&, const Target&),
                            Spec spec, std::vector<Arg> args, BufferView result) {
  const auto elements = static_cast<uint32_t>(result.bytes / sizeof(float));
  spec.n = baked(elements);
  return builder_.Add(stage, build, spec, With(elements, std::move(args)), result);
}

absl::Status PlainStep::NormProducts(absl::string_view stage, const NormWeights& norm, BufferView x,
                                     absl::Span<const Product> products, uint32_t rows) {
  // Only the norm that needs one sum can be applied to a product afterwards.
  if (shape_.exact && config_.norm == NormKind::kRms && !IsInteger(products)) {
    return GemvProducts(stage, &norm.weight, x, products, rows);
  }
  PTXSMITH_RETURN_IF_ERROR(Norm(stage, h_, x, norm, rows));
  if (shape_.exact) return GemvProducts(stage, nullptr, h_, products, rows);
  PTXSMITH_RETURN_IF_ERROR(ToHalf(stage, h_, norm.weight.k));
  for (const Product& product : products) {
    PTXSMITH_RETURN_IF_ERROR(Gemm(stage, product, /*residual=*/false));
  }
  return absl::OkStatus();
}

absl::Status PlainStep::GemvProducts(absl::string_view stage, const Matrix* norm, BufferView x,
                                     absl::Span<const Product> products, uint32_t rows) {
  QuantType input = QuantType::kF32;
  if (norm == nullptr && IsInteger(products)) {
    PTXSMITH_RETURN_IF_ERROR(ToQ8_1(stage, rows * products[0].w.k, &x));
    input = QuantType::kQ8_1;
  }
  // Those of one type share a kernel, if all or none of them have a bias.
  for (size_t i = 0; i < products.size();) {
    const Matrix& first = products[i].w;
    const bool bias = products[i].bias.exists();
    size_t end = i + 1;
    while (end < products.size() && end < i + 3 && products[end].w.type == first.type &&
           products[end].bias.exists() == bias) {
      ++end;
    }
    const GemvSpec shape = parts_.profile.GemvFor(Problem(first, rows));
    std::vector<Arg> args;
    for (size_t j = i; j < end; ++j) args.emplace_back(products[j].y);
    for (size_t j = i; j < end; ++j) args.emplace_back(products[j].w.data);
    args.emplace_back(x);
    if (norm != nullptr) args.emplace_back(norm->data);
    for (size_t j = i; j < end && bias; ++j) args.emplace_back(products[j].bias.data);
    const BufferView result = products[i].y;
    if (end == i + 1 && norm != nullptr) {
      GemvNormSpec spec{first.type, first.k, first.n, config_.rms_eps};
      spec.outputs_per_block = shape.outputs_per_block;
      spec.unroll = shape.unroll;
      spec.warps_per_output = shape.warps_per_output;
      spec.m = rows;
      spec.bias = bias;
      PTXSMITH_RETURN_IF_ERROR(builder_.Add(stage, BuildGemvNorm, spec, args, result));
    } else if (end == i + 1 && input == QuantType::kQ8_1) {
      PTXSMITH_RETURN_IF_ERROR(
          builder_.Add(stage, BuildGemvQ8_1, IntegerSpec(shape, bias), args, result));
    } else if (end == i + 1) {
      GemvSpec spec = shape;
      spec.bias = bias;
      PTXSMITH_RETURN_IF_ERROR(builder_.Add(stage, BuildGemv, spec, args, result));
    } else {
      GemvMultiSpec spec{first.type, input, first.k, first.n, products[i + 1].w.n};
      spec.matrices = static_cast<uint32_t>(end - i);
      if (spec.matrices == 3) spec.n2 = products[i + 2].w.n;
      spec.outputs_per_block = shape.outputs_per_block;
      spec.unroll = shape.unroll;
      spec.warps_per_output = shape.warps_per_output;
      spec.m = rows;
      spec.norm = norm != nullptr;
      spec.eps = config_.rms_eps;
      spec.bias = bias;
      PTXSMITH_RETURN_IF_ERROR(builder_.Add(stage, BuildGemvMulti, spec, args, result));
    }
    i = end;
  }
  return absl::OkStatus();
}

absl::Status PlainStep::OneProduct(absl::string_view stage, const Product& product, BufferView x,
                                   bool residual) {
  if (!shape_.exact) {
    PTXSMITH_RETURN_IF_ERROR(ToHalf(stage, x, product.w.k));
    return Gemm(stage, product, residual);
  }
  GemvSpec spec = parts_.profile.GemvFor(Problem(product.w, rows_));
  spec.residual = residual;
  spec.bias = product.bias.exists();
  const bool integer = IsInteger({product});
  if (integer) PTXSMITH_RETURN_IF_ERROR(ToQ8_1(stage, rows_ * product.w.k, &x));
  std::vector<Arg> args = {product.y, product.w.data, x};
  if (spec.bias) args.emplace_back(product.bias.data);
  if (integer) {
    GemvQ8_1Spec integer_spec = IntegerSpec(spec, spec.bias);
    integer_spec.residual = residual;
    return builder_.Add(stage, BuildGemvQ8_1, integer_spec, args, product.y);
  }
  return builder_.Add(stage, BuildGemv, spec, args, product.y);
}

bool PlainStep::IsInteger(absl::Span<const Product> products) const {
  if (!shape_.exact || parts_.activations != Activations::kQ8_1) return false;
  return std::all_of(products.begin(), products.end(), [](const Product& product) {
    return DecoderFor(product.w.type).packed != nullptr;
  });
}

absl::Status PlainStep::ToQ8_1(absl::string_view stage, uint32_t elements, BufferView* x) {
  const BufferView from = *x;
  *x = lowering_.scratch_.q8;
  return builder_.Add(stage, BuildQuantizeQ8_1, QuantizeQ8_1Spec{elements}, {*x, from},
                      BufferView());
}

absl::Status PlainStep::ToHalf(absl::string_view stage, BufferView x, uint32_t k) {
  return builder_.Add(stage, BuildDequantize,
                      DequantizeSpec{QuantType::kF32, QuantType::kF16, k, std::nullopt},
                      {lowering_.scratch_.half, x, rows_}, BufferView());
}

absl::Status PlainStep::Gemm(absl::string_view stage, const Product& product, bool residual) {
  GemmSpec spec = DefaultGemmSpec(Problem(product.w, rows_));
  spec.residual = residual;
  spec.bias = product.bias.exists();
  std::vector<Arg> args = {product.y, product.w.data, lowering_.scratch_.half};
  if (spec.bias) args.emplace_back(product.bias.data);
  args.emplace_back(rows_);
  return builder_.Add(stage, BuildGemm, spec, args, product.y);
}

}  // namespace

absl::Status Lowering::CheckShape(const StepIo& io, const StepShape& shape, uint32_t most) {
  if (shape.rows == 0 || shape.rows > most) {
    return absl::InvalidArgumentError(
        absl::StrCat("a step of ", shape.rows, " rows; there is room for 1 to ", most));
  }
  if (shape.logits == LogitRows::kAll && shape.rows > io.logit_rows()) {
    return absl::InvalidArgumentError(
        absl::StrCat("logits of ", shape.rows, " rows; there is room for ", io.logit_rows()));
  }
  return absl::OkStatus();
}

absl::Status Lowering::AddPick(const ModelParts& parts, uint32_t rows, StepBuilder& builder) {
  PTXSMITH_RETURN_IF_ERROR(
      builder.Add("argmax", BuildArgmax, ArgmaxSpec{parts.config.vocab_size, 1024, rows},
                  {parts.io.picked(rows), parts.io.logits(rows)}, BufferView()));
  return builder.Add("advance", BuildAdvance, AdvanceSpec{rows, kPickRing},
                     {parts.io.tokens(rows), parts.io.positions(rows), parts.io.pick_count(),
                      parts.io.pick_log(), parts.io.picked(rows)},
                     BufferView());
}

absl::StatusOr<std::unique_ptr<Lowering>> NewPlainLowering(const ModelParts& parts) {
  auto lowering = std::make_unique<PlainLowering>(parts);
  PTXSMITH_RETURN_IF_ERROR(lowering->Allocate());
  return lowering;
}

}  // namespace ptxsmith

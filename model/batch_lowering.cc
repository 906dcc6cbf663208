// Up to 32 rows of several sequences in a step whose products read the weights once, from tiles of
// their own; short prompts by 32 tokens at a time, larger steps as the plain lowering makes them. A
// layer is nine kernels, launched programmatically: while one ends the rings of the next fill with
// weights.
//
//   norm, qkv, heads (RoPE, cache), attention (and its join where many positions are divided),
//   output, norm, gate and up, SwiGLU, down
#include <algorithm>
#include <initializer_list>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/lowering.h"
#include "ptx_templates/embed_row.h"
#include "ptx_templates/tiles/column_image.h"
#include "ptx_templates/tiles/gemm_tiles.h"
#include "ptx_templates/tiles/group_attention.h"
#include "ptx_templates/tiles/joins.h"
#include "ptx_templates/tiles/repack.h"
#include "runtime/launch.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kMaxRows = 32;
// A step of 32 rows takes 2.4 ms, a prompt with weights expanded 12.8 ms for 128 tokens and 15 us
// for each more (8B, H200, 2026-11-20).
constexpr uint32_t kMaxPromptRows = 160;
constexpr uint32_t kEmulatedBlocks = 4;
// At most so many blocks share the positions of a row; with one there is nothing to join.
constexpr uint32_t kPositionsPerSplit = 256;
constexpr uint32_t kMaxSplits = 32;

// KiB of tiles under way on an SM; ptx_templates/README.md says what others gave.
uint32_t RingFor(uint32_t columns) { return InRows(columns) ? 48 : 36; }

absl::Status Unsupported(absl::string_view what) {
  return absl::UnimplementedError(absl::StrCat("no batched kernels for this model: ", what));
}

// A product of all rows: of one matrix, or of several over the same input, rows after rows.
struct Product {
  GemmTilesSpec spec;  // but for `columns`
  BufferView tiles, tiles2;
  uint32_t slices = 0;
  uint32_t rows() const { return spec.n + spec.n2; }
};

struct LayerProducts {
  Product qkv, attn_output, gate_up, down;
};

class BatchLowering : public Lowering {
 public:
  explicit BatchLowering(const ModelParts& parts) : parts_(parts) {}

  absl::Status Prepare();
  absl::string_view name() const override { return "batched"; }
  uint32_t prompt_rows() const override { return kMaxPromptRows; }
  absl::StatusOr<Step> Lower(const StepShape& shape) override;

 private:
  friend class BatchStep;

  absl::Status CheckModel() const;
  // The product of matrices of one type, or of two, one after the other.
  absl::StatusOr<Product> Plan(std::vector<const Matrix*> matrices) const;
  absl::Status PlanAll();
  absl::Status Allocate(Stream& stream);
  absl::Status Repack(std::initializer_list<const Matrix*> matrices, Product& product,
                      Stream& stream);
  absl::Status RepackAll(Stream& stream);

  // What attention leaves to join.
  uint64_t PartialBytes(uint32_t rows) const {
    const ModelConfig& c = parts_.config;
    if (splits_ == 1) return 0;
    return uint64_t{rows} * c.head_count * splits_ * (c.head_dim + 2) * 4;
  }
  uint32_t q_width() const { return parts_.config.head_count * parts_.config.head_dim; }

  const ModelParts parts_;
  std::unique_ptr<Lowering> plain_;
  std::vector<LayerProducts> layers_;
  Product output_;
  uint32_t splits_ = 0;
  Buffer tiles_;
  uint64_t tiles_filled_ = 0;
  Workspace workspace_;
  BufferView x_;                            // the residual stream
  BufferView squares_;                      // sums of those of its elements, for the norm
  BufferView h_image_, o_image_, g_image_;  // what products read: x weighted, attention, SwiGLU
  BufferView parts_of_product_;
  BufferView q_, partial_;
};

// One step under construction.
class BatchStep {
 public:
  // Of the rows from `first` on.
  BatchStep(const BatchLowering& lowering, const StepShape& shape, uint32_t first);

  absl::Status Embedding();
  absl::Status Layer(uint32_t index);
  absl::Status Head();
  Step Take() && { return std::move(builder_).Take(); }

 private:
  // x += what the product before left, unless there is none; what the next one reads, but for the
  // factor of the norm, which whoever joins that one applies.
  absl::Status Norm(absl::string_view stage, const Product* before, const Matrix& weight);
  absl::Status Multiply(absl::string_view stage, const Product& product, BufferView image);
  absl::Status Heads(const LayerWeights& w, const Product& product, uint32_t index);
  absl::Status Attention(uint32_t index);

  // Of what lies by row, u32 each.
  BufferView OwnRows(BufferView rows) const {
    return rows.Slice(uint64_t{first_} * 4, uint64_t{rows_} * 4);
  }
  BufferView PartsOf(const Product& product) const {
    return lowering_.parts_of_product_.Slice(
        0, uint64_t{product.slices} * columns_ * product.rows() * 4);
  }
  BufferView squares() const {
    return lowering_.squares_.Slice(0,
                                    uint64_t{rows_} * config_.embedding_length / kTileColumns * 4);
  }
  BufferView ImageOf(BufferView image, uint32_t k) const {
    return image.Slice(0, ColumnImageBytes(k, columns_));
  }

  const BatchLowering& lowering_;
  const ModelParts& parts_;
  const ModelConfig& config_;
  const StepShape shape_;
  const uint32_t first_, rows_;
  const uint32_t columns_;  // those of the kernels
  StepBuilder builder_;
  BufferView x_, q_;
};

absl::Status BatchLowering::CheckModel() const {
  const ModelConfig& c = parts_.config;
  if (parts_.cache.options().type != QuantType::kF16 || parts_.cache.options().slots == 1) {
    return Unsupported("the cache is not one of several sequences in f16");
  }
  if (absl::Status plain = c.CheckPlainBlocks(); !plain.ok()) return Unsupported(plain.message());
  if (c.rope_dim != c.head_dim) return Unsupported("heads rotate in part");
  if (c.head_dim % 32 != 0) {
    return Unsupported(absl::StrCat("heads of ", c.head_dim, " elements"));
  }
  for (const uint32_t width : {c.embedding_length, c.feed_forward_length, q_width()}) {
    if (width % kTileColumns != 0) {
      return Unsupported(absl::StrCat("a width of ", width, ", not a multiple of 256"));
    }
  }
  for (const LayerWeights& layer : parts_.weights.layers()) {
    if (layer.attn_norm.type != QuantType::kF32 || layer.ffn_norm.type != QuantType::kF32) {
      return Unsupported("the norms are not f32");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Product> BatchLowering::Plan(std::vector<const Matrix*> matrices) const {
  const DeviceProfile& profile = parts_.modules.device()->profile();
  Product product;
  GemmTilesSpec& spec = product.spec;
  spec.quant = matrices[0]->type;
  spec.k = matrices[0]->k;
  spec.n = 0;
  for (const Matrix* w : matrices) {
    if (FindTileFormat(w->type) == nullptr) {
      return Unsupported(absl::StrCat("weights of type ", ToString(w->type)));
    }
    if (w->type == spec.quant && spec.n2 == 0) {
      spec.n += w->n;
      continue;
    }
    if (spec.n2 != 0 && w->type != spec.quant2) return Unsupported("one input, too many types");
    spec.quant2 = w->type;
    spec.n2 += w->n;
  }
  if (matrices.size() > 1 && (matrices[0]->n % kTileRows != 0 || matrices[1]->n % kTileRows != 0)) {
    return Unsupported("matrices of one input with rows that are no multiple of 16");
  }
  spec.ctas = profile.emulated ? kEmulatedBlocks : profile.sm_count;
  spec.programmatic = true;
  const absl::Status builds = BuildGemmTiles(spec, profile.target).status();
  if (!builds.ok()) return Unsupported(builds.message());
  product.slices = PlanOf(spec).slices;
  return product;
}

absl::Status BatchLowering::PlanAll() {
  for (const LayerWeights& w : parts_.weights.layers()) {
    LayerProducts products;
    PTXSMITH_ASSIGN_OR_RETURN(products.qkv, Plan({&w.q, &w.k, &w.v}));
    PTXSMITH_ASSIGN_OR_RETURN(products.attn_output, Plan({&w.attn_output}));
    PTXSMITH_ASSIGN_OR_RETURN(products.gate_up, Plan({&w.gate, &w.up}));
    PTXSMITH_ASSIGN_OR_RETURN(products.down, Plan({&w.down}));
    layers_.push_back(products);
  }
  PTXSMITH_ASSIGN_OR_RETURN(output_, Plan({&parts_.weights.output()}));
  return absl::OkStatus();
}

absl::Status BatchLowering::Prepare() {
  PTXSMITH_RETURN_IF_ERROR(CheckModel());
  PTXSMITH_RETURN_IF_ERROR(PlanAll());
  PTXSMITH_ASSIGN_OR_RETURN(plain_, NewPlainLowering(parts_));
  PTXSMITH_ASSIGN_OR_RETURN(Stream stream, parts_.modules.device()->NewStream());
  PTXSMITH_RETURN_IF_ERROR(Allocate(stream));
  PTXSMITH_RETURN_IF_ERROR(RepackAll(stream));
  return stream.Synchronize();
}

absl::Status BatchLowering::Allocate(Stream& stream) {
  const ModelConfig& c = parts_.config;
  splits_ = std::clamp(parts_.cache.options().context / kPositionsPerSplit, 1u, kMaxSplits);
  uint64_t tile_bytes = 0;
  uint64_t part_floats = 0;
  const auto count = [&](const Product& product) {
    const GemmTilesSpec& spec = product.spec;
    tile_bytes += TileBytes(TileFormatOf(spec.quant), spec.k, spec.n);
    if (spec.n2 != 0) tile_bytes += TileBytes(TileFormatOf(spec.quant2), spec.k, spec.n2);
    part_floats = std::max(part_floats, uint64_t{product.slices} * kMaxRows * product.rows());
  };
  for (const LayerProducts& layer : layers_) {
    for (const Product* product : {&layer.qkv, &layer.attn_output, &layer.gate_up, &layer.down}) {
      count(*product);
    }
  }
  count(output_);
  Device& device = *parts_.modules.device();
  PTXSMITH_ASSIGN_OR_RETURN(tiles_, device.Allocate(tile_bytes, "tiles"));
  const uint64_t width = c.embedding_length;
  PTXSMITH_ASSIGN_OR_RETURN(
      workspace_,
      Workspace::Allocate(device, "workspace of batches",
                          {{"x", x_, kMaxRows * width * 4},
                           {"squares", squares_, kMaxRows * width / kTileColumns * 4},
                           {"h_image", h_image_, ColumnImageBytes(width, kMaxRows)},
                           {"o_image", o_image_, ColumnImageBytes(q_width(), kMaxRows)},
                           {"g_image", g_image_, ColumnImageBytes(c.feed_forward_length, kMaxRows)},
                           {"parts", parts_of_product_, part_floats * 4},
                           {"q", q_, uint64_t{kMaxRows} * q_width() * 4},
                           {"partial", partial_, PartialBytes(kMaxRows)}}));
  // Rows that no sequence has yet are read, too, though nobody uses what comes of them.
  for (const BufferView image : {h_image_, o_image_, g_image_}) {
    PTXSMITH_RETURN_IF_ERROR(stream.Fill(image, 0));
  }
  return absl::OkStatus();
}

absl::Status BatchLowering::RepackAll(Stream& stream) {
  for (size_t i = 0; i < layers_.size(); ++i) {
    const LayerWeights& w = parts_.weights.layers()[i];
    PTXSMITH_RETURN_IF_ERROR(Repack({&w.q, &w.k, &w.v}, layers_[i].qkv, stream));
    PTXSMITH_RETURN_IF_ERROR(Repack({&w.attn_output}, layers_[i].attn_output, stream));
    PTXSMITH_RETURN_IF_ERROR(Repack({&w.gate, &w.up}, layers_[i].gate_up, stream));
    PTXSMITH_RETURN_IF_ERROR(Repack({&w.down}, layers_[i].down, stream));
  }
  return Repack({&parts_.weights.output()}, output_, stream);
}

absl::Status BatchLowering::Repack(std::initializer_list<const Matrix*> matrices, Product& product,
                                   Stream& stream) {
  const Target& target = parts_.modules.device()->profile().target;
  const uint64_t start = tiles_filled_;
  uint64_t second = 0;
  uint32_t rows = 0;
  for (const Matrix* w : matrices) {
    if (rows == product.spec.n) second = tiles_filled_;
    rows += w->n;
    RepackSpec spec{w->type, w->k, w->n};
    spec.layout = TileLayout::kMma;
    PTXSMITH_ASSIGN_OR_RETURN(
        std::shared_ptr<const Module> module,
        parts_.modules.GetOrBuild(KeyOf(spec, target), [&] { return BuildRepack(spec, target); }));
    const uint64_t bytes = TileBytes(TileFormatOf(w->type), w->k, w->n);
    PTXSMITH_ASSIGN_OR_RETURN(
        const BoundLaunch launch,
        Bind(std::move(module), {BufferView(tiles_).Slice(tiles_filled_, bytes), w->data}));
    PTXSMITH_RETURN_IF_ERROR(Enqueue(launch, stream));
    tiles_filled_ += bytes;
  }
  if (product.spec.n2 == 0) second = tiles_filled_;
  product.tiles = BufferView(tiles_).Slice(start, second - start);
  product.tiles2 = BufferView(tiles_).Slice(second, tiles_filled_ - second);
  return absl::OkStatus();
}

absl::StatusOr<Step> BatchLowering::Lower(const StepShape& shape) {
  if (shape.rows > (shape.exact || shape.pick ? kMaxRows : kMaxPromptRows)) {
    return plain_->Lower(shape);
  }
  PTXSMITH_RETURN_IF_ERROR(CheckShape(parts_.io, shape, parts_.io.rows()));
  Step all;
  for (uint32_t first = 0; first < shape.rows; first += kMaxRows) {
    StepShape part = shape;
    part.rows = std::min(shape.rows - first, kMaxRows);
    const bool last = first + part.rows == shape.rows;
    if (shape.logits == LogitRows::kLast && !last) part.logits = LogitRows::kNone;
    BatchStep step(*this, part, first);
    PTXSMITH_RETURN_IF_ERROR(step.Embedding());
    for (uint32_t i = 0; i < parts_.config.block_count; ++i) {
      PTXSMITH_RETURN_IF_ERROR(step.Layer(i));
    }
    PTXSMITH_RETURN_IF_ERROR(step.Head());
    all.Append(std::move(step).Take());
  }
  return all;
}

BatchStep::BatchStep(const BatchLowering& lowering, const StepShape& shape, uint32_t first)
    : lowering_(lowering),
      parts_(lowering.parts_),
      config_(lowering.parts_.config),
      shape_(shape),
      first_(first),
      rows_(shape.rows),
      columns_(rows_ <= 8    ? 8
               : rows_ <= 16 ? 16
                             : kMaxRows),
      builder_(lowering.parts_.modules),
      x_(lowering.x_.Slice(0, uint64_t{rows_} * config_.embedding_length * 4)),
      q_(lowering.q_.Slice(0, uint64_t{rows_} * lowering.q_width() * 4)) {}

absl::Status BatchStep::Embedding() {
  const Matrix& table = parts_.weights.token_embedding();
  PTXSMITH_RETURN_IF_ERROR(
      builder_.Add("embedding", BuildEmbedRow, EmbedRowSpec{table.type, table.k, table.n, rows_},
                   {x_, table.data, OwnRows(parts_.io.tokens(first_ + rows_))}, x_));
  return Norm("attn_norm", nullptr, parts_.weights.layers()[0].attn_norm);
}

absl::Status BatchStep::Norm(absl::string_view stage, const Product* before, const Matrix& weight) {
  JoinNormSpec spec{weight.k, rows_, before == nullptr ? 0 : before->slices, columns_, true};
  std::vector<Arg> args = {ImageOf(lowering_.h_image_, weight.k), squares(), x_};
  if (before != nullptr) args.emplace_back(PartsOf(*before));
  args.emplace_back(weight.data);
  return builder_.Add(stage, BuildJoinNorm, spec, args, x_);
}

absl::Status BatchStep::Multiply(absl::string_view stage, const Product& product,
                                 BufferView image) {
  GemmTilesSpec spec = product.spec;
  spec.columns = columns_;
  spec.ring = RingFor(columns_);
  std::vector<Arg> args = {PartsOf(product), product.tiles};
  if (spec.n2 != 0) args.emplace_back(product.tiles2);
  args.emplace_back(ImageOf(image, spec.k));
  return builder_.Add(stage, BuildGemmTiles, spec, args, BufferView());
}

absl::Status BatchStep::Layer(uint32_t index) {
  const LayerWeights& w = parts_.weights.layers()[index];
  const LayerProducts& products = lowering_.layers_[index];
  builder_.SetLayer(static_cast<int32_t>(index));
  PTXSMITH_RETURN_IF_ERROR(Multiply("qkv", products.qkv, lowering_.h_image_));
  PTXSMITH_RETURN_IF_ERROR(Heads(w, products.qkv, index));
  PTXSMITH_RETURN_IF_ERROR(Attention(index));
  PTXSMITH_RETURN_IF_ERROR(Multiply("attn_output", products.attn_output, lowering_.o_image_));
  PTXSMITH_RETURN_IF_ERROR(Norm("ffn_norm", &products.attn_output, w.ffn_norm));
  PTXSMITH_RETURN_IF_ERROR(Multiply("ffn_gate_up", products.gate_up, lowering_.h_image_));
  JoinGluSpec glu{w.gate.n, rows_, products.gate_up.slices, columns_};
  glu.normed = config_.embedding_length;
  glu.eps = config_.rms_eps;
  glu.programmatic = true;
  PTXSMITH_RETURN_IF_ERROR(builder_.Add(
      "swiglu", BuildJoinGlu, glu,
      {ImageOf(lowering_.g_image_, w.gate.n), PartsOf(products.gate_up), squares()}, BufferView()));
  PTXSMITH_RETURN_IF_ERROR(Multiply("ffn_down", products.down, lowering_.g_image_));
  // What joins this layer's result is the norm of the next one, or that of the head.
  const bool last = index + 1 == config_.block_count;
  return Norm("ffn_down", &products.down,
              last ? parts_.weights.output_norm() : parts_.weights.layers()[index + 1].attn_norm);
}

absl::Status BatchStep::Heads(const LayerWeights& w, const Product& product, uint32_t index) {
  const KvCache::Options& cache = parts_.cache.options();
  JoinHeadsSpec spec{config_.head_count, config_.head_count_kv,
                     config_.head_dim,   cache.context,
                     cache.slots,        rows_,
                     product.slices,     columns_};
  spec.pairing = config_.rope_pairing;
  spec.bias = config_.qkv_bias;
  spec.normed = config_.embedding_length;
  spec.eps = config_.rms_eps;
  spec.programmatic = true;
  std::vector<Arg> args = {q_,
                           parts_.cache.keys(index),
                           parts_.cache.values(index),
                           PartsOf(product),
                           squares(),
                           OwnRows(parts_.io.positions(first_ + rows_)),
                           OwnRows(parts_.io.slots(first_ + rows_)),
                           parts_.rope_rates};
  if (spec.bias) {
    for (const Matrix* bias : {&w.q_bias, &w.k_bias, &w.v_bias}) args.emplace_back(bias->data);
  }
  return builder_.Add("heads", BuildJoinHeads, spec, args, q_);
}

absl::Status BatchStep::Attention(uint32_t index) {
  const KvCache::Options& cache = parts_.cache.options();
  GroupAttentionSpec spec{config_.head_count,
                          config_.head_count_kv,
                          config_.head_dim,
                          cache.context,
                          cache.slots,
                          rows_,
                          lowering_.splits_,
                          columns_,
                          true};
  const BufferView image = ImageOf(lowering_.o_image_, lowering_.q_width());
  const bool whole = spec.splits == 1;
  const BufferView partial = lowering_.partial_.Slice(0, lowering_.PartialBytes(rows_));
  PTXSMITH_RETURN_IF_ERROR(builder_.Add(
      "attention", BuildGroupAttention, spec,
      {whole ? image : partial, q_, parts_.cache.keys(index), parts_.cache.values(index),
       OwnRows(parts_.io.positions(first_ + rows_)), OwnRows(parts_.io.slots(first_ + rows_))},
      partial));
  if (whole) return absl::OkStatus();
  return builder_.Add(
      "attention_join", BuildJoinAttention,
      JoinAttentionSpec{config_.head_count, config_.head_dim, spec.splits, rows_, columns_, true},
      {image, partial}, BufferView());
}

absl::Status BatchStep::Head() {
  builder_.SetLayer(-1);
  if (shape_.logits == LogitRows::kNone) return absl::OkStatus();
  const Product& output = lowering_.output_;
  PTXSMITH_RETURN_IF_ERROR(Multiply("output", output, lowering_.h_image_));
  const bool last = shape_.logits == LogitRows::kLast;
  const uint64_t row_bytes = uint64_t{config_.vocab_size} * 4;
  const BufferView logits =
      last ? parts_.io.logits(1)
           : parts_.io.logits(first_ + rows_).Slice(first_ * row_bytes, rows_ * row_bytes);
  JoinSumSpec spec{output.rows(), last ? 1 : rows_, output.slices, columns_};
  spec.skip = last ? rows_ - 1 : 0;
  spec.normed = config_.embedding_length;
  spec.eps = config_.rms_eps;
  spec.programmatic = true;
  PTXSMITH_RETURN_IF_ERROR(
      builder_.Add("logits", BuildJoinSum, spec, {logits, PartsOf(output), squares()}, logits));
  return shape_.pick ? Lowering::AddPick(parts_, rows_, builder_) : absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Lowering>> NewBatchLowering(const ModelParts& parts) {
  auto lowering = std::make_unique<BatchLowering>(parts);
  PTXSMITH_RETURN_IF_ERROR(lowering->Prepare());
  return std::unique_ptr<Lowering>(std::move(lowering));
}

}  // namespace ptxsmith

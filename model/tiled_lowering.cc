// Single tokens with logits in one launch, decode_token, over weights repacked into tiles; all
// other steps as the plain lowering makes them, over the weights as they are. Both copies stay on
// the device.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/lowering.h"
#include "ptx_templates/tiles/decode_token.h"
#include "ptx_templates/tiles/repack.h"
#include "runtime/launch.h"

namespace ptxsmith {
namespace {

constexpr uint32_t kEmulatedBlocks = 4;

absl::Status Unsupported(absl::string_view what) {
  return absl::UnimplementedError(absl::StrCat("no tiled kernels for this model: ", what));
}

// The type of one matrix over all layers: a first one and, in some layers, another.
class LayerType {
 public:
  explicit LayerType(absl::string_view name) : name_(name) {}

  absl::Status Add(const Matrix& matrix, bool may_differ) {
    if (FindTileFormat(matrix.type) == nullptr) {
      return Unsupported(absl::StrCat(name_, " is of type ", ToString(matrix.type)));
    }
    if (!known_) first_ = other_ = matrix.type;
    known_ = true;
    if (matrix.type == first_ || matrix.type == other_) return absl::OkStatus();
    if (may_differ && other_ == first_) {
      other_ = matrix.type;
      return absl::OkStatus();
    }
    return Unsupported(absl::StrCat(name_, " is of too many types"));
  }
  QuantType first() const { return first_; }
  QuantType other() const { return other_; }
  bool IsOther(QuantType type) const { return type != first_; }

 private:
  absl::string_view name_;
  bool known_ = false;  // some layer's type has been seen
  QuantType first_ = QuantType::kF32;
  QuantType other_ = QuantType::kF32;  // the first one where there is no other
};

// A whole number of warps for each block of 256 columns where that leaves enough of them: a warp
// then multiplies by one block only, and no warp has more to stage than another. Tokens/s of
// synthetic Q4_K_M with 6, 8, 12 and 16 warps: 2148, -, 2169, 2135 (Qwen2.5-1.5B, 6 blocks); -,
// 3298, 3222, 3337 (Llama-3.2-1B, 8 blocks). With 14 instead of 16, 725 instead of 785
// (Llama-3.1-8B, 16 blocks). H200, 2026-11-20, ptxsmith bench -p 0 -n 128.
uint32_t WarpsFor(uint32_t blocks) {
  constexpr uint32_t kMost = 16;
  return blocks <= kMost ? kMost / blocks * blocks : kMost;
}

class TiledLowering : public Lowering {
 public:
  explicit TiledLowering(const ModelParts& parts) : parts_(parts) {}

  absl::Status Prepare();
  absl::string_view name() const override { return "tiled"; }
  absl::StatusOr<Step> Lower(const StepShape& shape) override;

 private:
  absl::Status CheckModel() const;
  absl::Status ChooseSpec();
  absl::Status CheckKernel();
  // Allocates and enqueues everything that the kernel reads.
  absl::Status Repack(Stream& stream);
  absl::Status RepackLayer(uint32_t index, Stream& stream);
  // Appends the matrix to the tiles; its place is the next word of the plan when `starts`.
  absl::Status Append(const Matrix& w, RowOrder order, const Matrix* second, bool starts,
                      Stream& stream);
  absl::Status CopyBiases(Stream& stream);
  absl::Status CopyNorm(const Matrix& norm, uint32_t index, Stream& stream);

  const ModelParts parts_;
  std::unique_ptr<Lowering> plain_;
  DecodeTokenSpec spec_;
  LayerType v_{"attn_v"}, down_{"ffn_down"};
  Buffer tiles_, plan_, norms_, biases_, exchange_;
  uint64_t tiles_filled_ = 0;
  std::vector<uint32_t> plan_words_;
};

absl::Status TiledLowering::CheckModel() const {
  const ModelConfig& c = parts_.config;
  if (parts_.cache.options().type != QuantType::kF16 || parts_.cache.options().slots != 1) {
    return Unsupported("the cache is not one sequence of f16");
  }
  if (absl::Status plain = c.CheckPlainBlocks(); !plain.ok()) return Unsupported(plain.message());
  if (c.rope_dim != c.head_dim) return Unsupported("heads rotate in part");
  if (c.head_dim != 64 && c.head_dim != 128) {
    return Unsupported(absl::StrCat("heads of ", c.head_dim, " elements"));
  }
  if (c.embedding_length % kTileColumns != 0 || c.feed_forward_length % kTileColumns != 0) {
    return Unsupported(absl::StrCat("widths of ", c.embedding_length, " and ",
                                    c.feed_forward_length, ", not multiples of 256"));
  }
  for (const LayerWeights& layer : parts_.weights.layers()) {
    if (layer.attn_norm.type != QuantType::kF32 || layer.ffn_norm.type != QuantType::kF32) {
      return Unsupported("the norms are not f32");
    }
  }
  return absl::OkStatus();
}

absl::Status TiledLowering::ChooseSpec() {
  const ModelConfig& c = parts_.config;
  const DeviceProfile& profile = parts_.modules.device()->profile();
  LayerType qk("attn_q"), o("attn_output"), gate_up("ffn_gate"), output("output");
  for (const LayerWeights& layer : parts_.weights.layers()) {
    PTXSMITH_RETURN_IF_ERROR(qk.Add(layer.q, false));
    PTXSMITH_RETURN_IF_ERROR(qk.Add(layer.k, false));
    PTXSMITH_RETURN_IF_ERROR(v_.Add(layer.v, true));
    PTXSMITH_RETURN_IF_ERROR(o.Add(layer.attn_output, false));
    PTXSMITH_RETURN_IF_ERROR(gate_up.Add(layer.gate, false));
    PTXSMITH_RETURN_IF_ERROR(gate_up.Add(layer.up, false));
    PTXSMITH_RETURN_IF_ERROR(down_.Add(layer.down, true));
  }
  PTXSMITH_RETURN_IF_ERROR(output.Add(parts_.weights.output(), false));
  spec_.width = c.embedding_length;
  spec_.ff = c.feed_forward_length;
  spec_.heads = c.head_count;
  spec_.kv_heads = c.head_count_kv;
  spec_.head_dim = c.head_dim;
  spec_.layers = c.block_count;
  spec_.vocab = c.vocab_size;
  spec_.context = parts_.cache.options().context;
  spec_.eps = c.rms_eps;
  spec_.pairing = c.rope_pairing;
  spec_.bias = c.qkv_bias;
  spec_.embedding = parts_.weights.token_embedding().type;
  spec_.qk = qk.first();
  spec_.v = v_.first();
  spec_.v_more = v_.other();
  spec_.o = o.first();
  spec_.gate_up = gate_up.first();
  spec_.down = down_.first();
  spec_.down_more = down_.other();
  spec_.output = output.first();
  spec_.ring = kPickRing;
  spec_.ctas = profile.emulated ? std::max(kEmulatedBlocks, c.head_count) : profile.sm_count;
  spec_.warps = WarpsFor(c.embedding_length / kTileColumns);
  spec_.terms = parts_.activations == Activations::kInt8 ? 1 : 2;
  return absl::OkStatus();
}

absl::Status TiledLowering::CheckKernel() {
  const Target& target = parts_.modules.device()->profile().target;
  absl::Status status = BuildDecodeToken(spec_, target).status();
  if (absl::IsFailedPrecondition(status)) {  // wide matrices leave less room for the ring
    spec_.slots = 12;
    spec_.in_flight = std::min(spec_.in_flight, spec_.slots - 1 - (spec_.warps + 1) / 2);
    status = BuildDecodeToken(spec_, target).status();
  }
  return status.ok() ? status : Unsupported(status.message());
}

absl::Status TiledLowering::Prepare() {
  PTXSMITH_RETURN_IF_ERROR(CheckModel());
  PTXSMITH_RETURN_IF_ERROR(ChooseSpec());
  PTXSMITH_RETURN_IF_ERROR(CheckKernel());
  PTXSMITH_ASSIGN_OR_RETURN(plain_, NewPlainLowering(parts_));
  PTXSMITH_ASSIGN_OR_RETURN(Stream stream, parts_.modules.device()->NewStream());
  PTXSMITH_RETURN_IF_ERROR(Repack(stream));
  return stream.Synchronize();
}

absl::Status TiledLowering::Repack(Stream& stream) {
  Device& device = *parts_.modules.device();
  uint64_t bytes = 0;
  const auto count = [&](const Matrix& w) { bytes += TileBytes(TileFormatOf(w.type), w.k, w.n); };
  for (const LayerWeights& layer : parts_.weights.layers()) {
    for (const Matrix* w :
         {&layer.q, &layer.k, &layer.v, &layer.attn_output, &layer.gate, &layer.up, &layer.down}) {
      count(*w);
    }
  }
  count(parts_.weights.output());
  const uint64_t norm_bytes = (2 * uint64_t{spec_.layers} + 1) * spec_.width * sizeof(float);
  PTXSMITH_ASSIGN_OR_RETURN(tiles_, device.Allocate(bytes, "tiles"));
  PTXSMITH_ASSIGN_OR_RETURN(norms_, device.Allocate(norm_bytes, "norms"));
  PTXSMITH_ASSIGN_OR_RETURN(
      exchange_, device.Allocate(DecodeExchangeWords(spec_) * sizeof(uint32_t), "exchange"));
  // All ones: not yet written. Only the turn is a number.
  PTXSMITH_RETURN_IF_ERROR(stream.Fill(exchange_, 0xff));
  PTXSMITH_RETURN_IF_ERROR(stream.Fill(BufferView(exchange_).Slice(0, sizeof(uint32_t)), 0));

  for (uint32_t i = 0; i < spec_.layers; ++i) {
    PTXSMITH_RETURN_IF_ERROR(RepackLayer(i, stream));
  }
  PTXSMITH_RETURN_IF_ERROR(CopyNorm(parts_.weights.output_norm(), 2 * spec_.layers, stream));
  PTXSMITH_RETURN_IF_ERROR(
      Append(parts_.weights.output(), RowOrder::kPlain, nullptr, true, stream));
  PTXSMITH_RETURN_IF_ERROR(CopyBiases(stream));
  plan_words_.resize((uint64_t{spec_.layers} + 1) * kPlanWords);
  PTXSMITH_ASSIGN_OR_RETURN(plan_, device.Allocate(plan_words_.size() * sizeof(uint32_t), "plan"));
  return stream.CopyToDevice(plan_, plan_words_.data(), plan_words_.size() * sizeof(uint32_t));
}

absl::Status TiledLowering::RepackLayer(uint32_t index, Stream& stream) {
  const LayerWeights& layer = parts_.weights.layers()[index];
  const RowOrder rotated =
      spec_.pairing == RopePairing::kAdjacent ? RowOrder::kPlain : RowOrder::kPairs;
  PTXSMITH_RETURN_IF_ERROR(Append(layer.q, rotated, nullptr, true, stream));
  PTXSMITH_RETURN_IF_ERROR(Append(layer.k, rotated, nullptr, false, stream));
  PTXSMITH_RETURN_IF_ERROR(Append(layer.v, RowOrder::kPlain, nullptr, true, stream));
  PTXSMITH_RETURN_IF_ERROR(Append(layer.attn_output, RowOrder::kPlain, nullptr, true, stream));
  PTXSMITH_RETURN_IF_ERROR(Append(layer.gate, RowOrder::kInterleaved, &layer.up, true, stream));
  PTXSMITH_RETURN_IF_ERROR(Append(layer.down, RowOrder::kPlain, nullptr, true, stream));
  plan_words_.push_back((v_.IsOther(layer.v.type) ? kPlanMoreV : 0) |
                        (down_.IsOther(layer.down.type) ? kPlanMoreDown : 0));
  plan_words_.resize((uint64_t{index} + 1) * kPlanWords);
  PTXSMITH_RETURN_IF_ERROR(CopyNorm(layer.attn_norm, 2 * index, stream));
  return CopyNorm(layer.ffn_norm, 2 * index + 1, stream);
}

absl::Status TiledLowering::Append(const Matrix& w, RowOrder order, const Matrix* second,
                                   bool starts, Stream& stream) {
  RepackSpec spec{w.type, w.k, second == nullptr ? w.n : 2 * w.n, order};
  if (order == RowOrder::kPairs) spec.head_dim = spec_.head_dim;
  const Target& target = parts_.modules.device()->profile().target;
  PTXSMITH_ASSIGN_OR_RETURN(
      std::shared_ptr<const Module> module,
      parts_.modules.GetOrBuild(KeyOf(spec, target), [&] { return BuildRepack(spec, target); }));
  const uint64_t bytes = TileBytes(TileFormatOf(w.type), spec.k, spec.n);
  std::vector<Arg> args = {BufferView(tiles_).Slice(tiles_filled_, bytes), w.data};
  if (second != nullptr) args.emplace_back(second->data);
  PTXSMITH_ASSIGN_OR_RETURN(const BoundLaunch launch, Bind(std::move(module), args));
  PTXSMITH_RETURN_IF_ERROR(Enqueue(launch, stream));
  if (starts) plan_words_.push_back(static_cast<uint32_t>(tiles_filled_ / kPlanUnit));
  tiles_filled_ += bytes;
  return absl::OkStatus();
}

absl::Status TiledLowering::CopyNorm(const Matrix& norm, uint32_t index, Stream& stream) {
  const uint64_t bytes = uint64_t{spec_.width} * sizeof(float);
  return stream.CopyOnDevice(BufferView(norms_).Slice(index * bytes, bytes), norm.data, bytes);
}

// Of q, k and v of every layer, in the order of the rows of their tiles.
absl::Status TiledLowering::CopyBiases(Stream& stream) {
  if (!spec_.bias) return absl::OkStatus();
  std::vector<float> ordered, bias;
  for (const LayerWeights& layer : parts_.weights.layers()) {
    for (const Matrix* matrix : {&layer.q_bias, &layer.k_bias, &layer.v_bias}) {
      bias.resize(matrix->k);
      PTXSMITH_RETURN_IF_ERROR(
          stream.CopyToHost(bias.data(), matrix->data, bias.size() * sizeof(float)));
      PTXSMITH_RETURN_IF_ERROR(stream.Synchronize());
      const bool pairs = matrix != &layer.v_bias && spec_.pairing == RopePairing::kHalfSplit;
      for (uint32_t r = 0; r < matrix->k; ++r) {
        const uint32_t in_head = r % spec_.head_dim;
        const uint32_t paired = r - in_head + in_head / 2 + in_head % 2 * (spec_.head_dim / 2);
        ordered.push_back(bias[pairs ? paired : r]);
      }
    }
  }
  const uint64_t bytes = ordered.size() * sizeof(float);
  PTXSMITH_ASSIGN_OR_RETURN(biases_, parts_.modules.device()->Allocate(bytes, "biases"));
  PTXSMITH_RETURN_IF_ERROR(stream.CopyToDevice(biases_, ordered.data(), bytes));
  return stream.Synchronize();
}

absl::StatusOr<Step> TiledLowering::Lower(const StepShape& shape) {
  if (shape.rows != 1 || shape.logits != LogitRows::kAll) return plain_->Lower(shape);
  DecodeTokenSpec spec = spec_;
  spec.pick = shape.pick;
  const BufferView cache(parts_.cache.keys(0).ptr, parts_.cache.bytes());
  const BufferView logits = parts_.io.logits(1);
  std::vector<Arg> args = {
      parts_.io.tokens(1), parts_.io.positions(1), logits, exchange_, cache, tiles_, plan_, norms_};
  if (spec.bias) args.emplace_back(biases_);
  args.emplace_back(parts_.rope_rates);
  args.emplace_back(parts_.weights.token_embedding().data);
  if (shape.pick) {
    args.emplace_back(parts_.io.pick_count());
    args.emplace_back(parts_.io.pick_log());
    args.emplace_back(parts_.io.picked(1));
  }
  StepBuilder builder(parts_.modules);
  PTXSMITH_RETURN_IF_ERROR(builder.Add("token", BuildDecodeToken, spec, args, logits));
  return std::move(builder).Take();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Lowering>> NewTiledLowering(const ModelParts& parts) {
  auto lowering = std::make_unique<TiledLowering>(parts);
  PTXSMITH_RETURN_IF_ERROR(lowering->Prepare());
  return std::unique_ptr<Lowering>(std::move(lowering));
}

absl::StatusOr<std::unique_ptr<Lowering>> NewLowering(LoweringChoice choice,
                                                      const ModelParts& parts) {
  const bool emulated = parts.modules.device()->profile().emulated;
  if (choice == LoweringChoice::kPlain || (choice == LoweringChoice::kAuto && emulated)) {
    return NewPlainLowering(parts);
  }
  // Activations in q8_1 are the plain lowering's.
  if (choice == LoweringChoice::kAuto && parts.activations == Activations::kQ8_1) {
    return NewPlainLowering(parts);
  }
  absl::StatusOr<std::unique_ptr<Lowering>> tiled =
      parts.cache.options().slots == 1 ? NewTiledLowering(parts) : NewBatchLowering(parts);
  if (choice == LoweringChoice::kAuto && absl::IsUnimplemented(tiled.status())) {
    return NewPlainLowering(parts);
  }
  if (choice == LoweringChoice::kAuto && absl::IsResourceExhausted(tiled.status())) {
    // With more memory, for a second copy of the weights, decoding would be faster.
    parts.modules.device()->LogFailure(tiled.status());
    return NewPlainLowering(parts);
  }
  return tiled;
}

}  // namespace ptxsmith

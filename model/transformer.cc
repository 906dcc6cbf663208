#include "model/transformer.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/argmax.h"
#include "ptx_templates/attention.h"
#include "ptx_templates/elementwise.h"
#include "ptx_templates/embed_row.h"
#include "ptx_templates/gemv.h"
#include "ptx_templates/kv_append.h"
#include "ptx_templates/rms_norm.h"
#include "ptx_templates/rope.h"

namespace ptxsmith {
namespace {

constexpr uint64_t kAlignment = 256;
// Rotation is exact below; bytes of the cache then fit 64 bits whatever the other sizes are.
constexpr uint32_t kMaxPositions = 1 << 24;

uint64_t Aligned(uint64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Gets the kernel of a spec from the cache and binds it.
template <class Spec>
absl::StatusOr<BoundLaunch> Bound(ModuleCache& cache,
                                  absl::StatusOr<KernelSpec> (*build)(const Spec&, const Target&),
                                  const Spec& spec, std::initializer_list<Arg> args) {
  const Target& target = cache.device()->profile().target;
  PTXSMITH_ASSIGN_OR_RETURN(
      std::shared_ptr<const Module> module,
      cache.GetOrBuild(KeyOf(spec, target), [&] { return build(spec, target); }));
  return Bind(std::move(module), args);
}

absl::StatusOr<BoundLaunch> BoundGemv(ModuleCache& cache, const Matrix& w, BufferView y,
                                      BufferView x) {
  GemvSpec spec{w.type, w.k, w.n};
  // Loads of four units in flight per warp when the row has them.
  while (spec.unroll < 4 && w.k / kUnitWeights >= 2 * spec.unroll) spec.unroll *= 2;
  return Bound(cache, BuildGemv, spec, {y, w.data, x});
}

}  // namespace

absl::StatusOr<std::unique_ptr<Transformer>> Transformer::Load(const GgufFile& file,
                                                               ModuleCache& cache,
                                                               const TransformerOptions& options) {
  PTXSMITH_ASSIGN_OR_RETURN(const ModelConfig config, ModelConfig::FromGguf(file));
  if (options.context > config.context_length) {
    return absl::InvalidArgumentError(absl::StrCat("a context of ", options.context,
                                                   " positions; the model was trained for ",
                                                   config.context_length));
  }
  const uint32_t context = options.context != 0 ? options.context : config.context_length;
  if (context > kMaxPositions) {
    return absl::InvalidArgumentError(
        absl::StrCat("a context of ", context, " positions; kernels support ", kMaxPositions));
  }
  if (config.value_length != config.head_dim) {
    return absl::UnimplementedError(absl::StrCat("heads with keys of ", config.head_dim,
                                                 " and values of ", config.value_length,
                                                 " elements"));
  }
  Device& device = *cache.device();
  PTXSMITH_ASSIGN_OR_RETURN(Stream stream, device.NewStream());
  PTXSMITH_ASSIGN_OR_RETURN(Weights weights,
                            Weights::Load(file, config, device, stream, options.progress));
  std::unique_ptr<Transformer> model(new Transformer(std::move(weights), config));
  model->stream_ = std::move(stream);
  model->context_ = context;
  PTXSMITH_RETURN_IF_ERROR(model->Allocate(device));
  PTXSMITH_RETURN_IF_ERROR(model->UploadRopeRates(file, device));
  PTXSMITH_RETURN_IF_ERROR(model->BindAll(cache));
  model->logits_.resize(config.vocab_size);
  model->step_inputs_.resize(model->context_);
  return model;
}

absl::Status Transformer::Allocate(Device& device) {
  const uint64_t q_width = uint64_t{config_.head_count} * config_.head_dim;
  const uint64_t kv_width = uint64_t{config_.head_count_kv} * config_.head_dim;
  struct Part {
    const char* name;
    Buffer& buffer;
    uint64_t elements;  // of four bytes
  };
  const Part parts[] = {{"inputs", work_.inputs, 2},
                        {"x", work_.x, config_.embedding_length},
                        {"h", work_.h, config_.embedding_length},
                        {"q", work_.q, q_width},
                        {"k", work_.k, kv_width},
                        {"v", work_.v, kv_width},
                        {"o", work_.o, q_width},
                        {"gate", work_.gate, config_.feed_forward_length},
                        {"up", work_.up, config_.feed_forward_length},
                        {"g", work_.g, config_.feed_forward_length},
                        {"logits", work_.logits, config_.vocab_size},
                        {"greedy", work_.greedy, 1}};
  for (const Part& part : parts) {
    PTXSMITH_ASSIGN_OR_RETURN(part.buffer, device.Allocate(part.elements * 4, part.name));
  }

  kv_bytes_ = Aligned(kv_width * context_ * 2);
  PTXSMITH_ASSIGN_OR_RETURN(kv_cache_,
                            device.Allocate(kv_bytes_ * 2 * config_.block_count, "kv_cache"));
  return absl::OkStatus();
}

absl::Status Transformer::UploadRopeRates(const GgufFile& file, Device& device) {
  std::vector<float> factors;
  if (const GgufTensor* tensor = file.FindTensor("rope_freqs.weight")) {
    if (tensor->type != QuantType::kF32 || tensor->elements() != config_.rope_dim / 2) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor rope_freqs.weight has ", tensor->elements(), " elements of type ",
                       ToString(tensor->type), "; expected ", config_.rope_dim / 2, " of f32"));
    }
    factors.resize(tensor->elements());
    std::copy_n(tensor->data.data(), tensor->data.size(),
                reinterpret_cast<uint8_t*>(factors.data()));
    for (float factor : factors) {
      if (!(factor > 0)) {
        return absl::DataLossError(absl::StrCat("rope_freqs.weight holds ", factor));
      }
    }
  }
  const std::vector<float> rates =
      RopeRates(config_.rope_dim, config_.rope_freq_base, 1.0 / config_.rope_scale, factors);
  const uint64_t bytes = rates.size() * sizeof(float);
  PTXSMITH_ASSIGN_OR_RETURN(rope_rates_, device.Allocate(bytes, "rope_rates"));
  PTXSMITH_RETURN_IF_ERROR(stream_.CopyToDevice(rope_rates_, rates.data(), bytes));
  return stream_.Synchronize();
}

absl::StatusOr<Transformer::Layer> Transformer::BindLayer(ModuleCache& cache, uint32_t index) {
  const LayerWeights& w = weights_.layers()[index];
  const uint32_t width = config_.embedding_length;
  const uint32_t dim = config_.head_dim;
  const uint32_t heads = config_.head_count;
  const uint32_t kv_heads = config_.head_count_kv;
  const BufferView cache_view(kv_cache_);
  const BufferView keys = cache_view.Slice(2 * index * kv_bytes_, kv_bytes_);
  const BufferView values = cache_view.Slice((2 * index + 1) * kv_bytes_, kv_bytes_);
  const RmsNormSpec norm{width, 1, config_.rms_eps};
  const ResidualAddSpec add{width};
  const auto rope = [&](uint32_t count) {
    return RopeSpec{config_.rope_pairing, count, dim, config_.rope_dim};
  };
  // Positions are divided among enough warps to hide the latency of the cache, few enough to join.
  const AttentionSpec attend{heads, kv_heads, dim, context_, 4};

  Layer layer;
#define PTXSMITH_BIND_(launch, ...) PTXSMITH_ASSIGN_OR_RETURN(layer.launch, __VA_ARGS__)
  PTXSMITH_BIND_(attn_norm, Bound(cache, BuildRmsNorm, norm, {work_.h, work_.x, w.attn_norm.data}));
  PTXSMITH_BIND_(q, BoundGemv(cache, w.q, work_.q, work_.h));
  PTXSMITH_BIND_(k, BoundGemv(cache, w.k, work_.k, work_.h));
  PTXSMITH_BIND_(v, BoundGemv(cache, w.v, work_.v, work_.h));
  PTXSMITH_BIND_(rope_q,
                 Bound(cache, BuildRope, rope(heads), {work_.q, work_.position(), rope_rates_}));
  PTXSMITH_BIND_(rope_k,
                 Bound(cache, BuildRope, rope(kv_heads), {work_.k, work_.position(), rope_rates_}));
  PTXSMITH_BIND_(kv_append, Bound(cache, BuildKvAppend, KvAppendSpec{kv_heads, dim, context_},
                                  {keys, values, work_.k, work_.v, work_.position()}));
  PTXSMITH_BIND_(attention, Bound(cache, BuildAttention, attend,
                                  {work_.o, work_.q, keys, values, work_.position()}));
  PTXSMITH_BIND_(attn_output, BoundGemv(cache, w.attn_output, work_.h, work_.o));
  PTXSMITH_BIND_(attn_residual, Bound(cache, BuildResidualAdd, add, {work_.x, work_.h}));
  PTXSMITH_BIND_(ffn_norm, Bound(cache, BuildRmsNorm, norm, {work_.h, work_.x, w.ffn_norm.data}));
  PTXSMITH_BIND_(gate, BoundGemv(cache, w.gate, work_.gate, work_.h));
  PTXSMITH_BIND_(up, BoundGemv(cache, w.up, work_.up, work_.h));
  PTXSMITH_BIND_(swiglu, Bound(cache, BuildSwiglu, SwigluSpec{config_.feed_forward_length},
                               {work_.g, work_.gate, work_.up}));
  PTXSMITH_BIND_(down, BoundGemv(cache, w.down, work_.h, work_.g));
  PTXSMITH_BIND_(ffn_residual, Bound(cache, BuildResidualAdd, add, {work_.x, work_.h}));
#undef PTXSMITH_BIND_
  return layer;
}

absl::Status Transformer::BindAll(ModuleCache& cache) {
  const Matrix& table = weights_.token_embedding();
  PTXSMITH_ASSIGN_OR_RETURN(embed_,
                            Bound(cache, BuildEmbedRow, EmbedRowSpec{table.type, table.k, table.n},
                                  {work_.x, table.data, work_.token()}));
  for (uint32_t i = 0; i < config_.block_count; ++i) {
    PTXSMITH_ASSIGN_OR_RETURN(Layer layer, BindLayer(cache, i));
    layers_.push_back(std::move(layer));
  }
  const RmsNormSpec norm{config_.embedding_length, 1, config_.rms_eps};
  PTXSMITH_ASSIGN_OR_RETURN(output_norm_, Bound(cache, BuildRmsNorm, norm,
                                                {work_.h, work_.x, weights_.output_norm().data}));
  PTXSMITH_ASSIGN_OR_RETURN(output_, BoundGemv(cache, weights_.output(), work_.logits, work_.h));
  PTXSMITH_ASSIGN_OR_RETURN(argmax_, Bound(cache, BuildArgmax, ArgmaxSpec{config_.vocab_size},
                                           {work_.greedy, work_.logits}));
  return absl::OkStatus();
}

absl::Status Transformer::Layer::Forward(const Stream& stream) const {
  for (const BoundLaunch* launch :
       {&attn_norm, &q, &k, &v, &rope_q, &rope_k, &kv_append, &attention, &attn_output,
        &attn_residual, &ffn_norm, &gate, &up, &swiglu, &down, &ffn_residual}) {
    PTXSMITH_RETURN_IF_ERROR(Enqueue(*launch, stream));
  }
  return absl::OkStatus();
}

absl::Status Transformer::Step(TokenId token, bool want_logits) {
  if (length_ >= context_) {
    return absl::OutOfRangeError(
        absl::StrCat("the context of ", context_, " positions is full; ask for a larger one"));
  }
  if (token >= config_.vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("token ", token, " is beyond the vocabulary of ", config_.vocab_size));
  }
  // After a Reset, copies out of these places may still be under way.
  if (length_ == 0) PTXSMITH_RETURN_IF_ERROR(stream_.Synchronize());
  StepInputs& inputs = step_inputs_[length_];
  inputs = {token, length_};
  PTXSMITH_RETURN_IF_ERROR(stream_.CopyToDevice(work_.inputs, &inputs, sizeof(inputs)));
  PTXSMITH_RETURN_IF_ERROR(Enqueue(embed_, stream_));
  for (const Layer& layer : layers_) PTXSMITH_RETURN_IF_ERROR(layer.Forward(stream_));
  if (want_logits) {
    PTXSMITH_RETURN_IF_ERROR(Enqueue(output_norm_, stream_));
    PTXSMITH_RETURN_IF_ERROR(Enqueue(output_, stream_));
  }
  has_logits_ = want_logits;
  ++length_;
  return absl::OkStatus();
}

absl::StatusOr<absl::Span<const float>> Transformer::Logits() {
  if (!has_logits_) return absl::FailedPreconditionError("the last step was run without logits");
  PTXSMITH_RETURN_IF_ERROR(
      stream_.CopyToHost(logits_.data(), work_.logits, logits_.size() * sizeof(float)));
  PTXSMITH_RETURN_IF_ERROR(stream_.Synchronize());
  return absl::MakeConstSpan(logits_);
}

absl::StatusOr<TokenId> Transformer::Greedy() {
  if (!has_logits_) return absl::FailedPreconditionError("the last step was run without logits");
  uint32_t index = 0;
  PTXSMITH_RETURN_IF_ERROR(Enqueue(argmax_, stream_));
  PTXSMITH_RETURN_IF_ERROR(stream_.CopyToHost(&index, work_.greedy, sizeof(index)));
  PTXSMITH_RETURN_IF_ERROR(stream_.Synchronize());
  return static_cast<TokenId>(index);
}

}  // namespace ptxsmith

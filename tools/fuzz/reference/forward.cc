#include "tools/fuzz/reference/forward.h"

#include <algorithm>
#include <cmath>

#include "tools/fuzz/reference/elementwise.h"
#include "tools/fuzz/reference/float_formats.h"
#include "tools/fuzz/reference/norms.h"
#include "tools/fuzz/reference/tiles.h"

namespace ptxsmith::reference {
namespace {

using Floats = std::vector<float>;

Floats ToF32(const Expected& result) { return {result.value.begin(), result.value.end()}; }

Floats Sum(const Floats& a, const Floats& b) { return ToF32(Add(a, b)); }

void Append(const Floats& x, Floats& cache) {
  for (const uint16_t half : AppendF16(x)) cache.push_back(HalfToFloat(half));
}

}  // namespace

Floats Forward::Normalised(const Floats& x, const Norm& norm) const {
  return ToF32(model_.layer_norm ? LayerNorm(x, norm.weight, norm.bias, model_.eps)
                                 : RmsNorm(x, norm.weight, model_.eps));
}

// What a matrix reads: normalised, and as the model's kernels pass it on.
Floats Forward::Input(const Floats& x, const Norm& norm) const {
  if (!model_.tiled) return Normalised(x, norm);
  // Scaled after the product, so that nobody waits for the sum of squares.
  Floats scaled(x.size());
  double squares = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    scaled[i] = x[i] * norm.weight[i];
    squares += double{x[i]} * x[i];
  }
  const double root = std::sqrt(squares / static_cast<double>(x.size()) + model_.eps);
  scaled = Exchanged(scaled);
  for (float& value : scaled) value = static_cast<float>(value / root);
  return scaled;
}

Floats Forward::PassedOn(const Floats& x) const { return model_.tiled ? Exchanged(x) : x; }

Floats Forward::Projected(const Floats& x, const Linear& linear) const {
  const Floats y = ToF32(Gemv(linear.weight, x));
  return linear.bias.empty() ? y : Sum(y, linear.bias);
}

// Queries or keys: each head normalised where the model does that, and rotated.
Floats Forward::Heads(const Floats& h, const Linear& linear, const Norm& norm) const {
  const size_t head_dim = model_.attention.head_dim;
  Floats x = Projected(h, linear);
  for (size_t begin = 0; begin < x.size() && !norm.weight.empty(); begin += head_dim) {
    const Floats head = Normalised({x.begin() + begin, x.begin() + begin + head_dim}, norm);
    std::copy(head.begin(), head.end(), x.begin() + begin);
  }
  return ToF32(Rope(x, head_dim, position_,
                    {model_.rope_pairs, model_.rope_base, model_.rope_dims, model_.rope_factors}));
}

Floats Forward::Attend(const Model::Layer& layer, const Floats& h, Cache& cache) {
  const Floats q = Heads(h, layer.q, layer.q_norm);
  Append(Heads(h, layer.k, layer.k_norm), cache.k);
  Append(Projected(h, layer.v), cache.v);
  const size_t row = model_.attention.kv_heads * model_.attention.head_dim;
  const size_t length = position_ + 1;
  const size_t seen = layer.window == 0 ? length : std::min(layer.window, length);
  const auto last = [&](const Floats& rows) { return absl::MakeConstSpan(rows).last(seen * row); };
  return Projected(PassedOn(ToF32(Attention(q, last(cache.k), last(cache.v), model_.attention))),
                   layer.attn_output);
}

Floats Forward::FeedForward(const Model::Layer& layer, const Floats& h) const {
  Floats g = Projected(h, layer.up);
  switch (model_.feed_forward) {
    case Model::FeedForward::kSwiGlu:
      g = ToF32(SwiGlu(Projected(h, layer.gate), g));
      break;
    case Model::FeedForward::kGeGlu:
      g = ToF32(GeGlu(Projected(h, layer.gate), g));
      break;
    case Model::FeedForward::kGelu:
      g = ToF32(GeluTanh(g));
      break;
  }
  return Projected(PassedOn(g), layer.down);
}

std::vector<double> Forward::Step(uint32_t token) {
  const size_t width = model_.output_norm.weight.size();
  Floats x =
      ToF32(Embedding(absl::MakeConstSpan(model_.token_embedding).subspan(token * width, width)));
  if (model_.embedding_scale != 1) {
    for (float& v : x) v = static_cast<float>(v * model_.embedding_scale);
  }
  const auto post = [&](const Floats& y, const Norm& norm) {
    return norm.weight.empty() ? y : Normalised(y, norm);
  };
  for (size_t i = 0; i < model_.layers.size(); ++i) {
    const Model::Layer& layer = model_.layers[i];
    Floats h = Input(x, layer.attn_norm);
    x = Sum(x, post(Attend(layer, h, caches_[i]), layer.attn_post_norm));
    if (!layer.ffn_norm.weight.empty()) h = Input(x, layer.ffn_norm);
    x = Sum(x, post(FeedForward(layer, h), layer.ffn_post_norm));
  }
  ++position_;
  std::vector<double> logits = Gemv(model_.output.weight, Input(x, model_.output_norm)).value;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!model_.output.bias.empty()) logits[i] += model_.output.bias[i];
    if (model_.logit_softcap != 0) {
      logits[i] = model_.logit_softcap * std::tanh(logits[i] / model_.logit_softcap);
    }
  }
  return logits;
}

}  // namespace ptxsmith::reference

#include "tools/fuzz/reference/forward.h"

#include "tools/fuzz/reference/float_formats.h"

namespace ptxsmith::reference {
namespace {

std::vector<float> ToF32(const Expected& result) {
  return {result.value.begin(), result.value.end()};
}

void Append(const std::vector<float>& x, std::vector<float>& cache) {
  for (const uint16_t half : AppendF16(x)) cache.push_back(HalfToFloat(half));
}

}  // namespace

std::vector<float> Forward::Attend(const Model::Layer& layer, const std::vector<float>& h,
                                   Cache& cache) {
  const size_t head_dim = model_.attention.head_dim;
  const RopeSpec rope{model_.rope_pairs, model_.rope_base, model_.rope_dims, model_.rope_factors};
  const auto project = [&](const Weights& w, const std::vector<float>& bias) {
    const std::vector<float> y = ToF32(Gemv(w, h));
    return bias.empty() ? y : ToF32(Add(y, bias));
  };
  const auto rotated = [&](const Weights& w, const std::vector<float>& bias) {
    return ToF32(Rope(project(w, bias), head_dim, position_, rope));
  };
  const std::vector<float> q = rotated(layer.q, layer.q_bias);
  Append(rotated(layer.k, layer.k_bias), cache.k);
  Append(project(layer.v, layer.v_bias), cache.v);
  return ToF32(Gemv(layer.attn_output, ToF32(Attention(q, cache.k, cache.v, model_.attention))));
}

std::vector<double> Forward::Step(uint32_t token) {
  const size_t width = model_.output_norm.size();
  const auto norm = [&](const std::vector<float>& x, const std::vector<float>& w) {
    return ToF32(RmsNorm(x, w, model_.eps));
  };
  std::vector<float> x =
      ToF32(Embedding(absl::MakeConstSpan(model_.token_embedding).subspan(token * width, width)));
  for (size_t i = 0; i < model_.layers.size(); ++i) {
    const Model::Layer& layer = model_.layers[i];
    x = ToF32(Add(x, Attend(layer, norm(x, layer.attn_norm), caches_[i])));
    const std::vector<float> h = norm(x, layer.ffn_norm);
    const std::vector<float> g =
        ToF32(SwiGlu(ToF32(Gemv(layer.gate, h)), ToF32(Gemv(layer.up, h))));
    x = ToF32(Add(x, ToF32(Gemv(layer.down, g))));
  }
  ++position_;
  return Gemv(model_.output, norm(x, model_.output_norm)).value;
}

}  // namespace ptxsmith::reference

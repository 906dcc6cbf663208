#include "tests/model/models.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/rope_scaling.h"
#include "tests/util/files.h"
#include "tools/fuzz/reference/decode.h"
#include "tools/fuzz/rng.h"

namespace ptxsmith {
namespace {

namespace fs = std::filesystem;

// Loads tensors by name; every absence is an error.
class Loader {
 public:
  explicit Loader(const GgufFile& file) : file_(file) {}

  absl::StatusOr<reference::Weights> Matrix(absl::string_view name) const {
    const GgufTensor* tensor = file_.FindTensor(name);
    if (tensor == nullptr) return absl::NotFoundError(name);
    return reference::Decode(tensor->type, tensor->data);
  }

  absl::StatusOr<std::vector<float>> Vector(absl::string_view name) const {
    PTXSMITH_ASSIGN_OR_RETURN(const reference::Weights weights, Matrix(name));
    std::vector<float> values;
    for (const reference::Weight& w : weights) values.push_back(w.value);
    return values;
  }

  // Empty when absent.
  absl::StatusOr<std::vector<float>> Optional(absl::string_view name) const {
    if (file_.FindTensor(name) == nullptr) return std::vector<float>();
    return Vector(name);
  }

  absl::StatusOr<reference::Norm> Norm(absl::string_view name) const {
    reference::Norm norm;
    PTXSMITH_ASSIGN_OR_RETURN(norm.weight, Vector(absl::StrCat(name, ".weight")));
    PTXSMITH_ASSIGN_OR_RETURN(norm.bias, Optional(absl::StrCat(name, ".bias")));
    return norm;
  }

  absl::StatusOr<reference::Linear> Linear(absl::string_view name) const {
    reference::Linear linear;
    PTXSMITH_ASSIGN_OR_RETURN(linear.weight, Matrix(absl::StrCat(name, ".weight")));
    PTXSMITH_ASSIGN_OR_RETURN(linear.bias, Optional(absl::StrCat(name, ".bias")));
    return linear;
  }

 private:
  const GgufFile& file_;
};

}  // namespace

std::optional<std::string> SamplePath(absl::string_view type) {
  const std::string name = absl::StrCat("sample-", type, ".gguf");
  if (fs::exists(TestPath("data/" + name))) return TestPath("data/" + name);
  const char* folder = std::getenv(kModelsVariable);
  if (folder == nullptr) return std::nullopt;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (absl::AsciiStrToLower(entry.path().filename().string()) == name) {
      return entry.path().string();
    }
  }
  return std::nullopt;
}

GgufWriter Write(const RandomModel& m) {
  GgufWriter w = TinyModel().Retarget(m.architecture);
  w.tensors.clear();
  w.data_bytes = 0;
  const bool phi2 = m.architecture == "phi2";
  const bool gemma2 = m.architecture == "gemma2";
  const bool qwen3 = m.architecture == "qwen3";
  const bool qkv_bias = m.architecture == "qwen2" || phi2;
  const auto set = [&](const char* name, const std::string& value) {
    w.Set(absl::StrCat(m.architecture, ".", name), value);
  };
  set("block_count", U32(m.blocks));
  set("context_length", U32(m.context));
  set("embedding_length", U32(m.width));
  set("feed_forward_length", U32(m.hidden));
  set("attention.head_count", U32(m.heads));
  set("attention.head_count_kv", U32(m.kv_heads));
  set("attention.key_length", U32(m.head_dim));
  set("attention.value_length", U32(m.head_dim));
  set("rope.dimension_count", U32(m.rope_dim));
  if (phi2) set("attention.layer_norm_epsilon", F32(1e-5f));
  if (m.yarn) {
    set("rope.scaling.type", Str("yarn"));
    set("rope.scaling.factor", F32(4));
    set("rope.scaling.original_context_length", U32(m.context / 4));
  }
  if (m.longrope) {
    set("rope.scaling.type", Str("longrope"));
    set("rope.scaling.attn_factor", F32(1.25f));
    set("rope.scaling.original_context_length", U32(8));
  }
  if (m.window != 0) set("attention.sliding_window", U32(m.window));
  if (m.attention_softcap != 0) set("attn_logit_softcapping", F32(m.attention_softcap));
  if (m.logit_softcap != 0) set("final_logit_softcapping", F32(m.logit_softcap));

  Rng rng(m.seed);
  const auto matrix = [&](const std::string& name, QuantType type, uint32_t k, uint32_t n) {
    const QuantTypeInfo& info = Info(type);
    const std::vector<uint8_t> blocks = rng.Blocks(type, size_t{k} / info.block_weights * n);
    w.AddTensor(name, {k, n}, static_cast<uint32_t>(type), {blocks.begin(), blocks.end()});
  };
  const auto floats = [&](const std::string& name, uint32_t k, double offset) {
    std::string bytes;
    for (uint32_t i = 0; i < k; ++i) bytes += Raw(static_cast<float>(offset + rng.Uniform()));
    w.AddTensor(name, {k}, static_cast<uint32_t>(QuantType::kF32), bytes);
  };
  // Around one, as norms are, and positive, as factors of frequencies must be; around zero.
  const auto vector = [&](const std::string& name, uint32_t k) { floats(name, k, 0.5); };
  const auto bias = [&](const std::string& name, uint32_t k) { floats(name, k, -0.5); };
  const auto norm = [&](const std::string& name, uint32_t k) {
    vector(name + ".weight", k);
    if (phi2) bias(name + ".bias", k);
  };
  const auto linear = [&](const std::string& name, uint32_t k, uint32_t n, bool with_bias) {
    matrix(name + ".weight", m.type, k, n);
    if (with_bias) bias(name + ".bias", n);
  };

  matrix("token_embd.weight", m.embedding, m.width, kTinyVocab);
  norm("output_norm", m.width);
  if (!m.tied) matrix("output.weight", m.type, m.width, kTinyVocab);
  if (phi2) bias("output.bias", kTinyVocab);
  if (m.rope_factors) vector("rope_freqs.weight", m.rope_dim / 2);
  if (m.longrope) {
    vector("rope_factors_short.weight", m.rope_dim / 2);
    vector("rope_factors_long.weight", m.rope_dim / 2);
  }
  const uint32_t q_width = m.heads * m.head_dim;
  const uint32_t kv_width = m.kv_heads * m.head_dim;
  for (uint32_t i = 0; i < m.blocks; ++i) {
    const std::string block = absl::StrCat("blk.", i, ".");
    norm(block + "attn_norm", m.width);
    if (m.fused_qkv) {
      linear(block + "attn_qkv", m.width, q_width + 2 * kv_width, qkv_bias);
    } else {
      linear(block + "attn_q", m.width, q_width, qkv_bias);
      linear(block + "attn_k", m.width, kv_width, qkv_bias);
      linear(block + "attn_v", m.width, kv_width, qkv_bias);
    }
    if (qwen3) {
      vector(block + "attn_q_norm.weight", m.head_dim);
      vector(block + "attn_k_norm.weight", m.head_dim);
    }
    linear(block + "attn_output", q_width, m.width, phi2);
    if (!phi2) norm(block + "ffn_norm", m.width);
    if (!phi2) linear(block + "ffn_gate", m.width, m.hidden, false);
    linear(block + "ffn_up", m.width, m.hidden, phi2);
    linear(block + "ffn_down", m.hidden, m.width, phi2);
    if (gemma2) {
      vector(block + "post_attention_norm.weight", m.width);
      vector(block + "post_ffw_norm.weight", m.width);
    }
  }
  return w;
}

absl::StatusOr<reference::Model> ReferenceModel(const GgufFile& file) {
  PTXSMITH_ASSIGN_OR_RETURN(const absl::string_view architecture,
                            file.GetString("general.architecture"));
  const bool phi2 = architecture == "phi2";
  const bool gemma2 = architecture == "gemma2";
  const Loader load(file);
  const auto key = [&](absl::string_view name) { return absl::StrCat(architecture, ".", name); };
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t width, file.GetU32(key("embedding_length")));
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t blocks, file.GetU32(key("block_count")));
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t heads, file.GetU32(key("attention.head_count")));
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t kv_heads,
                            OrDefault(file.GetU32(key("attention.head_count_kv")), heads));
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t head_dim,
                            OrDefault(file.GetU32(key("attention.key_length")), width / heads));
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t rope_dim,
                            OrDefault(file.GetU32(key("rope.dimension_count")), head_dim));
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t context, file.GetU32(key("context_length")));
  PTXSMITH_ASSIGN_OR_RETURN(const float rope_base,
                            OrDefault(file.GetF32(key("rope.freq_base")), 1e4f));
  PTXSMITH_ASSIGN_OR_RETURN(
      const float eps,
      file.GetF32(key(phi2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon")));
  PTXSMITH_ASSIGN_OR_RETURN(
      const float softcap,
      OrDefault(file.GetF32(key("attn_logit_softcapping")), gemma2 ? 50.0f : 0.0f));
  PTXSMITH_ASSIGN_OR_RETURN(
      const float logit_softcap,
      OrDefault(file.GetF32(key("final_logit_softcapping")), gemma2 ? 30.0f : 0.0f));
  PTXSMITH_ASSIGN_OR_RETURN(
      const uint32_t window,
      OrDefault(file.GetU32(key("attention.sliding_window")), gemma2 ? 4096u : 0u));

  reference::Model model;
  model.layer_norm = phi2;
  if (phi2) model.feed_forward = reference::Model::FeedForward::kGelu;
  if (gemma2) model.feed_forward = reference::Model::FeedForward::kGeGlu;
  if (gemma2) model.embedding_scale = std::sqrt(static_cast<double>(width));
  model.logit_softcap = logit_softcap;
  model.attention = {heads, kv_heads, head_dim, 1 / std::sqrt(static_cast<double>(head_dim)),
                     softcap};
  model.rope_pairs =
      architecture == "llama" ? reference::RopePairs::kAdjacent : reference::RopePairs::kHalfSplit;
  model.rope_base = rope_base;
  model.rope_dims = rope_dim;
  model.eps = eps;
  PTXSMITH_ASSIGN_OR_RETURN(
      const RopeScaling scaling,
      ReadRopeScaling(file, key(""),
                      {rope_dim, rope_base, context, context}));  // see rope_scaling_test.cc
  model.rope_factors = scaling.divisors;
  model.attention.scale *= scaling.magnitude * scaling.magnitude;
  PTXSMITH_ASSIGN_OR_RETURN(model.token_embedding, load.Matrix("token_embd.weight"));
  PTXSMITH_ASSIGN_OR_RETURN(model.output_norm, load.Norm("output_norm"));
  const bool tied = file.FindTensor("output.weight") == nullptr;
  PTXSMITH_ASSIGN_OR_RETURN(model.output.weight,
                            load.Matrix(tied ? "token_embd.weight" : "output.weight"));
  PTXSMITH_ASSIGN_OR_RETURN(model.output.bias, load.Optional("output.bias"));
  for (uint32_t i = 0; i < blocks; ++i) {
    const auto name = [&](absl::string_view part) { return absl::StrCat("blk.", i, ".", part); };
    reference::Model::Layer layer;
    PTXSMITH_ASSIGN_OR_RETURN(layer.attn_norm, load.Norm(name("attn_norm")));
    if (file.FindTensor(name("attn_qkv.weight")) != nullptr) {
      const size_t rows[] = {heads * head_dim, kv_heads * head_dim, kv_heads * head_dim};
      PTXSMITH_ASSIGN_OR_RETURN(const reference::Linear all, load.Linear(name("attn_qkv")));
      size_t row = 0;
      for (const auto& [part, count] : {std::pair(&layer.q, rows[0]), std::pair(&layer.k, rows[1]),
                                        std::pair(&layer.v, rows[2])}) {
        const auto w = all.weight.begin() + row * width;
        part->weight.assign(w, w + count * width);
        if (!all.bias.empty()) {
          part->bias.assign(all.bias.begin() + row, all.bias.begin() + row + count);
        }
        row += count;
      }
    } else {
      PTXSMITH_ASSIGN_OR_RETURN(layer.q, load.Linear(name("attn_q")));
      PTXSMITH_ASSIGN_OR_RETURN(layer.k, load.Linear(name("attn_k")));
      PTXSMITH_ASSIGN_OR_RETURN(layer.v, load.Linear(name("attn_v")));
    }
    PTXSMITH_ASSIGN_OR_RETURN(layer.attn_output, load.Linear(name("attn_output")));
    if (architecture == "qwen3") {
      PTXSMITH_ASSIGN_OR_RETURN(layer.q_norm, load.Norm(name("attn_q_norm")));
      PTXSMITH_ASSIGN_OR_RETURN(layer.k_norm, load.Norm(name("attn_k_norm")));
    }
    if (!phi2) {
      PTXSMITH_ASSIGN_OR_RETURN(layer.ffn_norm, load.Norm(name("ffn_norm")));
      PTXSMITH_ASSIGN_OR_RETURN(layer.gate, load.Linear(name("ffn_gate")));
    }
    PTXSMITH_ASSIGN_OR_RETURN(layer.up, load.Linear(name("ffn_up")));
    PTXSMITH_ASSIGN_OR_RETURN(layer.down, load.Linear(name("ffn_down")));
    if (gemma2) {
      PTXSMITH_ASSIGN_OR_RETURN(layer.attn_post_norm, load.Norm(name("post_attention_norm")));
      PTXSMITH_ASSIGN_OR_RETURN(layer.ffn_post_norm, load.Norm(name("post_ffw_norm")));
    }
    layer.window = gemma2 && i % 2 == 1 ? 0 : window;
    model.layers.push_back(std::move(layer));
  }
  return model;
}

}  // namespace ptxsmith

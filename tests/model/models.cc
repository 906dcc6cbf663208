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
#include "model/config.h"
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
  GgufWriter w = TinyModel();
  w.tensors.clear();
  w.data_bytes = 0;
  w.Set("llama.block_count", U32(m.blocks))
      .Set("llama.context_length", U32(m.context))
      .Set("llama.embedding_length", U32(m.width))
      .Set("llama.feed_forward_length", U32(m.hidden))
      .Set("llama.attention.head_count", U32(m.heads))
      .Set("llama.attention.head_count_kv", U32(m.kv_heads))
      .Set("llama.attention.key_length", U32(m.head_dim))
      .Set("llama.attention.value_length", U32(m.head_dim))
      .Set("llama.rope.dimension_count", U32(m.rope_dim));
  Rng rng(m.seed);
  const auto matrix = [&](const std::string& name, QuantType type, uint32_t k, uint32_t n) {
    const QuantTypeInfo& info = Info(type);
    const std::vector<uint8_t> blocks = rng.Blocks(type, size_t{k} / info.block_weights * n);
    w.AddTensor(name, {k, n}, static_cast<uint32_t>(type), {blocks.begin(), blocks.end()});
  };
  // Around one, as norms are, and positive, as factors of frequencies must be.
  const auto vector = [&](const std::string& name, uint32_t k) {
    std::string bytes;
    for (uint32_t i = 0; i < k; ++i) bytes += Raw(static_cast<float>(0.5 + rng.Uniform()));
    w.AddTensor(name, {k}, static_cast<uint32_t>(QuantType::kF32), bytes);
  };
  matrix("token_embd.weight", m.embedding, m.width, kTinyVocab);
  vector("output_norm.weight", m.width);
  if (!m.tied) matrix("output.weight", m.type, m.width, kTinyVocab);
  if (m.rope_factors) vector("rope_freqs.weight", m.rope_dim / 2);
  for (uint32_t i = 0; i < m.blocks; ++i) {
    const std::string block = absl::StrCat("blk.", i, ".");
    vector(block + "attn_norm.weight", m.width);
    matrix(block + "attn_q.weight", m.type, m.width, m.heads * m.head_dim);
    matrix(block + "attn_k.weight", m.type, m.width, m.kv_heads * m.head_dim);
    matrix(block + "attn_v.weight", m.type, m.width, m.kv_heads * m.head_dim);
    matrix(block + "attn_output.weight", m.type, m.heads * m.head_dim, m.width);
    vector(block + "ffn_norm.weight", m.width);
    matrix(block + "ffn_gate.weight", m.type, m.width, m.hidden);
    matrix(block + "ffn_up.weight", m.type, m.width, m.hidden);
    matrix(block + "ffn_down.weight", m.type, m.hidden, m.width);
  }
  return w;
}

absl::StatusOr<reference::Model> ReferenceModel(const GgufFile& file) {
  PTXSMITH_ASSIGN_OR_RETURN(const ModelConfig config, ModelConfig::FromGguf(file));
  const Loader load(file);
  reference::Model model;
  model.attention = {config.head_count, config.head_count_kv, config.head_dim,
                     1 / std::sqrt(static_cast<double>(config.head_dim))};
  model.rope_base = config.rope_freq_base;
  model.rope_dims = config.rope_dim;
  model.eps = config.rms_eps;
  if (file.FindTensor("rope_freqs.weight") != nullptr) {
    PTXSMITH_ASSIGN_OR_RETURN(model.rope_factors, load.Vector("rope_freqs.weight"));
  }
  PTXSMITH_ASSIGN_OR_RETURN(model.token_embedding, load.Matrix("token_embd.weight"));
  PTXSMITH_ASSIGN_OR_RETURN(model.output_norm, load.Vector("output_norm.weight"));
  const bool tied = file.FindTensor("output.weight") == nullptr;
  PTXSMITH_ASSIGN_OR_RETURN(model.output,
                            load.Matrix(tied ? "token_embd.weight" : "output.weight"));
  for (uint32_t i = 0; i < config.block_count; ++i) {
    const auto name = [&](absl::string_view part) {
      return absl::StrCat("blk.", i, ".", part, ".weight");
    };
    reference::Model::Layer layer;
    PTXSMITH_ASSIGN_OR_RETURN(layer.attn_norm, load.Vector(name("attn_norm")));
    PTXSMITH_ASSIGN_OR_RETURN(layer.q, load.Matrix(name("attn_q")));
    PTXSMITH_ASSIGN_OR_RETURN(layer.k, load.Matrix(name("attn_k")));
    PTXSMITH_ASSIGN_OR_RETURN(layer.v, load.Matrix(name("attn_v")));
    PTXSMITH_ASSIGN_OR_RETURN(layer.attn_output, load.Matrix(name("attn_output")));
    PTXSMITH_ASSIGN_OR_RETURN(layer.ffn_norm, load.Vector(name("ffn_norm")));
    PTXSMITH_ASSIGN_OR_RETURN(layer.gate, load.Matrix(name("ffn_gate")));
    PTXSMITH_ASSIGN_OR_RETURN(layer.up, load.Matrix(name("ffn_up")));
    PTXSMITH_ASSIGN_OR_RETURN(layer.down, load.Matrix(name("ffn_down")));
    model.layers.push_back(std::move(layer));
  }
  return model;
}

}  // namespace ptxsmith

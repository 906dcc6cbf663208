#include "model/weights.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/decoder.h"
#include "runtime/staged_upload.h"

namespace ptxsmith {
namespace {

constexpr uint64_t kAlignment = 256;   // of each tensor in the arena
constexpr uint64_t kChunk = 32 << 20;  // bytes per upload, so that progress moves

}  // namespace

// Consecutive rows of a tensor that make a matrix of their own.
struct Rows {
  uint32_t n;
  Matrix* matrix;
};

// Checks tensors one by one and remembers where each is to go.
class WeightPlan {
 public:
  explicit WeightPlan(const GgufFile& file) : file_(file) {}

  bool Has(absl::string_view name) const { return file_.FindTensor(name) != nullptr; }

  // A matrix that GEMV or the embedding reads.
  absl::Status Add(absl::string_view name, uint32_t k, uint32_t n, Matrix* matrix) {
    return AddParts(name, k, {{n, matrix}});
  }

  // Several of them in one tensor.
  absl::Status AddParts(absl::string_view name, uint32_t k, absl::Span<const Rows> parts) {
    PTXSMITH_ASSIGN_OR_RETURN(const GgufTensor* tensor, Find(name, k, parts));
    if (absl::Status status = CheckHasDecoder(tensor->type); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat("tensor ", name, ": ", status.message()));
    }
    if (absl::Status status = CheckK("row length", tensor->type, k); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat("tensor ", name, ": ", status.message()));
    }
    Place(*tensor, k, parts);
    return absl::OkStatus();
  }

  // A vector of f32, such as a norm's weight.
  absl::Status AddVector(absl::string_view name, uint32_t k, Matrix* matrix) {
    return AddVectorParts(name, {{k, matrix}});
  }

  // Several of them in one tensor; their `n` are elements.
  absl::Status AddVectorParts(absl::string_view name, absl::Span<const Rows> parts) {
    uint32_t k = 0;
    for (const Rows& part : parts) k += part.n;
    PTXSMITH_ASSIGN_OR_RETURN(const GgufTensor* tensor, Find(name, k, {{1, nullptr}}));
    if (tensor->type != QuantType::kF32) {
      return absl::UnimplementedError(
          absl::StrCat("tensor ", name, " is of type ", ToString(tensor->type), "; expected f32"));
    }
    // As rows of one element each, they are split like a matrix.
    Place(*tensor, 1, parts);
    for (const Rows& part : parts) {
      part.matrix->k = part.n;
      part.matrix->n = 1;
    }
    return absl::OkStatus();
  }

  // A tensor that somebody else reads.
  void Allow(absl::string_view name) { used_.insert(std::string(name)); }

  // Unimplemented names a tensor that nobody has asked for.
  absl::Status CheckAllUsed(absl::string_view architecture) const {
    for (const GgufTensor& tensor : file_.tensors()) {
      if (!used_.contains(tensor.name)) {
        return absl::UnimplementedError(absl::StrCat("tensor ", tensor.name,
                                                     " is no part of the architecture '",
                                                     architecture, "' as this version knows it"));
      }
    }
    return absl::OkStatus();
  }

  uint64_t total() const { return total_; }

  // Uploads everything and gives each matrix its address.
  absl::Status Upload(const Buffer& arena, Stream& stream, const Weights::Progress& progress) {
    for (const View& v : views_) v.matrix->data = BufferView(arena).Slice(v.offset, v.bytes);
    PTXSMITH_ASSIGN_OR_RETURN(
        StagedUpload upload,
        StagedUpload::Create(*stream.device(), stream, std::min(kChunk, arena.bytes())));
    uint64_t done = 0;
    for (const Placement& p : placements_) {
      const BufferView place = BufferView(arena).Slice(p.offset, p.data.size());
      for (uint64_t at = 0; at < p.data.size(); at += kChunk) {
        const uint64_t bytes = std::min<uint64_t>(kChunk, p.data.size() - at);
        PTXSMITH_RETURN_IF_ERROR(upload.Copy(place.Slice(at, bytes), p.data.data() + at, bytes));
        done += bytes;
        if (progress) progress(done, bytes_);
      }
    }
    return stream.Synchronize();
  }

 private:
  struct Placement {
    uint64_t offset;
    absl::Span<const uint8_t> data;
  };
  struct View {
    Matrix* matrix;
    uint64_t offset;
    uint64_t bytes;
  };

  absl::StatusOr<const GgufTensor*> Find(absl::string_view name, uint32_t k,
                                         absl::Span<const Rows> parts) {
    uint32_t n = 0;
    for (const Rows& part : parts) n += part.n;
    const GgufTensor* tensor = file_.FindTensor(name);
    if (tensor == nullptr) return absl::NotFoundError(absl::StrCat("tensor ", name, " is missing"));
    if (tensor->dims[0] != k || tensor->dims[1] != n || tensor->elements() != uint64_t{k} * n) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " has shape [",
                                                     tensor->dims[0], ", ", tensor->dims[1],
                                                     "]; the model needs [", k, ", ", n, "]"));
    }
    used_.insert(std::string(name));
    return tensor;
  }

  // `tensor` has the rows of `parts`, of `k` weights each.
  void Place(const GgufTensor& tensor, uint32_t k, absl::Span<const Rows> parts) {
    const uint64_t row_bytes =
        k / Info(tensor.type).block_weights * uint64_t{Info(tensor.type).block_bytes};
    uint64_t offset = total_;
    for (const Rows& part : parts) {
      *part.matrix = {tensor.type, k, part.n, {}};
      views_.push_back({part.matrix, offset, part.n * row_bytes});
      offset += part.n * row_bytes;
    }
    placements_.push_back({total_, tensor.data});
    bytes_ += tensor.data.size();
    total_ += (tensor.data.size() + kAlignment - 1) / kAlignment * kAlignment;
  }

  const GgufFile& file_;
  absl::flat_hash_set<std::string> used_;
  std::vector<Placement> placements_;
  std::vector<View> views_;
  uint64_t total_ = 0;
  uint64_t bytes_ = 0;
};

namespace {

// The tensors of one block, whose names start with `block`.
absl::Status PlanLayer(const ModelConfig& config, const std::string& block, WeightPlan& plan,
                       LayerWeights& layer) {
  const uint32_t width = config.embedding_length;
  const uint32_t hidden = config.feed_forward_length;
  const uint32_t q_width = config.head_count * config.head_dim;
  const uint32_t kv_width = config.head_count_kv * config.head_dim;
  const auto matrix = [&](absl::string_view name, uint32_t k, uint32_t n, Matrix* to) {
    return plan.Add(absl::StrCat(block, name, ".weight"), k, n, to);
  };
  const auto vector = [&](absl::string_view name, uint32_t k, Matrix* to) {
    return plan.AddVector(absl::StrCat(block, name), k, to);
  };
  const auto output_bias = [&](absl::string_view name, uint32_t k, Matrix* to) {
    return config.output_bias ? vector(absl::StrCat(name, ".bias"), k, to) : absl::OkStatus();
  };

  PTXSMITH_RETURN_IF_ERROR(vector("attn_norm.weight", width, &layer.attn_norm));
  if (config.norm == NormKind::kLayer) {
    PTXSMITH_RETURN_IF_ERROR(vector("attn_norm.bias", width, &layer.attn_norm_bias));
  }
  if (plan.Has(absl::StrCat(block, "attn_qkv.weight"))) {
    PTXSMITH_RETURN_IF_ERROR(
        plan.AddParts(absl::StrCat(block, "attn_qkv.weight"), width,
                      {{q_width, &layer.q}, {kv_width, &layer.k}, {kv_width, &layer.v}}));
    if (config.qkv_bias) {
      PTXSMITH_RETURN_IF_ERROR(plan.AddVectorParts(
          absl::StrCat(block, "attn_qkv.bias"),
          {{q_width, &layer.q_bias}, {kv_width, &layer.k_bias}, {kv_width, &layer.v_bias}}));
    }
  } else {
    PTXSMITH_RETURN_IF_ERROR(matrix("attn_q", width, q_width, &layer.q));
    PTXSMITH_RETURN_IF_ERROR(matrix("attn_k", width, kv_width, &layer.k));
    PTXSMITH_RETURN_IF_ERROR(matrix("attn_v", width, kv_width, &layer.v));
    if (config.qkv_bias) {
      PTXSMITH_RETURN_IF_ERROR(vector("attn_q.bias", q_width, &layer.q_bias));
      PTXSMITH_RETURN_IF_ERROR(vector("attn_k.bias", kv_width, &layer.k_bias));
      PTXSMITH_RETURN_IF_ERROR(vector("attn_v.bias", kv_width, &layer.v_bias));
    }
  }
  if (config.qk_norm) {
    PTXSMITH_RETURN_IF_ERROR(vector("attn_q_norm.weight", config.head_dim, &layer.q_norm));
    PTXSMITH_RETURN_IF_ERROR(vector("attn_k_norm.weight", config.head_dim, &layer.k_norm));
  }
  PTXSMITH_RETURN_IF_ERROR(matrix("attn_output", q_width, width, &layer.attn_output));
  PTXSMITH_RETURN_IF_ERROR(output_bias("attn_output", width, &layer.attn_output_bias));
  if (config.post_norms) {
    PTXSMITH_RETURN_IF_ERROR(vector("post_attention_norm.weight", width, &layer.attn_post_norm));
    PTXSMITH_RETURN_IF_ERROR(vector("post_ffw_norm.weight", width, &layer.ffn_post_norm));
  }
  if (!config.parallel_block) {
    PTXSMITH_RETURN_IF_ERROR(vector("ffn_norm.weight", width, &layer.ffn_norm));
  }
  if (config.feed_forward != FeedForward::kGelu) {
    PTXSMITH_RETURN_IF_ERROR(matrix("ffn_gate", width, hidden, &layer.gate));
  }
  PTXSMITH_RETURN_IF_ERROR(matrix("ffn_up", width, hidden, &layer.up));
  PTXSMITH_RETURN_IF_ERROR(output_bias("ffn_up", hidden, &layer.up_bias));
  PTXSMITH_RETURN_IF_ERROR(matrix("ffn_down", hidden, width, &layer.down));
  return output_bias("ffn_down", width, &layer.down_bias);
}

}  // namespace

absl::Status Weights::MakePlan(const ModelConfig& config, WeightPlan& plan) {
  const uint32_t width = config.embedding_length;
  PTXSMITH_RETURN_IF_ERROR(
      plan.Add("token_embd.weight", width, config.vocab_size, &token_embedding_));
  PTXSMITH_RETURN_IF_ERROR(plan.AddVector("output_norm.weight", width, &output_norm_));
  if (config.norm == NormKind::kLayer) {
    PTXSMITH_RETURN_IF_ERROR(plan.AddVector("output_norm.bias", width, &output_norm_bias_));
  }
  if (plan.Has("output.weight")) {
    PTXSMITH_RETURN_IF_ERROR(plan.Add("output.weight", width, config.vocab_size, &output_));
  }
  if (config.output_bias) {
    PTXSMITH_RETURN_IF_ERROR(plan.AddVector("output.bias", config.vocab_size, &output_bias_));
  }
  // Of positions: config.cc reads them.
  for (const char* factors :
       {"rope_freqs.weight", "rope_factors_short.weight", "rope_factors_long.weight"}) {
    plan.Allow(factors);
  }
  layers_.resize(config.block_count);
  for (uint32_t i = 0; i < config.block_count; ++i) {
    PTXSMITH_RETURN_IF_ERROR(PlanLayer(config, absl::StrCat("blk.", i, "."), plan, layers_[i]));
  }
  return plan.CheckAllUsed(config.architecture);
}

absl::Status Weights::Check(const GgufFile& file, const ModelConfig& config) {
  Weights weights;
  WeightPlan plan(file);
  return weights.MakePlan(config, plan);
}

absl::StatusOr<Weights> Weights::Load(const GgufFile& file, const ModelConfig& config,
                                      Device& device, Stream& stream, const Progress& progress) {
  Weights weights;
  WeightPlan plan(file);
  PTXSMITH_RETURN_IF_ERROR(weights.MakePlan(config, plan));
  PTXSMITH_ASSIGN_OR_RETURN(weights.arena_, device.Allocate(plan.total(), "weights"));
  PTXSMITH_RETURN_IF_ERROR(plan.Upload(weights.arena_, stream, progress));
  if (!weights.output_.exists()) weights.output_ = weights.token_embedding_;
  return weights;
}

}  // namespace ptxsmith

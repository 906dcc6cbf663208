#include "model/weights.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "ptx_templates/decoder.h"
#include "runtime/staged_upload.h"

namespace ptxsmith {
namespace {

constexpr uint64_t kAlignment = 256;   // of each tensor in the arena
constexpr uint64_t kChunk = 32 << 20;  // bytes per upload, so that progress moves

// Checks tensors one by one and remembers where each is to go.
class Plan {
 public:
  explicit Plan(const GgufFile& file) : file_(file) {}

  bool Has(absl::string_view name) const { return file_.FindTensor(name) != nullptr; }

  // A matrix that GEMV or the embedding reads.
  absl::Status Add(absl::string_view name, uint32_t k, uint32_t n, Matrix* matrix) {
    PTXSMITH_ASSIGN_OR_RETURN(const GgufTensor* tensor, Find(name, k, n));
    if (absl::Status status = CheckHasDecoder(tensor->type); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat("tensor ", name, ": ", status.message()));
    }
    if (absl::Status status = CheckK("row length", tensor->type, k); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat("tensor ", name, ": ", status.message()));
    }
    return Place(*tensor, k, n, matrix);
  }

  // A vector of f32, such as a norm's weight.
  absl::Status AddVector(absl::string_view name, uint32_t k, Matrix* matrix) {
    PTXSMITH_ASSIGN_OR_RETURN(const GgufTensor* tensor, Find(name, k, 1));
    if (tensor->type != QuantType::kF32) {
      return absl::UnimplementedError(
          absl::StrCat("tensor ", name, " is of type ", ToString(tensor->type), "; expected f32"));
    }
    return Place(*tensor, k, 1, matrix);
  }

  uint64_t total() const { return total_; }

  // Uploads everything and gives each matrix its address.
  absl::Status Upload(const Buffer& arena, Stream& stream, const Weights::Progress& progress) {
    PTXSMITH_ASSIGN_OR_RETURN(
        StagedUpload upload,
        StagedUpload::Create(*stream.device(), stream, std::min(kChunk, arena.bytes())));
    uint64_t done = 0;
    for (const Placement& p : placements_) {
      p.matrix->data = BufferView(arena).Slice(p.offset, p.data.size());
      for (uint64_t at = 0; at < p.data.size(); at += kChunk) {
        const uint64_t bytes = std::min<uint64_t>(kChunk, p.data.size() - at);
        PTXSMITH_RETURN_IF_ERROR(
            upload.Copy(p.matrix->data.Slice(at, bytes), p.data.data() + at, bytes));
        done += bytes;
        if (progress) progress(done, bytes_);
      }
    }
    return stream.Synchronize();
  }

 private:
  struct Placement {
    Matrix* matrix;
    uint64_t offset;
    absl::Span<const uint8_t> data;
  };

  absl::StatusOr<const GgufTensor*> Find(absl::string_view name, uint32_t k, uint32_t n) const {
    const GgufTensor* tensor = file_.FindTensor(name);
    if (tensor == nullptr) return absl::NotFoundError(absl::StrCat("tensor ", name, " is missing"));
    if (tensor->dims[0] != k || tensor->dims[1] != n || tensor->elements() != uint64_t{k} * n) {
      return absl::InvalidArgumentError(absl::StrCat("tensor ", name, " has shape [",
                                                     tensor->dims[0], ", ", tensor->dims[1],
                                                     "]; the model needs [", k, ", ", n, "]"));
    }
    return tensor;
  }

  absl::Status Place(const GgufTensor& tensor, uint32_t k, uint32_t n, Matrix* matrix) {
    *matrix = {tensor.type, k, n, {}};
    placements_.push_back({matrix, total_, tensor.data});
    bytes_ += tensor.data.size();
    total_ += (tensor.data.size() + kAlignment - 1) / kAlignment * kAlignment;
    return absl::OkStatus();
  }

  const GgufFile& file_;
  std::vector<Placement> placements_;
  uint64_t total_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace

absl::StatusOr<Weights> Weights::Load(const GgufFile& file, const ModelConfig& config,
                                      Device& device, Stream& stream, const Progress& progress) {
  Weights weights;
  Plan plan(file);
  const uint32_t width = config.embedding_length;
  const uint32_t hidden = config.feed_forward_length;
  const uint32_t q_width = config.head_count * config.head_dim;
  const uint32_t kv_width = config.head_count_kv * config.head_dim;

  PTXSMITH_RETURN_IF_ERROR(
      plan.Add("token_embd.weight", width, config.vocab_size, &weights.token_embedding_));
  PTXSMITH_RETURN_IF_ERROR(plan.AddVector("output_norm.weight", width, &weights.output_norm_));
  const bool tied = !plan.Has("output.weight");
  if (!tied) {
    PTXSMITH_RETURN_IF_ERROR(plan.Add("output.weight", width, config.vocab_size, &weights.output_));
  }
  weights.layers_.resize(config.block_count);
  for (uint32_t i = 0; i < config.block_count; ++i) {
    LayerWeights& layer = weights.layers_[i];
    const auto name = [&](absl::string_view part) {
      return absl::StrCat("blk.", i, ".", part, ".weight");
    };
    PTXSMITH_RETURN_IF_ERROR(plan.AddVector(name("attn_norm"), width, &layer.attn_norm));
    PTXSMITH_RETURN_IF_ERROR(plan.Add(name("attn_q"), width, q_width, &layer.q));
    PTXSMITH_RETURN_IF_ERROR(plan.Add(name("attn_k"), width, kv_width, &layer.k));
    PTXSMITH_RETURN_IF_ERROR(plan.Add(name("attn_v"), width, kv_width, &layer.v));
    PTXSMITH_RETURN_IF_ERROR(plan.Add(name("attn_output"), q_width, width, &layer.attn_output));
    PTXSMITH_RETURN_IF_ERROR(plan.AddVector(name("ffn_norm"), width, &layer.ffn_norm));
    PTXSMITH_RETURN_IF_ERROR(plan.Add(name("ffn_gate"), width, hidden, &layer.gate));
    PTXSMITH_RETURN_IF_ERROR(plan.Add(name("ffn_up"), width, hidden, &layer.up));
    PTXSMITH_RETURN_IF_ERROR(plan.Add(name("ffn_down"), hidden, width, &layer.down));
  }
  PTXSMITH_ASSIGN_OR_RETURN(weights.arena_, device.Allocate(plan.total(), "weights"));
  PTXSMITH_RETURN_IF_ERROR(plan.Upload(weights.arena_, stream, progress));
  if (tied) weights.output_ = weights.token_embedding_;
  return weights;
}

}  // namespace ptxsmith

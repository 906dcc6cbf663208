#include "model/config.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "codegen/status_macros.h"
#include "model/rope_scaling.h"

namespace ptxsmith {
namespace {

// Limits far above every model, low enough that products of two sizes cannot overflow 64 bits and a
// hostile count cannot ask for absurd work.
constexpr uint32_t kMaxBlocks = 1024;
constexpr uint32_t kMaxLength = 1u << 20;  // of embedding and feed-forward
constexpr uint32_t kMaxHeads = 4096;
constexpr uint32_t kMaxHeadDim = 1024;
constexpr uint32_t kMaxVocab = 1u << 24;
constexpr uint32_t kMaxContext = 0x7fffffff;

// What the name of an architecture says by itself, with the keys' defaults.
struct Architecture {
  absl::string_view name;
  RopePairing rope_pairing = RopePairing::kHalfSplit;
  NormKind norm = NormKind::kRms;
  FeedForward feed_forward = FeedForward::kSwiGlu;
  bool qkv_bias = false;
  bool output_bias = false;
  bool qk_norm = false;
  bool parallel_block = false;
  bool post_norms = false;
  bool scaled_embedding = false;  // by sqrt(embedding_length)
  float attention_softcap = 0;
  float logit_softcap = 0;
  uint32_t sliding_window = 0;
  uint32_t sliding_period = 1;
};

// Files of mistral models name llama.
constexpr Architecture kArchitectures[] = {
    {.name = "llama", .rope_pairing = RopePairing::kAdjacent},
    {.name = "qwen2", .qkv_bias = true},
    {.name = "qwen3", .qk_norm = true},
    {.name = "phi2",
     .norm = NormKind::kLayer,
     .feed_forward = FeedForward::kGelu,
     .qkv_bias = true,
     .output_bias = true,
     .parallel_block = true},
    {.name = "gemma2",
     .feed_forward = FeedForward::kGeGlu,
     .post_norms = true,
     .scaled_embedding = true,
     .attention_softcap = 50,
     .logit_softcap = 30,
     .sliding_window = 4096,
     .sliding_period = 2},
};

// Gemma 2 of 27 billion weights divides its scores by the root of the embedding's share per head,
// not of the head's own size; its files say so only by their number of blocks.
constexpr uint32_t kGemma27bBlocks = 46;

// Reads keys below "<architecture>.".
class Reader {
 public:
  Reader(const GgufFile& file, absl::string_view architecture)
      : file_(file), prefix_(absl::StrCat(architecture, ".")) {}

  std::string Key(absl::string_view name) const { return absl::StrCat(prefix_, name); }
  bool Has(absl::string_view name) const { return file_.FindEntry(Key(name)) != nullptr; }

  // 1 to `limit`.
  absl::StatusOr<uint32_t> Count(absl::string_view name, uint32_t limit) const {
    const std::string key = Key(name);
    PTXSMITH_ASSIGN_OR_RETURN(const uint32_t value, file_.GetU32(key));
    return InRange(key, value, limit);
  }

  absl::StatusOr<uint32_t> CountOr(absl::string_view name, uint32_t limit,
                                   uint32_t fallback) const {
    return Has(name) ? Count(name, limit) : fallback;
  }

  // A count that files may also give as an array of one value per block, here all equal.
  absl::StatusOr<uint32_t> PerBlock(absl::string_view name, uint32_t limit, uint32_t blocks) const {
    const std::string key = Key(name);
    const GgufEntry* entry = file_.FindEntry(key);
    if (entry == nullptr || !entry->is_array) return Count(name, limit);
    PTXSMITH_ASSIGN_OR_RETURN(const std::vector<int64_t> values, file_.GetInts(key));
    if (values.size() != blocks) {
      return absl::DataLossError(
          absl::StrCat(key, " has ", values.size(), " elements for ", blocks, " blocks"));
    }
    for (const int64_t value : values) {
      if (value != values[0]) {
        return absl::UnimplementedError(
            absl::StrCat(key, " differs between blocks: ", values[0], " and ", value));
      }
    }
    return InRange(key, values[0], limit);
  }

  // Finite and above zero.
  absl::StatusOr<float> Positive(absl::string_view name) const {
    const std::string key = Key(name);
    PTXSMITH_ASSIGN_OR_RETURN(const float value, file_.GetF32(key));
    if (!std::isfinite(value) || value <= 0) {
      return absl::DataLossError(absl::StrCat(key, " = ", value, " is not a positive number"));
    }
    return value;
  }

  absl::StatusOr<float> PositiveOr(absl::string_view name, float fallback) const {
    return Has(name) ? Positive(name) : fallback;
  }

 private:
  static absl::StatusOr<uint32_t> InRange(absl::string_view key, int64_t value, uint32_t limit) {
    if (value < 1 || value > limit) {
      return absl::DataLossError(absl::StrCat(key, " = ", value, " is not in 1 to ", limit));
    }
    return static_cast<uint32_t>(value);
  }

  const GgufFile& file_;
  std::string prefix_;
};

absl::Status ReadHeads(const Reader& in, ModelConfig& config) {
  PTXSMITH_ASSIGN_OR_RETURN(config.head_count,
                            in.PerBlock("attention.head_count", kMaxHeads, config.block_count));
  config.head_count_kv = config.head_count;
  if (in.Has("attention.head_count_kv")) {
    PTXSMITH_ASSIGN_OR_RETURN(config.head_count_kv, in.PerBlock("attention.head_count_kv",
                                                                kMaxHeads, config.block_count));
  }
  if (config.head_count % config.head_count_kv != 0) {
    return absl::DataLossError(
        absl::StrCat(in.Key("attention.head_count"), " = ", config.head_count,
                     " is not a multiple of head_count_kv = ", config.head_count_kv));
  }
  const bool derived = !in.Has("attention.key_length") || !in.Has("attention.value_length");
  if (derived && config.embedding_length % config.head_count != 0) {
    return absl::DataLossError(
        absl::StrCat(in.Key("embedding_length"), " = ", config.embedding_length,
                     " is not a multiple of head_count = ", config.head_count));
  }
  const uint32_t even_share = config.embedding_length / config.head_count;
  PTXSMITH_ASSIGN_OR_RETURN(config.head_dim,
                            in.CountOr("attention.key_length", kMaxHeadDim, even_share));
  PTXSMITH_ASSIGN_OR_RETURN(config.value_length,
                            in.CountOr("attention.value_length", kMaxHeadDim, even_share));
  return absl::OkStatus();
}

// REQUIRES: ReadHeads.
absl::Status ReadScores(const Reader& in, const Architecture& known, ModelConfig& config) {
  const bool by_embedding =
      config.architecture == "gemma2" && config.block_count == kGemma27bBlocks;
  config.attention_scale =
      1 / std::sqrt(by_embedding ? static_cast<float>(config.embedding_length) /
                                       static_cast<float>(config.head_count)
                                 : static_cast<float>(config.head_dim));
  PTXSMITH_ASSIGN_OR_RETURN(config.attention_softcap,
                            in.PositiveOr("attn_logit_softcapping", known.attention_softcap));
  config.sliding_period = known.sliding_period;
  PTXSMITH_ASSIGN_OR_RETURN(config.sliding_window, in.CountOr("attention.sliding_window",
                                                              kMaxContext, known.sliding_window));
  return absl::OkStatus();
}

// REQUIRES: ReadScores.
absl::Status ReadRope(const GgufFile& file, const Reader& in, uint32_t context,
                      ModelConfig& config) {
  PTXSMITH_ASSIGN_OR_RETURN(config.rope_dim,
                            in.CountOr("rope.dimension_count", kMaxHeadDim, config.head_dim));
  if (config.rope_dim % 2 != 0 || config.rope_dim > config.head_dim) {
    return absl::DataLossError(absl::StrCat(in.Key("rope.dimension_count"), " = ", config.rope_dim,
                                            " is not even and at most the head's ",
                                            config.head_dim));
  }
  PTXSMITH_ASSIGN_OR_RETURN(config.rope_freq_base, in.PositiveOr("rope.freq_base", 10000.0f));

  PTXSMITH_ASSIGN_OR_RETURN(
      RopeScaling scaling,
      ReadRopeScaling(file, absl::StrCat(config.architecture, "."),
                      {config.rope_dim, config.rope_freq_base, config.context_length,
                       context != 0 ? context : config.context_length}));
  config.rope_divisors = std::move(scaling.divisors);
  if (scaling.magnitude != 1 && config.rope_dim != config.head_dim) {
    return absl::UnimplementedError(
        absl::StrCat("rotated elements that grow by ", scaling.magnitude, " in heads that rotate ",
                     config.rope_dim, " of ", config.head_dim, " elements"));
  }
  // Queries and keys grow alike, and scores are linear in both.
  config.attention_scale *= scaling.magnitude * scaling.magnitude;
  return absl::OkStatus();
}

absl::Status ReadVocab(const GgufFile& file, const Reader& in, ModelConfig& config) {
  constexpr absl::string_view kTokens = "tokenizer.ggml.tokens";
  const GgufEntry* tokens = file.FindEntry(kTokens);
  if (tokens == nullptr) {
    PTXSMITH_ASSIGN_OR_RETURN(config.vocab_size, in.Count("vocab_size", kMaxVocab));
    return absl::OkStatus();
  }
  if (tokens->count == 0 || tokens->count > kMaxVocab) {
    return absl::DataLossError(
        absl::StrCat(kTokens, " has ", tokens->count, " elements, not 1 to ", kMaxVocab));
  }
  const auto count = static_cast<uint32_t>(tokens->count);
  PTXSMITH_ASSIGN_OR_RETURN(config.vocab_size, in.CountOr("vocab_size", kMaxVocab, count));
  if (config.vocab_size != count) {
    return absl::DataLossError(absl::StrCat(in.Key("vocab_size"), " = ", config.vocab_size, " but ",
                                            kTokens, " has ", count, " elements"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ModelConfig> ModelConfig::FromGguf(const GgufFile& file, uint32_t context) {
  ModelConfig config;
  PTXSMITH_ASSIGN_OR_RETURN(const absl::string_view architecture,
                            file.GetString("general.architecture"));
  const auto* known = std::find_if(std::begin(kArchitectures), std::end(kArchitectures),
                                   [&](const Architecture& a) { return a.name == architecture; });
  if (known == std::end(kArchitectures)) {
    const auto append_name = [](std::string* out, const Architecture& a) {
      absl::StrAppend(out, a.name);
    };
    return absl::UnimplementedError(absl::StrCat(
        "general.architecture = '", absl::CHexEscape(architecture),
        "' is not supported; known: ", absl::StrJoin(kArchitectures, ", ", append_name)));
  }
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t parts, OrDefault(file.GetU32("split.count"), 1u));
  if (parts > file.parts()) {
    return absl::InvalidArgumentError(absl::StrCat("split.count = ", parts, ", but only ",
                                                   file.parts(), " part of the model was opened"));
  }
  config.architecture = std::string(architecture);
  config.rope_pairing = known->rope_pairing;
  config.norm = known->norm;
  config.feed_forward = known->feed_forward;
  config.qkv_bias = known->qkv_bias;
  config.output_bias = known->output_bias;
  config.qk_norm = known->qk_norm;
  config.parallel_block = known->parallel_block;
  config.post_norms = known->post_norms;

  const Reader in(file, architecture);
  PTXSMITH_ASSIGN_OR_RETURN(config.block_count, in.Count("block_count", kMaxBlocks));
  PTXSMITH_ASSIGN_OR_RETURN(config.context_length, in.Count("context_length", kMaxContext));
  PTXSMITH_ASSIGN_OR_RETURN(config.embedding_length, in.Count("embedding_length", kMaxLength));
  PTXSMITH_ASSIGN_OR_RETURN(config.feed_forward_length,
                            in.PerBlock("feed_forward_length", kMaxLength, config.block_count));
  PTXSMITH_ASSIGN_OR_RETURN(
      config.rms_eps, in.Positive(config.norm == NormKind::kRms ? "attention.layer_norm_rms_epsilon"
                                                                : "attention.layer_norm_epsilon"));
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t experts,
                            OrDefault(file.GetU32(in.Key("expert_count")), 0u));
  if (experts > 0) {
    return absl::UnimplementedError(
        absl::StrCat(in.Key("expert_count"), " = ", experts, ": experts are not supported"));
  }
  if (known->scaled_embedding) {
    config.embedding_scale = std::sqrt(static_cast<float>(config.embedding_length));
  }
  PTXSMITH_ASSIGN_OR_RETURN(config.logit_softcap,
                            in.PositiveOr("final_logit_softcapping", known->logit_softcap));
  PTXSMITH_RETURN_IF_ERROR(ReadHeads(in, config));
  PTXSMITH_RETURN_IF_ERROR(ReadScores(in, *known, config));
  PTXSMITH_RETURN_IF_ERROR(ReadRope(file, in, context, config));
  PTXSMITH_RETURN_IF_ERROR(ReadVocab(file, in, config));
  return config;
}

absl::Status ModelConfig::CheckPlainBlocks() const {
  const auto unplain = [&](absl::string_view part) {
    return absl::UnimplementedError(absl::StrCat("blocks of ", architecture, " have ", part));
  };
  if (norm != NormKind::kRms) return unplain("layer norms");
  if (feed_forward != FeedForward::kSwiGlu) return unplain("another feed-forward than SwiGLU");
  if (output_bias) return unplain("biases");
  if (qk_norm) return unplain("norms of queries and keys");
  if (parallel_block) return unplain("attention beside the feed-forward");
  if (post_norms) return unplain("norms after attention and feed-forward");
  if (sliding_window != 0) return unplain("a sliding window");
  if (attention_softcap != 0 || logit_softcap != 0) return unplain("caps");
  if (embedding_scale != 1) return unplain("a scaled embedding");
  if (attention_scale != 1 / std::sqrt(static_cast<float>(head_dim))) {
    return unplain("a scale of scores of their own");
  }
  return absl::OkStatus();
}

}  // namespace ptxsmith

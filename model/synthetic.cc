#include "model/synthetic.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "codegen/status_macros.h"
#include "ptx_templates/quant_type.h"

namespace ptxsmith {
namespace {

struct Shape {
  const char* name;
  const char* architecture;
  uint32_t blocks, width, heads, kv_heads, head_dim, hidden, vocab;
  bool tied;  // the embedding is also the output matrix
  float rope_base;
};

// From the configurations that the models are published with.
constexpr Shape kShapes[] = {
    {"llama3-8b", "llama", 32, 4096, 32, 8, 128, 14336, 128256, false, 5e5F},
    {"llama3.2-1b", "llama", 16, 2048, 32, 8, 64, 8192, 128256, true, 5e5F},
    {"qwen2.5-1.5b", "qwen2", 28, 1536, 12, 2, 128, 8960, 151936, true, 1e6F},
    {"tiny", "llama", 2, 512, 8, 4, 64, 1024, 1024, false, 1e4F},  // for tests
    {"qwen2.5-7b", "qwen2", 28, 3584, 28, 4, 128, 18944, 152064, false, 1e6F},
};
constexpr char kMix[] = ":q4_k_m";
constexpr uint32_t kFileType = 15;  // llama.cpp's number of this mix
constexpr uint32_t kContext = 8192;
constexpr uint64_t kAlignment = 32;

// Writes the header of a GGUF file of version 3.
class Header {
 public:
  void Number(uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) bytes_.push_back(static_cast<char>(value >> (8 * i)));
  }
  void Text(absl::string_view text) {
    Number(text.size(), 8);
    bytes_.append(text.data(), text.size());
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

class Metadata {
 public:
  void Add(absl::string_view key, uint32_t value) {
    Start(key, GgufType::kU32);
    entries_.Number(value, 4);
  }
  void Add(absl::string_view key, float value) {
    Start(key, GgufType::kF32);
    uint32_t bits = 0;
    std::memcpy(&bits, &value, sizeof(bits));
    entries_.Number(bits, 4);
  }
  void Add(absl::string_view key, const char* value) {
    Start(key, GgufType::kString);
    entries_.Text(value);
  }
  uint64_t count() const { return count_; }
  const std::string& bytes() const { return entries_.bytes(); }

 private:
  void Start(absl::string_view key, GgufType type) {
    ++count_;
    entries_.Text(key);
    entries_.Number(static_cast<uint32_t>(type), 4);
  }

  Header entries_;
  uint64_t count_ = 0;
};

class Tensors {
 public:
  void Add(absl::string_view name, uint64_t k, uint64_t n, QuantType type) {
    const QuantTypeInfo& info = Info(type);
    ++count_;
    entries_.Text(name);
    entries_.Number(n == 0 ? 1 : 2, 4);
    entries_.Number(k, 8);
    if (n != 0) entries_.Number(n, 8);
    entries_.Number(static_cast<uint32_t>(type), 4);
    entries_.Number(offset_, 8);
    const uint64_t bytes = k / info.block_weights * info.block_bytes * (n == 0 ? 1 : n);
    offset_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  void AddVector(absl::string_view name, uint64_t n) { Add(name, n, 0, QuantType::kF32); }
  uint64_t count() const { return count_; }
  uint64_t data_bytes() const { return offset_; }
  const std::string& bytes() const { return entries_.bytes(); }

 private:
  Header entries_;
  uint64_t count_ = 0;
  uint64_t offset_ = 0;
};

Metadata MetadataOf(const Shape& shape) {
  Metadata metadata;
  const auto key = [&](absl::string_view rest) {
    return absl::StrCat(shape.architecture, ".", rest);
  };
  metadata.Add("general.architecture", shape.architecture);
  metadata.Add("general.name", absl::StrCat("synthetic ", shape.name).c_str());
  metadata.Add("general.file_type", kFileType);
  metadata.Add(key("block_count"), shape.blocks);
  metadata.Add(key("context_length"), kContext);
  metadata.Add(key("embedding_length"), shape.width);
  metadata.Add(key("feed_forward_length"), shape.hidden);
  metadata.Add(key("attention.head_count"), shape.heads);
  metadata.Add(key("attention.head_count_kv"), shape.kv_heads);
  metadata.Add(key("attention.key_length"), shape.head_dim);
  metadata.Add(key("attention.value_length"), shape.head_dim);
  metadata.Add(key("rope.dimension_count"), shape.head_dim);
  metadata.Add(key("rope.freq_base"), shape.rope_base);
  metadata.Add(key("attention.layer_norm_rms_epsilon"), 1e-5F);
  metadata.Add(key("vocab_size"), shape.vocab);
  metadata.Add("tokenizer.ggml.model", "none");
  return metadata;
}

// The types are those of llama.cpp's Q4_K_M: half of the layers have six bits where it matters.
Tensors TensorsOf(const Shape& shape) {
  const QuantType q4 = QuantType::kQ4K;
  const QuantType q6 = QuantType::kQ6K;
  const uint64_t q_width = uint64_t{shape.heads} * shape.head_dim;
  const uint64_t kv_width = uint64_t{shape.kv_heads} * shape.head_dim;
  Tensors tensors;
  tensors.Add("token_embd.weight", shape.width, shape.vocab, shape.tied ? q6 : q4);
  if (!shape.tied) tensors.Add("output.weight", shape.width, shape.vocab, q6);
  tensors.AddVector("output_norm.weight", shape.width);
  for (uint32_t i = 0; i < shape.blocks; ++i) {
    const uint32_t eighth = shape.blocks / 8;
    const bool more = i < eighth || i >= 7 * eighth || (i - eighth) % 3 == 2;
    const auto name = [&](absl::string_view rest) { return absl::StrCat("blk.", i, ".", rest); };
    tensors.AddVector(name("attn_norm.weight"), shape.width);
    tensors.Add(name("attn_q.weight"), shape.width, q_width, q4);
    tensors.Add(name("attn_k.weight"), shape.width, kv_width, q4);
    tensors.Add(name("attn_v.weight"), shape.width, kv_width, more ? q6 : q4);
    if (absl::string_view(shape.architecture) == "qwen2") {
      tensors.AddVector(name("attn_q.bias"), q_width);
      tensors.AddVector(name("attn_k.bias"), kv_width);
      tensors.AddVector(name("attn_v.bias"), kv_width);
    }
    tensors.Add(name("attn_output.weight"), q_width, shape.width, q4);
    tensors.AddVector(name("ffn_norm.weight"), shape.width);
    tensors.Add(name("ffn_gate.weight"), shape.width, shape.hidden, q4);
    tensors.Add(name("ffn_up.weight"), shape.width, shape.hidden, q4);
    tensors.Add(name("ffn_down.weight"), shape.hidden, shape.width, more ? q6 : q4);
  }
  return tensors;
}

// Cheap and good enough to keep bits busy (Marsaglia, "Xorshift RNGs", 2003).
class Random {
 public:
  uint32_t Next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 17;
    return state_ ^= state_ << 5;
  }
  float Between(float low, float high) {
    return low + (high - low) * static_cast<float>(Next() >> 8) * 0x1p-24F;
  }

 private:
  uint32_t state_ = 0x9e3779b9;
};

// The half nearest to a normal number of its range, towards zero.
uint16_t HalfBits(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits >> 13) - ((127 - 15) << 10));
}

// Puts blocks that are legal and of usual size, weights of about 0.02, into the data of a tensor of
// the mapping of SyntheticModel. One pattern of some megabytes serves all of a tensor.
void FillRandom(const GgufTensor& tensor) {
  Random random;
  const QuantTypeInfo& info = Info(tensor.type);
  constexpr size_t kPatternBlocks = 20011;  // a prime: no row begins like another
  std::vector<uint8_t> pattern(kPatternBlocks * info.block_bytes);
  for (uint8_t& byte : pattern) byte = static_cast<uint8_t>(random.Next() >> 24);
  for (size_t b = 0; b < kPatternBlocks; ++b) {
    uint8_t* const block = &pattern[b * info.block_bytes];
    const auto put = [&](size_t at, auto value) { std::memcpy(block + at, &value, sizeof(value)); };
    if (tensor.type == QuantType::kF32) put(0, random.Between(0.9F, 1.1F));
    if (tensor.type == QuantType::kQ4K) {
      put(0, HalfBits(random.Between(6.2e-5F, 9e-5F)));  // of the scales
      put(2, HalfBits(random.Between(3e-4F, 6e-4F)));    // of the offsets
    }
    if (tensor.type == QuantType::kQ6K) {
      for (size_t i = 192; i < 208; ++i) block[i] = static_cast<uint8_t>(random.Next() % 65 - 32);
      put(208, HalfBits(random.Between(6.2e-5F, 9e-5F)));
    }
  }
  uint8_t* const data = const_cast<uint8_t*>(tensor.data.data());
  for (size_t at = 0; at < tensor.data.size(); at += pattern.size()) {
    std::memcpy(data + at, pattern.data(), std::min(pattern.size(), tensor.data.size() - at));
  }
}

}  // namespace

std::vector<std::string> SyntheticModelNames() {
  std::vector<std::string> names;
  for (const Shape& shape : kShapes) names.push_back(absl::StrCat(shape.name, kMix));
  return names;
}

absl::StatusOr<SyntheticBytes> SyntheticModelBytes(absl::string_view name,
                                                   SyntheticWeights weights) {
  const Shape* shape = nullptr;
  for (const Shape& candidate : kShapes) {
    if (absl::StrCat(candidate.name, kMix) == name) shape = &candidate;
  }
  if (shape == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        "unknown model '", name, "'; known: ", absl::StrJoin(SyntheticModelNames(), ", ")));
  }
  const Metadata metadata = MetadataOf(*shape);
  const Tensors tensors = TensorsOf(*shape);
  Header header;
  header.Number(0x46554747, 4);  // "GGUF"
  header.Number(3, 4);
  header.Number(tensors.count(), 8);
  header.Number(metadata.count(), 8);
  std::string bytes = header.bytes() + metadata.bytes() + tensors.bytes();
  bytes.resize((bytes.size() + kAlignment - 1) / kAlignment * kAlignment);

  // Pages of zeros that exist once they are written.
  const size_t size = bytes.size() + tensors.data_bytes();
  void* address = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) {
    return absl::ResourceExhaustedError(absl::StrCat("no address space for ", size, " bytes"));
  }
  std::shared_ptr<const void> mapping(
      address, [size](const void* p) { munmap(const_cast<void*>(p), size); });
  std::memcpy(address, bytes.data(), bytes.size());
  const SyntheticBytes model{{static_cast<const uint8_t*>(address), size}, std::move(mapping)};
  if (weights == SyntheticWeights::kRandom) {
    PTXSMITH_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(model.bytes));
    for (const GgufTensor& tensor : file.tensors()) FillRandom(tensor);
  }
  return model;
}

absl::StatusOr<GgufFile> SyntheticModel(absl::string_view name, SyntheticWeights weights) {
  PTXSMITH_ASSIGN_OR_RETURN(SyntheticBytes model, SyntheticModelBytes(name, weights));
  return GgufFile::ParseShared(model.bytes, std::move(model.owner));
}

}  // namespace ptxsmith

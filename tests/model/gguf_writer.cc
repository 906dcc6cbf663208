#include "tests/model/gguf_writer.h"

#include <algorithm>

#include "model/bpe.h"

namespace ptxsmith {

std::string RawString(const std::string& text) { return Raw(uint64_t{text.size()}) + text; }

std::string Strs(const std::vector<std::string>& texts) {
  std::string bytes = Raw(uint32_t{9}) + Raw(uint32_t{8}) + Raw(uint64_t{texts.size()});
  for (const std::string& text : texts) bytes += RawString(text);
  return bytes;
}

GgufWriter& GgufWriter::Set(const std::string& key, const std::string& value) {
  for (auto& [k, v] : metadata) {
    if (k == key) {
      v = value;
      return *this;
    }
  }
  metadata.emplace_back(key, value);
  return *this;
}

GgufWriter& GgufWriter::Remove(const std::string& key) {
  metadata.erase(std::remove_if(metadata.begin(), metadata.end(),
                                [&](const auto& entry) { return entry.first == key; }),
                 metadata.end());
  return *this;
}

GgufWriter& GgufWriter::Retarget(const std::string& architecture) {
  const std::string from = "llama.";
  for (auto& [key, value] : metadata) {
    if (key.compare(0, from.size(), from) == 0) {
      key = architecture + "." + key.substr(from.size());
    }
  }
  return Set("general.architecture", Str(architecture));
}

const std::string& GgufWriter::Get(const std::string& key) const {
  return std::find_if(metadata.begin(), metadata.end(),
                      [&](const auto& entry) { return entry.first == key; })
      ->second;
}

GgufWriter& GgufWriter::AddTensor(const std::string& name, const std::vector<uint64_t>& dims,
                                  uint32_t type, const std::string& bytes) {
  data.resize((data.size() + alignment - 1) / alignment * alignment);
  tensors.push_back({name, dims, type, data.size()});
  data += bytes;
  return *this;
}

GgufWriter::Tensor& GgufWriter::Find(const std::string& name) {
  return *std::find_if(tensors.begin(), tensors.end(),
                       [&](const Tensor& tensor) { return tensor.name == name; });
}

std::string GgufWriter::Build() const {
  std::string bytes =
      magic + Raw(version) + Raw(uint64_t{tensors.size()}) + Raw(uint64_t{metadata.size()});
  for (const auto& [key, value] : metadata) bytes += RawString(key) + value;
  for (const Tensor& tensor : tensors) {
    bytes += RawString(tensor.name) + Raw(static_cast<uint32_t>(tensor.dims.size()));
    for (const uint64_t dim : tensor.dims) bytes += Raw(dim);
    bytes += Raw(tensor.type) + Raw(tensor.offset);
  }
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
  bytes += data;
  bytes.append(data_bytes, '\x11');
  return bytes;
}

std::vector<std::string> TinyTokens() {
  std::vector<std::string> tokens;
  for (int b = 0; b < 256; ++b) tokens.push_back(SpellByte(b));
  for (const char* token : {"he", "ll", "hell", "<|end|>", "<br>"}) tokens.push_back(token);
  return tokens;
}

GgufWriter TinyModel() {
  std::vector<int32_t> types(kTinyVocab, 1);
  types[kEnd] = 3;
  types[kBr] = 4;
  GgufWriter w;
  w.Set("general.architecture", Str("llama"))
      .Set("llama.block_count", U32(1))
      .Set("llama.context_length", U32(128))
      .Set("llama.embedding_length", U32(64))
      .Set("llama.feed_forward_length", U32(96))
      .Set("llama.attention.head_count", U32(4))
      .Set("llama.attention.head_count_kv", U32(2))
      .Set("llama.attention.layer_norm_rms_epsilon", F32(1e-5f))
      .Set("llama.rope.freq_base", F32(5e5f))
      .Set("tokenizer.ggml.model", Str("gpt2"))
      .Set("tokenizer.ggml.pre", Str("gpt-2"))
      .Set("tokenizer.ggml.tokens", Strs(TinyTokens()))
      .Set("tokenizer.ggml.token_type", Array(5, types))
      .Set("tokenizer.ggml.merges", Strs({"h e", "l l", "he ll"}))
      .Set("tokenizer.ggml.bos_token_id", U32(kEnd))
      .Set("tokenizer.ggml.eos_token_id", U32(kEnd))
      .Set("tokenizer.ggml.add_bos_token", Bool(0));
  w.tensors = {{"output_norm.weight", {64}, 0, 0}, {"blk.0.ffn_up.weight", {64, 96}, 8, 256}};
  w.data_bytes = 256 + 96 * 2 * 34;
  return w;
}

}  // namespace ptxsmith

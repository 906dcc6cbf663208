// Writes small GGUF files, valid and hostile ones, for the tests of the model room. Independent of
// the reader: nothing here checks anything.
//
//   GgufWriter w = TinyModel();
//   w.Set("llama.block_count", U32(0)).tensors[0].type = 4;
//   absl::StatusOr<GgufFile> file = GgufFile::Parse(Bytes(text = w.Build()));
#ifndef PTXSMITH_TESTS_MODEL_GGUF_WRITER_H_
#define PTXSMITH_TESTS_MODEL_GGUF_WRITER_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"

namespace ptxsmith {

// The bytes of a plain value.
template <class T>
std::string Raw(T value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
std::string RawString(const std::string& text);

// A metadata value as stored: its type id and its bytes.
template <class T>
std::string Value(uint32_t type, T value) {
  return Raw(type) + Raw(value);
}
inline std::string U32(uint32_t value) { return Value(4, value); }
inline std::string F32(float value) { return Value(6, value); }
inline std::string Bool(uint8_t value) { return Value(7, value); }
inline std::string Str(const std::string& text) { return Raw(uint32_t{8}) + RawString(text); }
std::string Strs(const std::vector<std::string>& texts);
template <class T>
std::string Array(uint32_t element_type, const std::vector<T>& values) {
  std::string bytes = Raw(uint32_t{9}) + Raw(element_type) + Raw(uint64_t{values.size()});
  for (const T value : values) bytes += Raw(value);
  return bytes;
}

struct GgufWriter {
  struct Tensor {
    std::string name;
    std::vector<uint64_t> dims;
    uint32_t type = 0;
    uint64_t offset = 0;
  };

  std::string magic = "GGUF";
  uint32_t version = 3;
  std::vector<std::pair<std::string, std::string>> metadata;  // key, value as stored
  std::vector<Tensor> tensors;
  size_t alignment = 32;
  std::string data;       // of the tensors, from its offset 0
  size_t data_bytes = 0;  // of filler behind it

  // Replaces the value of `key`, or adds it.
  GgufWriter& Set(const std::string& key, const std::string& value);
  GgufWriter& Remove(const std::string& key);
  // The same keys for another architecture: "llama.block_count" becomes "qwen2.block_count".
  GgufWriter& Retarget(const std::string& architecture);
  const std::string& Get(const std::string& key) const;

  // Appends a tensor with its bytes.
  GgufWriter& AddTensor(const std::string& name, const std::vector<uint64_t>& dims, uint32_t type,
                        const std::string& bytes);
  // The tensor of this name, to be broken. REQUIRES: there is one.
  Tensor& Find(const std::string& name);

  std::string Build() const;
};

// A llama model of one block, two heads and a vocabulary of the 256 bytes, "he", "ll", "hell", a
// control token "<|end|>" and a user-defined one "<br>"; two tensors.
GgufWriter TinyModel();
inline constexpr uint32_t kHe = 256, kLl = 257, kHell = 258, kEnd = 259, kBr = 260,
                          kTinyVocab = 261;
std::vector<std::string> TinyTokens();

inline absl::Span<const uint8_t> Bytes(const std::string& text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_MODEL_GGUF_WRITER_H_

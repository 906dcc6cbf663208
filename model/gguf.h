// Reader of GGUF v2 and v3 files: typed metadata and a table of tensors. Used by the tokenizer, the
// model configuration, the weight loader and `ptxsmith inspect`.
//
//   PTXSMITH_ASSIGN_OR_RETURN(GgufFile file, GgufFile::Open("model.gguf"));
//   PTXSMITH_ASSIGN_OR_RETURN(uint32_t blocks, file.GetU32("llama.block_count"));
//   const GgufTensor* w = file.FindTensor("output.weight");  // null: absent
//
// A file is hostile until proven otherwise: every count, length and offset is checked against the
// bytes that are there before it is used, so what Parse returns needs no further check, and memory
// taken is at most a small multiple of the header. Errors read
// `GGUF byte 24: key of metadata entry 0: ...`: DataLoss for broken contents, InvalidArgument for
// what is not a (supported) GGUF file, tensor type or kind of value.
//
// Thread-safety: immutable after construction; copies share the mapping.
//
// Lifetime: keys, strings, names and tensor data point into the file's bytes.
#ifndef PTXSMITH_MODEL_GGUF_H_
#define PTXSMITH_MODEL_GGUF_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "ptx_templates/quant_type.h"

namespace ptxsmith {

// Kinds of metadata values; the numbers are those in files.
enum class GgufType : uint32_t {
  kU8 = 0,
  kI8 = 1,
  kU16 = 2,
  kI16 = 3,
  kU32 = 4,
  kI32 = 5,
  kF32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kU64 = 10,
  kI64 = 11,
  kF64 = 12,
};
absl::string_view ToString(GgufType type);  // "u8", "string", ...
uint32_t ElementBytes(GgufType type);       // 0: strings and arrays have no fixed size

// One element of a metadata value, widened.
using GgufScalar = std::variant<uint64_t, int64_t, double, bool, absl::string_view>;

// One key and its value as stored. A scalar is `count` == 1 element.
struct GgufEntry {
  absl::string_view key;
  bool is_array = false;
  GgufType element = GgufType::kU8;  // never kArray: arrays of arrays are refused
  uint64_t count = 1;
  absl::Span<const uint8_t> bytes;  // the elements, packed, validated

  // The first `limit` elements.
  std::vector<GgufScalar> Elements(uint64_t limit) const;
};

struct GgufTensor {
  absl::string_view name;
  QuantType type = QuantType::kF32;
  uint32_t rank = 0;                            // 1 to 4
  std::array<uint64_t, 4> dims = {1, 1, 1, 1};  // dims[0] is the row length; beyond `rank` 1
  absl::Span<const uint8_t> data;               // exactly the tensor's blocks

  uint64_t elements() const { return dims[0] * dims[1] * dims[2] * dims[3]; }  // cannot overflow
};

class GgufFile {
 public:
  // `bytes` must outlive the result.
  static absl::StatusOr<GgufFile> Parse(absl::Span<const uint8_t> bytes);

  // The same for bytes that `owner` keeps.
  static absl::StatusOr<GgufFile> ParseShared(absl::Span<const uint8_t> bytes,
                                              std::shared_ptr<const void> owner);

  // Maps the file, because weights of tens of gigabytes cannot be read eagerly. Only regular files:
  // a directory, FIFO or device is InvalidArgument, an absent file NotFound. The first part of a
  // split model (NAME-00001-of-00003.gguf) brings the tensors of the others; DataLoss names a part
  // that does not belong to it.
  //
  // A mapped file that somebody truncates raises SIGBUS in every reader of the lost pages, which no
  // check can prevent: replace model files by rename, never in place.
  static absl::StatusOr<GgufFile> Open(const std::string& path);

  // Metadata in file order; of a split model that of its first part.
  absl::Span<const GgufEntry> entries() const { return entries_; }
  const GgufEntry* FindEntry(absl::string_view key) const;  // null: absent

  // Typed access. NotFound: no such key. InvalidArgument: another kind of value, or an integer that
  // does not fit. Integers of any width and sign are accepted for integers, f32 and f64 for floats.
  absl::StatusOr<uint32_t> GetU32(absl::string_view key) const;
  absl::StatusOr<float> GetF32(absl::string_view key) const;
  absl::StatusOr<bool> GetBool(absl::string_view key) const;
  absl::StatusOr<absl::string_view> GetString(absl::string_view key) const;
  absl::StatusOr<std::vector<int64_t>> GetInts(absl::string_view key) const;
  absl::StatusOr<std::vector<float>> GetFloats(absl::string_view key) const;
  absl::StatusOr<std::vector<absl::string_view>> GetStrings(absl::string_view key) const;

  // Tensors in file order, and by name.
  absl::Span<const GgufTensor> tensors() const { return tensors_; }
  const GgufTensor* FindTensor(absl::string_view name) const;  // null: absent

  uint32_t version() const { return version_; }
  uint64_t size() const { return size_; }    // of all parts, in bytes
  uint32_t parts() const { return parts_; }  // that were opened; metadata tell how many there are

 private:
  GgufFile() = default;
  static absl::StatusOr<GgufFile> OpenPart(const std::string& path);
  absl::Status JoinParts(const std::string& path, uint32_t count);
  template <class T>
  absl::StatusOr<T> GetScalar(absl::string_view key, absl::string_view kind) const;
  template <class T>
  absl::StatusOr<std::vector<T>> GetArray(absl::string_view key, absl::string_view kind) const;

  std::vector<std::shared_ptr<const void>>
      owners_;  // of the bytes; none when the caller keeps them
  uint64_t size_ = 0;
  uint32_t version_ = 0;
  uint32_t parts_ = 1;
  std::vector<GgufEntry> entries_;
  std::vector<GgufTensor> tensors_;
  absl::flat_hash_map<absl::string_view, size_t> entry_index_;
  absl::flat_hash_map<absl::string_view, size_t> tensor_index_;
};

// `fallback` in place of an absent key; other errors stay.
template <class T>
absl::StatusOr<T> OrDefault(absl::StatusOr<T> value, T fallback) {
  if (absl::IsNotFound(value.status())) return fallback;
  return value;
}

}  // namespace ptxsmith

#endif  // PTXSMITH_MODEL_GGUF_H_

#include <algorithm>
#include <bit>
#include <cstring>
#include <iterator>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"
#include "model/gguf.h"
#include "model/utf8.h"

namespace ptxsmith {
namespace {

constexpr uint64_t kMaxKeyBytes = 65535;  // GGUF specification
constexpr uint64_t kMaxNameBytes = 64;    // GGUF specification
constexpr uint32_t kMaxRank = 4;          // ggml's GGML_MAX_DIMS
constexpr uint32_t kDefaultAlignment = 32;
constexpr uint32_t kMinAlignment = 8;         // GGUF specification: a multiple of 8
constexpr uint32_t kMaxAlignment = 1u << 20;  // far above any in use; keeps padding sums small
// The shortest metadata entry: a key of one byte and a value of one byte.
constexpr uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;
// The shortest tensor description: a name of one byte and one dimension.
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;

// `name` as it may appear in a message: short and printable.
std::string Quoted(absl::string_view name) {
  constexpr size_t kShown = 80;
  return absl::StrCat("'", absl::CHexEscape(name.substr(0, kShown)),
                      name.size() > kShown ? "...'" : "'");
}

absl::Status Broken(uint64_t offset, absl::string_view field, absl::string_view problem) {
  return absl::DataLossError(absl::StrCat("GGUF byte ", offset, ": ", field, ": ", problem));
}

absl::Status Unsupported(uint64_t offset, absl::string_view field, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("GGUF byte ", offset, ": ", field, ": ", problem));
}

// A position in the file. Nothing is read before it is known to be there.
class Cursor {
 public:
  explicit Cursor(absl::Span<const uint8_t> bytes) : bytes_(bytes) {}

  uint64_t pos() const { return pos_; }
  uint64_t left() const { return bytes_.size() - pos_; }

  absl::StatusOr<absl::Span<const uint8_t>> Bytes(uint64_t count, absl::string_view field) {
    if (count > left()) {
      return Broken(pos_, field, absl::StrCat("needs ", count, " bytes, ", left(), " are left"));
    }
    const absl::Span<const uint8_t> result = bytes_.subspan(pos_, count);
    pos_ += count;
    return result;
  }

  template <class T>
  absl::StatusOr<T> Number(absl::string_view field) {
    PTXSMITH_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> bytes, Bytes(sizeof(T), field));
    T value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
  }

  absl::StatusOr<absl::string_view> String(absl::string_view field) {
    const uint64_t start = pos_;
    PTXSMITH_ASSIGN_OR_RETURN(const uint64_t length, Number<uint64_t>(field));
    PTXSMITH_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> bytes, Bytes(length, field));
    const absl::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    if (const size_t valid = ValidUtf8Prefix(text); valid != text.size()) {
      return Broken(start, field, absl::StrCat("byte ", valid, " of the string is not UTF-8"));
    }
    return text;
  }

  // A metadata key or tensor name: 1 to `limit` printable ASCII characters.
  absl::StatusOr<absl::string_view> Name(uint64_t limit, absl::string_view field) {
    const uint64_t start = pos_;
    PTXSMITH_ASSIGN_OR_RETURN(const absl::string_view name, String(field));
    if (name.empty() || name.size() > limit) {
      return Broken(start, field,
                    absl::StrCat("has ", name.size(), " bytes; 1 to ", limit, " are allowed"));
    }
    for (const char c : name) {
      if (c <= ' ' || c > '~') {
        return Broken(start, field, absl::StrCat(Quoted(name), " is not printable ASCII"));
      }
    }
    return name;
  }

 private:
  absl::Span<const uint8_t> bytes_;
  uint64_t pos_ = 0;
};

absl::StatusOr<GgufType> ParseType(Cursor& in, absl::string_view field) {
  const uint64_t start = in.pos();
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t id, in.Number<uint32_t>(field));
  if (id > static_cast<uint32_t>(GgufType::kF64)) {
    return Broken(start, field, absl::StrCat("unknown value type ", id));
  }
  return static_cast<GgufType>(id);
}

absl::StatusOr<GgufEntry> ParseEntry(Cursor& in, uint64_t index) {
  GgufEntry entry;
  PTXSMITH_ASSIGN_OR_RETURN(entry.key,
                            in.Name(kMaxKeyBytes, absl::StrCat("key of metadata entry ", index)));
  const std::string field = Quoted(entry.key);
  PTXSMITH_ASSIGN_OR_RETURN(entry.element, ParseType(in, field));
  if (entry.element == GgufType::kArray) {
    entry.is_array = true;
    const uint64_t start = in.pos();
    PTXSMITH_ASSIGN_OR_RETURN(entry.element, ParseType(in, field));
    if (entry.element == GgufType::kArray) return Broken(start, field, "array of arrays");
    PTXSMITH_ASSIGN_OR_RETURN(entry.count, in.Number<uint64_t>(field));
  }

  const uint64_t start = in.pos();
  // A string has at least its length field.
  const uint64_t size = ElementBytes(entry.element);
  const uint64_t least = size == 0 ? sizeof(uint64_t) : size;
  if (entry.count > in.left() / least) {
    return Broken(start, field,
                  absl::StrCat(entry.count, " elements of at least ", least, " bytes, ", in.left(),
                               " are left"));
  }
  Cursor elements = in;
  if (entry.element == GgufType::kString) {
    for (uint64_t i = 0; i < entry.count; ++i) {
      PTXSMITH_RETURN_IF_ERROR(elements.String(field).status());
    }
  } else {
    PTXSMITH_RETURN_IF_ERROR(elements.Bytes(entry.count * size, field).status());
  }
  PTXSMITH_ASSIGN_OR_RETURN(entry.bytes, in.Bytes(elements.pos() - start, field));
  if (entry.element == GgufType::kBool) {
    for (const uint8_t value : entry.bytes) {
      if (value > 1) return Broken(start, field, absl::StrCat("bool with value ", value));
    }
  }
  return entry;
}

// A tensor whose data is not located yet.
struct TensorHeader {
  GgufTensor tensor;
  uint64_t at = 0;      // where its description starts, for messages
  uint64_t offset = 0;  // into the data section
  uint64_t bytes = 0;
};

absl::StatusOr<TensorHeader> ParseTensor(Cursor& in, uint64_t index) {
  TensorHeader h;
  h.at = in.pos();
  PTXSMITH_ASSIGN_OR_RETURN(h.tensor.name,
                            in.Name(kMaxNameBytes, absl::StrCat("name of tensor ", index)));
  const std::string field = absl::StrCat("tensor ", Quoted(h.tensor.name));
  PTXSMITH_ASSIGN_OR_RETURN(h.tensor.rank, in.Number<uint32_t>(field));
  if (h.tensor.rank == 0 || h.tensor.rank > kMaxRank) {
    return Broken(h.at, field, absl::StrCat(h.tensor.rank, " dimensions; 1 to 4 are allowed"));
  }
  uint64_t elements = 1;
  for (uint32_t i = 0; i < h.tensor.rank; ++i) {
    PTXSMITH_ASSIGN_OR_RETURN(h.tensor.dims[i], in.Number<uint64_t>(field));
    if (h.tensor.dims[i] == 0) return Broken(h.at, field, absl::StrCat("dimension ", i, " is 0"));
    if (__builtin_mul_overflow(elements, h.tensor.dims[i], &elements)) {
      return Broken(h.at, field, "the number of elements overflows 64 bits");
    }
  }

  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t id, in.Number<uint32_t>(field));
  const std::optional<QuantType> type = QuantTypeFromId(id);
  if (!type) return Unsupported(h.at, field, absl::StrCat("unknown tensor type ", id));
  h.tensor.type = *type;
  const QuantTypeInfo& info = Info(*type);
  if (h.tensor.dims[0] % info.block_weights != 0) {
    return Broken(h.at, field,
                  absl::StrCat("row of ", h.tensor.dims[0], " is not a multiple of the ",
                               info.block_weights, " weights of a block of ", info.name));
  }
  if (__builtin_mul_overflow(elements / info.block_weights, uint64_t{info.block_bytes}, &h.bytes)) {
    return Broken(h.at, field, "the number of bytes overflows 64 bits");
  }
  PTXSMITH_ASSIGN_OR_RETURN(h.offset, in.Number<uint64_t>(field));
  return h;
}

// Points the tensor at its bytes. `section` is the data section.
absl::Status Locate(TensorHeader& h, absl::Span<const uint8_t> section, uint32_t alignment) {
  const std::string field = absl::StrCat("tensor ", Quoted(h.tensor.name));
  if (h.offset % alignment != 0) {
    return Broken(h.at, field,
                  absl::StrCat("offset ", h.offset, " is not a multiple of ", alignment));
  }
  if (h.offset > section.size() || h.bytes > section.size() - h.offset) {
    return Broken(h.at, field,
                  absl::StrCat(h.bytes, " bytes at offset ", h.offset,
                               " do not fit the data section of ", section.size(), " bytes"));
  }
  h.tensor.data = section.subspan(h.offset, h.bytes);
  return absl::OkStatus();
}

absl::Status CheckOverlap(std::vector<TensorHeader> headers) {
  std::sort(headers.begin(), headers.end(),
            [](const TensorHeader& a, const TensorHeader& b) { return a.offset < b.offset; });
  for (size_t i = 1; i < headers.size(); ++i) {
    const TensorHeader& a = headers[i - 1];
    const TensorHeader& b = headers[i];
    if (b.offset - a.offset < a.bytes) {
      return Broken(b.at, absl::StrCat("tensor ", Quoted(b.tensor.name)),
                    absl::StrCat("offset ", b.offset, " lies inside ", Quoted(a.tensor.name)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> Alignment(const GgufFile& file, absl::Span<const uint8_t> bytes) {
  constexpr absl::string_view kKey = "general.alignment";
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t value, OrDefault(file.GetU32(kKey), kDefaultAlignment));
  if (!std::has_single_bit(value) || value < kMinAlignment || value > kMaxAlignment) {
    return Broken(
        file.FindEntry(kKey)->bytes.data() - bytes.data(), kKey,
        absl::StrCat(value, " is not a power of two from ", kMinAlignment, " to ", kMaxAlignment));
  }
  return value;
}

}  // namespace

absl::StatusOr<GgufFile> GgufFile::Parse(absl::Span<const uint8_t> bytes) {
  static constexpr uint8_t kMagic[] = {'G', 'G', 'U', 'F'};
  if (bytes.size() < sizeof kMagic ||
      !std::equal(std::begin(kMagic), std::end(kMagic), bytes.begin())) {
    return Unsupported(0, "magic", "not a GGUF file");
  }
  GgufFile file;
  file.size_ = bytes.size();
  Cursor in(bytes);
  PTXSMITH_RETURN_IF_ERROR(in.Bytes(sizeof kMagic, "magic").status());
  PTXSMITH_ASSIGN_OR_RETURN(file.version_, in.Number<uint32_t>("version"));
  if (file.version_ == 0x03000000) {
    return Unsupported(4, "version", "big-endian files are not supported");
  }
  if (file.version_ != 2 && file.version_ != 3) {
    return Unsupported(4, "version",
                       absl::StrCat(file.version_, " is not supported; known: 2 and 3"));
  }
  PTXSMITH_ASSIGN_OR_RETURN(const uint64_t tensor_count, in.Number<uint64_t>("tensor count"));
  PTXSMITH_ASSIGN_OR_RETURN(const uint64_t entry_count, in.Number<uint64_t>("metadata count"));
  if (entry_count > in.left() / kMinEntryBytes) {
    return Broken(16, "metadata count",
                  absl::StrCat(entry_count, " entries cannot fit ", in.left(), " bytes"));
  }

  file.entries_.reserve(entry_count);
  for (uint64_t i = 0; i < entry_count; ++i) {
    const uint64_t start = in.pos();
    PTXSMITH_ASSIGN_OR_RETURN(GgufEntry entry, ParseEntry(in, i));
    if (!file.entry_index_.emplace(entry.key, i).second) {
      return Broken(start, Quoted(entry.key), "the key occurs twice");
    }
    file.entries_.push_back(entry);
  }
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t alignment, Alignment(file, bytes));

  if (tensor_count > in.left() / kMinTensorBytes) {
    return Broken(8, "tensor count",
                  absl::StrCat(tensor_count, " tensors cannot fit ", in.left(), " bytes"));
  }
  std::vector<TensorHeader> headers;
  headers.reserve(tensor_count);
  for (uint64_t i = 0; i < tensor_count; ++i) {
    PTXSMITH_ASSIGN_OR_RETURN(TensorHeader header, ParseTensor(in, i));
    if (!file.tensor_index_.emplace(header.tensor.name, i).second) {
      return Broken(header.at, absl::StrCat("tensor ", Quoted(header.tensor.name)),
                    "the name occurs twice");
    }
    headers.push_back(header);
  }

  // A file without tensors may end before its padding.
  const uint64_t data_start =
      std::min<uint64_t>((in.pos() + alignment - 1) / alignment * alignment, bytes.size());
  file.tensors_.reserve(headers.size());
  for (TensorHeader& header : headers) {
    PTXSMITH_RETURN_IF_ERROR(Locate(header, bytes.subspan(data_start), alignment));
    file.tensors_.push_back(header.tensor);
  }
  PTXSMITH_RETURN_IF_ERROR(CheckOverlap(std::move(headers)));
  return file;
}

}  // namespace ptxsmith

#include "model/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

static_assert(std::endian::native == std::endian::little,
              "values are read as they lie in the file");

struct TypeRow {
  absl::string_view name;
  uint32_t bytes;
};
constexpr TypeRow kTypes[] = {{"u8", 1},  {"i8", 1},  {"u16", 2},  {"i16", 2},    {"u32", 4},
                              {"i32", 4}, {"f32", 4}, {"bool", 1}, {"string", 0}, {"array", 0},
                              {"u64", 8}, {"i64", 8}, {"f64", 8}};

const TypeRow& Row(GgufType type) { return kTypes[static_cast<uint32_t>(type)]; }

template <class T>
T Load(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

// `scalar` as a T when its kind fits and its value does.
template <class T>
std::optional<T> Narrow(const GgufScalar& scalar) {
  if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
    if (const auto* u = std::get_if<uint64_t>(&scalar)) {
      if (std::in_range<T>(*u)) return static_cast<T>(*u);
    } else if (const auto* i = std::get_if<int64_t>(&scalar)) {
      if (std::in_range<T>(*i)) return static_cast<T>(*i);
    }
  } else if constexpr (std::is_same_v<T, float>) {
    if (const auto* d = std::get_if<double>(&scalar)) return static_cast<float>(*d);
  } else {
    if (const auto* same = std::get_if<T>(&scalar)) return *same;
  }
  return std::nullopt;
}

}  // namespace

absl::string_view ToString(GgufType type) { return Row(type).name; }
uint32_t ElementBytes(GgufType type) { return Row(type).bytes; }

std::vector<GgufScalar> GgufEntry::Elements(uint64_t limit) const {
  std::vector<GgufScalar> result;
  const uint64_t wanted = std::min(limit, count);
  result.reserve(wanted);
  const uint8_t* p = bytes.data();
  for (uint64_t i = 0; i < wanted; ++i) {
    switch (element) {
      case GgufType::kU8:
        result.emplace_back(uint64_t{*p});
        break;
      case GgufType::kI8:
        result.emplace_back(int64_t{Load<int8_t>(p)});
        break;
      case GgufType::kU16:
        result.emplace_back(uint64_t{Load<uint16_t>(p)});
        break;
      case GgufType::kI16:
        result.emplace_back(int64_t{Load<int16_t>(p)});
        break;
      case GgufType::kU32:
        result.emplace_back(uint64_t{Load<uint32_t>(p)});
        break;
      case GgufType::kI32:
        result.emplace_back(int64_t{Load<int32_t>(p)});
        break;
      case GgufType::kU64:
        result.emplace_back(Load<uint64_t>(p));
        break;
      case GgufType::kI64:
        result.emplace_back(Load<int64_t>(p));
        break;
      case GgufType::kF32:
        result.emplace_back(double{Load<float>(p)});
        break;
      case GgufType::kF64:
        result.emplace_back(Load<double>(p));
        break;
      case GgufType::kBool:
        result.emplace_back(*p != 0);
        break;
      case GgufType::kString: {
        const auto length = Load<uint64_t>(p);
        const char* text = reinterpret_cast<const char*>(p + sizeof length);
        result.emplace_back(absl::string_view(text, length));
        p += sizeof length + length;
        break;
      }
      case GgufType::kArray:  // refused by the parser
        break;
    }
    p += ElementBytes(element);
  }
  return result;
}

absl::StatusOr<GgufFile> GgufFile::ParseShared(absl::Span<const uint8_t> bytes,
                                               std::shared_ptr<const void> owner) {
  absl::StatusOr<GgufFile> file = Parse(bytes);
  if (file.ok()) file->owners_.push_back(std::move(owner));
  return file;
}

const GgufEntry* GgufFile::FindEntry(absl::string_view key) const {
  const auto it = entry_index_.find(key);
  return it == entry_index_.end() ? nullptr : &entries_[it->second];
}

const GgufTensor* GgufFile::FindTensor(absl::string_view name) const {
  const auto it = tensor_index_.find(name);
  return it == tensor_index_.end() ? nullptr : &tensors_[it->second];
}

template <class T>
absl::StatusOr<T> GgufFile::GetScalar(absl::string_view key, absl::string_view kind) const {
  const GgufEntry* entry = FindEntry(key);
  if (entry == nullptr) return absl::NotFoundError(absl::StrCat("GGUF: no key '", key, "'"));
  if (!entry->is_array) {
    if (const std::optional<T> value = Narrow<T>(entry->Elements(1)[0])) return *value;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("GGUF: '", key, "' is ", entry->is_array ? "an array of " : "a value of type ",
                   ToString(entry->element), " that is not ", kind));
}

template <class T>
absl::StatusOr<std::vector<T>> GgufFile::GetArray(absl::string_view key,
                                                  absl::string_view kind) const {
  const GgufEntry* entry = FindEntry(key);
  if (entry == nullptr) return absl::NotFoundError(absl::StrCat("GGUF: no key '", key, "'"));
  if (!entry->is_array) {
    return absl::InvalidArgumentError(absl::StrCat(
        "GGUF: '", key, "' is a single ", ToString(entry->element), ", not an array of ", kind));
  }
  std::vector<T> result;
  result.reserve(entry->count);
  for (const GgufScalar& scalar : entry->Elements(entry->count)) {
    const std::optional<T> value = Narrow<T>(scalar);
    if (!value) {
      return absl::InvalidArgumentError(absl::StrCat("GGUF: '", key, "' is an array of ",
                                                     ToString(entry->element), " whose element ",
                                                     result.size(), " is not one of ", kind));
    }
    result.push_back(*value);
  }
  return result;
}

absl::StatusOr<uint32_t> GgufFile::GetU32(absl::string_view key) const {
  return GetScalar<uint32_t>(key, "an integer from 0 to 4294967295");
}
absl::StatusOr<float> GgufFile::GetF32(absl::string_view key) const {
  return GetScalar<float>(key, "a float");
}
absl::StatusOr<bool> GgufFile::GetBool(absl::string_view key) const {
  return GetScalar<bool>(key, "a bool");
}
absl::StatusOr<absl::string_view> GgufFile::GetString(absl::string_view key) const {
  return GetScalar<absl::string_view>(key, "a string");
}
absl::StatusOr<std::vector<int64_t>> GgufFile::GetInts(absl::string_view key) const {
  return GetArray<int64_t>(key, "64-bit integers");
}
absl::StatusOr<std::vector<float>> GgufFile::GetFloats(absl::string_view key) const {
  return GetArray<float>(key, "floats");
}
absl::StatusOr<std::vector<absl::string_view>> GgufFile::GetStrings(absl::string_view key) const {
  return GetArray<absl::string_view>(key, "strings");
}

}  // namespace ptxsmith

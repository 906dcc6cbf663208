#include "runtime/cubin_entry.h"

#include <cstring>
#include <initializer_list>

// The hash is compiled in: faster for short inputs, and no library to link.
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

constexpr absl::string_view kMagic = "ptxsmith";
constexpr uint32_t kFormat = 1;
constexpr size_t kHashBytes = sizeof(Hash128);

// The checksum stands last, over all bytes before it.

void PutNumber(std::string* out, uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

// With its length before it, so that no two lists of texts give the same bytes.
void PutText(std::string* out, absl::string_view text) {
  PutNumber(out, text.size(), 8);
  out->append(text.data(), text.size());
}

absl::string_view Bytes(const Hash128& hash) {
  return {reinterpret_cast<const char*>(hash.data()), hash.size()};
}

// Reads what the functions above wrote; a read beyond the end fails.
class Reader {
 public:
  explicit Reader(absl::string_view bytes) : rest_(bytes) {}

  absl::StatusOr<absl::string_view> Take(uint64_t count) {
    if (count > rest_.size()) return absl::DataLossError("the entry ends too early");
    const absl::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(count);
    return taken;
  }
  absl::StatusOr<uint64_t> Number(int bytes) {
    PTXSMITH_ASSIGN_OR_RETURN(const absl::string_view taken, Take(static_cast<uint64_t>(bytes)));
    uint64_t value = 0;
    for (int i = 0; i < bytes; ++i) value |= uint64_t{static_cast<uint8_t>(taken[i])} << (8 * i);
    return value;
  }
  absl::StatusOr<absl::string_view> Text() {
    PTXSMITH_ASSIGN_OR_RETURN(const uint64_t size, Number(8));
    return Take(size);
  }
  absl::string_view rest() const { return rest_; }

 private:
  absl::string_view rest_;
};

}  // namespace

Hash128 HashOf(absl::string_view bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  Hash128 hash;
  static_assert(sizeof(canonical) == sizeof(hash));
  std::memcpy(hash.data(), &canonical, sizeof(hash));
  return hash;
}

std::string ToHex(const Hash128& hash) { return absl::BytesToHexString(Bytes(hash)); }

std::string CubinId::Name() const {
  std::string all;
  for (const absl::string_view part : {absl::string_view(key), Bytes(ptx_hash),
                                       absl::string_view(compiler), absl::string_view(arch)}) {
    PutText(&all, part);
  }
  return ToHex(HashOf(all));
}

CubinId CubinIdOf(const KernelSpec& spec, absl::string_view compiler, absl::string_view arch) {
  return {spec.key, HashOf(spec.ptx), std::string(compiler), std::string(arch)};
}

std::string EncodeEntry(const CubinId& id, absl::string_view cubin) {
  std::string bytes(kMagic);
  PutNumber(&bytes, kFormat, 4);
  PutText(&bytes, id.key);
  bytes.append(Bytes(id.ptx_hash).data(), kHashBytes);
  PutText(&bytes, id.compiler);
  PutText(&bytes, id.arch);
  PutText(&bytes, cubin);
  const Hash128 checksum = HashOf(bytes);
  bytes.append(Bytes(checksum).data(), kHashBytes);
  return bytes;
}

absl::StatusOr<CubinEntry> DecodeEntry(absl::string_view bytes) {
  Reader reader(bytes);
  PTXSMITH_ASSIGN_OR_RETURN(const absl::string_view magic, reader.Take(kMagic.size()));
  if (magic != kMagic) return absl::DataLossError("not an entry of the cache");
  PTXSMITH_ASSIGN_OR_RETURN(const uint64_t format, reader.Number(4));
  if (format != kFormat) {
    return absl::DataLossError(
        absl::StrCat("an entry of format ", format, "; this program knows ", kFormat));
  }
  CubinEntry entry;
  PTXSMITH_ASSIGN_OR_RETURN(const absl::string_view key, reader.Text());
  PTXSMITH_ASSIGN_OR_RETURN(const absl::string_view ptx_hash, reader.Take(kHashBytes));
  PTXSMITH_ASSIGN_OR_RETURN(const absl::string_view compiler, reader.Text());
  PTXSMITH_ASSIGN_OR_RETURN(const absl::string_view arch, reader.Text());
  PTXSMITH_ASSIGN_OR_RETURN(entry.cubin, reader.Text());
  if (reader.rest().size() != kHashBytes) {
    return absl::DataLossError(absl::StrCat("the entry has ", bytes.size(),
                                            " bytes, its header says ",
                                            bytes.size() - reader.rest().size() + kHashBytes));
  }
  const Hash128 checksum = HashOf(bytes.substr(0, bytes.size() - kHashBytes));
  if (reader.rest() != Bytes(checksum)) {
    return absl::DataLossError("the checksum of the entry is wrong");
  }
  entry.id.key = std::string(key);
  std::memcpy(entry.id.ptx_hash.data(), ptx_hash.data(), kHashBytes);
  entry.id.compiler = std::string(compiler);
  entry.id.arch = std::string(arch);
  return entry;
}

}  // namespace ptxsmith

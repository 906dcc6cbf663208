// One entry of the disk cache as bytes: what identifies it, the code, and a checksum over all of
// it.
//
//   const std::string bytes = EncodeEntry(id, cubin);
//   PTXSMITH_ASSIGN_OR_RETURN(const CubinEntry entry, DecodeEntry(bytes));   // views into `bytes`
//   if (entry.id == id) Load(entry.cubin);
//
// Pure functions. The format is fixed (little endian, version in the header), so that a folder can
// be filled on one machine and used on another.
#ifndef PTXSMITH_RUNTIME_CUBIN_ENTRY_H_
#define PTXSMITH_RUNTIME_CUBIN_ENTRY_H_

#include <array>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "codegen/kernel_spec.h"

namespace ptxsmith {

using Hash128 = std::array<uint8_t, 16>;

// XXH3, 128 bits, in its canonical byte order.
Hash128 HashOf(absl::string_view bytes);
std::string ToHex(const Hash128& hash);

// Everything the code of a kernel depends on.
struct CubinId {
  std::string key;        // KernelSpec::key
  Hash128 ptx_hash = {};  // of KernelSpec::ptx: a changed generator makes another entry by itself
  std::string compiler;   // PtxCompiler::id
  std::string arch;       // the GPU compiled for: "sm_90"

  // 32 hexadecimal digits of a hash over all of the above.
  std::string Name() const;
  friend bool operator==(const CubinId&, const CubinId&) = default;
};

CubinId CubinIdOf(const KernelSpec& spec, absl::string_view compiler, absl::string_view arch);

struct CubinEntry {
  CubinId id;
  absl::string_view cubin;
};

std::string EncodeEntry(const CubinId& id, absl::string_view cubin);

// DataLoss says what is wrong: any flipped bit, a missing or an additional byte.
absl::StatusOr<CubinEntry> DecodeEntry(absl::string_view bytes);

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_CUBIN_ENTRY_H_

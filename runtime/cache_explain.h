// Why a kernel is or is not in the disk cache, in words.
//
//   const CubinId wanted = CubinIdOf(spec, compiler->id(), "sm_90");
//   puts(ExplainLookup(disk->List(), wanted).c_str());
//     miss: gemv:k=4096,n=512@sm_90.ptx78 was never compiled here
//     nearest: gemv:k=4096,n=256@sm_90.ptx78: n=256, wanted n=512
//
// Pure functions.
#ifndef PTXSMITH_RUNTIME_CACHE_EXPLAIN_H_
#define PTXSMITH_RUNTIME_CACHE_EXPLAIN_H_

#include <string>
#include <vector>

#include "runtime/cubin_entry.h"
#include "runtime/disk_cache.h"

namespace ptxsmith {

// The first line starts with "hit: " or "miss: "; further ones tell each entry of the same key and
// in what it differs, or else the key of the same family with the fewest different fields.
std::string ExplainLookup(const std::vector<DiskCache::Entry>& entries, const CubinId& wanted);

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_CACHE_EXPLAIN_H_

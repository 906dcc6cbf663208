// Compiled kernels on disk, shared by all processes of one user. An entry is found by everything
// that decides its content (CubinId), carries all of it, and is compared in full: a hit can be
// neither stale nor torn.
//
//   PTXSMITH_ASSIGN_OR_RETURN(auto disk, DiskCache::Open({.folder = flags.cache_dir}));
//   std::optional<std::string> cubin = disk->Find(id);
//   if (!cubin) disk->Store(id, Compile());
//
// Rules of the folder:
//  1. An entry appears whole, by rename; who loses a race replaces equal content.
//  2. Content that is wrong (size, checksum, id) is removed and reported as a miss. A file that
//     cannot be read is left alone and reported as a miss.
//  3. A folder or disk that cannot be written turns the cache read-only, said once.
//  4. Folders and files that another user owns or may write are never read: they hold code.
//  5. Beyond `max_bytes` the entries unused for longest go, down to four fifths.
//
// Thread-safe; any number of processes may share a folder. Find and Store fail quietly by design:
// the counters and the log tell. Open: FailedPrecondition for a folder of somebody else's or one
// that is none, Unavailable when it cannot be made.
#ifndef PTXSMITH_RUNTIME_DISK_CACHE_H_
#define PTXSMITH_RUNTIME_DISK_CACHE_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/cubin_entry.h"
#include "runtime/debug_flags.h"

namespace ptxsmith {

struct DiskCacheStats {
  uint64_t hits = 0;
  uint64_t misses = 0;     // also those of the next two
  uint64_t corrupt = 0;    // wrong content, removed
  uint64_t io_errors = 0;  // files that could not be read or written
  uint64_t stored = 0;
  uint64_t evicted = 0;
};

class DiskCache {
 public:
  struct Options {
    std::string folder;
    uint64_t max_bytes = uint64_t{1} << 30;
    LogSink log = LogToStderr;
  };

  // Makes the folder, for this user only, when there is none.
  static absl::StatusOr<std::shared_ptr<DiskCache>> Open(Options options);

  // The code stored under this id.
  std::optional<std::string> Find(const CubinId& id);

  // Keeps `cubin` for later; whether it could is in stats().
  void Store(const CubinId& id, absl::string_view cubin);

  // One file of the folder.
  struct Entry {
    std::string path;
    CubinId id;  // as far as it could be read
    uint64_t file_bytes = 0;
    int64_t used = 0;     // seconds since 1970, exact to a day
    absl::Status status;  // DataLoss: wrong content; Unavailable: cannot be read
  };
  // All entries, checked, by key. Removes nothing.
  std::vector<Entry> List() const;

  // Removes these and returns how many bytes that freed; Unavailable names a file that stays.
  absl::StatusOr<uint64_t> Remove(const std::vector<Entry>& entries);

  // Removes the entries unused for longest and what killed processes left. Store does it by itself.
  void Sweep();

  const std::string& folder() const { return options_.folder; }
  uint64_t max_bytes() const { return options_.max_bytes; }
  DiskCacheStats stats() const;

 private:
  explicit DiskCache(Options options);
  std::string PathOf(const CubinId& id) const;
  absl::Status Publish(const std::string& path, absl::string_view bytes);

  const Options options_;
  const std::string temporary_prefix_;  // of names that no other process uses
  std::atomic<bool> writable_ = true;
  std::atomic<uint64_t> next_temporary_ = 0;
  mutable std::mutex mutex_;
  DiskCacheStats stats_;      // under mutex_
  uint64_t until_sweep_ = 0;  // bytes that may still be stored before the next, under mutex_
};

}  // namespace ptxsmith

#endif  // PTXSMITH_RUNTIME_DISK_CACHE_H_

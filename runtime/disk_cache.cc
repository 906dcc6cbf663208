#include "runtime/disk_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <filesystem>
#include <random>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

namespace fs = std::filesystem;

constexpr char kSuffix[] = ".cubin";
constexpr char kTemporarySuffix[] = ".tmp";
// Far above any kernel, far below what a mistaken file could make us allocate.
constexpr uint64_t kMaxEntryBytes = uint64_t{256} << 20;
// Use is noted at most this often, so that a hit is no write.
constexpr int64_t kUseGranularity = 24 * 3600;
// A write takes milliseconds; a temporary file of this age has lost its process.
constexpr int64_t kTemporaryLife = 3600;

std::string ErrnoText(int error) { return std::generic_category().message(error); }

absl::Status Unreadable(const std::string& path, absl::string_view why) {
  return absl::UnavailableError(absl::StrCat("cannot read ", path, ": ", why));
}

class File {
 public:
  File(const std::string& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC, 0600)) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { Close(); }

  int fd() const { return fd_; }
  bool Close() {
    const int fd = std::exchange(fd_, -1);
    return fd < 0 || close(fd) == 0;
  }

 private:
  int fd_;
};

// Owned by this user and writable by nobody else.
bool IsPrivate(const struct stat& info) {
  return info.st_uid == geteuid() && (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

struct FileContent {
  std::string bytes;
  int64_t modified = 0;
};

// NotFound when there is no such file, DataLoss when it cannot be an entry, Unavailable otherwise.
absl::StatusOr<FileContent> ReadEntryFile(const std::string& path) {
  const File file(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (file.fd() < 0) {
    if (errno == ENOENT) return absl::NotFoundError(path);
    return Unreadable(path, ErrnoText(errno));
  }
  struct stat info = {};
  if (fstat(file.fd(), &info) != 0) return Unreadable(path, ErrnoText(errno));
  if (!S_ISREG(info.st_mode)) return Unreadable(path, "it is no file");
  if (!IsPrivate(info)) {
    return Unreadable(path, "another user owns it or may write it, and it would be run");
  }
  const auto size = static_cast<uint64_t>(info.st_size);
  if (size > kMaxEntryBytes) {
    return absl::DataLossError(
        absl::StrCat("the entry has ", size, " bytes, the limit is ", kMaxEntryBytes));
  }
  FileContent content{std::string(size, '\0'), info.st_mtime};
  for (size_t done = 0; done < size;) {
    const ssize_t count = read(file.fd(), content.bytes.data() + done, size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Unreadable(path, ErrnoText(errno));
    if (count == 0) return absl::DataLossError("the entry became shorter while it was read");
    done += static_cast<size_t>(count);
  }
  return content;
}

absl::Status WriteError(const std::string& path) {
  return absl::UnavailableError(absl::StrCat("cannot write ", path, ": ", ErrnoText(errno)));
}

absl::Status WriteNewFile(const std::string& path, absl::string_view bytes) {
  File file(path, O_WRONLY | O_CREAT | O_EXCL);
  if (file.fd() < 0) return WriteError(path);
  while (!bytes.empty()) {
    const ssize_t count = write(file.fd(), bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return WriteError(path);
    bytes.remove_prefix(static_cast<size_t>(count));
  }
  // Not synced: after a power failure the checksum tells, and a kernel is compiled again.
  return file.Close() ? absl::OkStatus() : WriteError(path);
}

struct Listed {
  std::string path;
  uint64_t bytes = 0;
  int64_t modified = 0;
};

// The files of the folder whose names end so.
std::vector<Listed> FilesOf(const std::string& folder, absl::string_view suffix) {
  std::vector<Listed> files;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    Listed file{it->path().string()};
    struct stat info = {};
    if (!absl::EndsWith(file.path, suffix) || lstat(file.path.c_str(), &info) != 0) continue;
    file.bytes = static_cast<uint64_t>(info.st_size);
    file.modified = info.st_mtime;
    files.push_back(std::move(file));
  }
  return files;
}

// Creates it with its parents, each for this user only.
absl::Status MakeFolder(const std::string& folder) {
  for (size_t at = 1; at != std::string::npos;) {
    at = folder.find('/', at);
    const std::string parent = folder.substr(0, at);
    if (mkdir(parent.c_str(), 0700) != 0 && errno != EEXIST && errno != EROFS && errno != EACCES) {
      return absl::UnavailableError(
          absl::StrCat("cannot make the folder ", parent, ": ", ErrnoText(errno)));
    }
    if (at != std::string::npos) ++at;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<DiskCache>> DiskCache::Open(Options options) {
  PTXSMITH_RETURN_IF_ERROR(MakeFolder(options.folder));
  struct stat info = {};
  if (stat(options.folder.c_str(), &info) != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot open the folder ", options.folder, ": ", ErrnoText(errno)));
  }
  if (!S_ISDIR(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat(options.folder, " is no folder"));
  }
  if (!IsPrivate(info)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the folder ", options.folder,
        " belongs to another user or others may write it, and its files would be run"));
  }
  return std::shared_ptr<DiskCache>(new DiskCache(std::move(options)));
}

DiskCache::DiskCache(Options options)
    : options_(std::move(options)),
      temporary_prefix_(absl::StrCat(".", absl::Hex(std::random_device{}()), "-")) {}

std::string DiskCache::PathOf(const CubinId& id) const {
  return absl::StrCat(options_.folder, "/", id.Name(), kSuffix);
}

std::optional<std::string> DiskCache::Find(const CubinId& id) {
  const std::string path = PathOf(id);
  absl::StatusOr<FileContent> content = ReadEntryFile(path);
  absl::Status status = content.status();
  std::optional<std::string> cubin;
  if (content.ok()) {
    const absl::StatusOr<CubinEntry> entry = DecodeEntry(content->bytes);
    status = entry.status();
    if (entry.ok() && !(entry->id == id)) {
      status = absl::DataLossError(absl::StrCat("it is the entry of ", entry->id.key));
    }
    if (status.ok()) cubin = std::string(entry->cubin);
    if (std::time(nullptr) - content->modified > kUseGranularity) {
      utimensat(AT_FDCWD, path.c_str(), nullptr, 0);  // failing, the entry only looks unused
    }
  }
  if (absl::IsDataLoss(status)) {
    unlink(path.c_str());
    options_.log(absl::StrCat("cache: removed ", path, ": ", status.message()));
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  ++(cubin.has_value() ? stats_.hits : stats_.misses);
  if (absl::IsDataLoss(status)) ++stats_.corrupt;
  if (absl::IsUnavailable(status)) ++stats_.io_errors;
  return cubin;
}

void DiskCache::Store(const CubinId& id, absl::string_view cubin) {
  if (!writable_.load(std::memory_order_relaxed)) return;
  const std::string bytes = EncodeEntry(id, cubin);
  const absl::Status status = Publish(PathOf(id), bytes);
  if (!status.ok()) {
    // Said by the first only: what holds for one file of the folder holds for the next.
    if (writable_.exchange(false)) {
      options_.log(absl::StrCat("cache: ", status.message(), "; nothing more will be kept"));
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    ++stats_.io_errors;
    return;
  }
  bool sweep = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++stats_.stored;
    sweep = until_sweep_ < bytes.size();
    until_sweep_ = sweep ? options_.max_bytes / 16 : until_sweep_ - bytes.size();
  }
  if (sweep) Sweep();
}

absl::Status DiskCache::Publish(const std::string& path, absl::string_view bytes) {
  // The process is part of the name because a fork has the same prefix and counter.
  const std::string temporary = absl::StrCat(options_.folder, "/", temporary_prefix_, getpid(), "-",
                                             next_temporary_.fetch_add(1), kTemporarySuffix);
  absl::Status status = WriteNewFile(temporary, bytes);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) status = WriteError(path);
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

std::vector<DiskCache::Entry> DiskCache::List() const {
  std::vector<Entry> entries;
  for (Listed& file : FilesOf(options_.folder, kSuffix)) {
    Entry entry;
    entry.file_bytes = file.bytes;
    entry.used = file.modified;
    const absl::StatusOr<FileContent> content = ReadEntryFile(file.path);
    if (absl::IsNotFound(content.status())) continue;  // another process has removed it
    entry.status = content.status();
    if (content.ok()) {
      absl::StatusOr<CubinEntry> decoded = DecodeEntry(content->bytes);
      entry.status = decoded.status();
      if (decoded.ok()) entry.id = std::move(decoded->id);
      if (decoded.ok() && PathOf(entry.id) != file.path) {
        entry.status = absl::DataLossError(absl::StrCat("it is the entry of ", entry.id.key));
      }
    }
    entry.path = std::move(file.path);
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.id.key, a.path) < std::tie(b.id.key, b.path);
  });
  return entries;
}

absl::StatusOr<uint64_t> DiskCache::Remove(const std::vector<Entry>& entries) {
  uint64_t bytes = 0;
  for (const Entry& entry : entries) {
    if (unlink(entry.path.c_str()) == 0) {
      bytes += entry.file_bytes;
    } else if (errno != ENOENT) {
      return absl::UnavailableError(
          absl::StrCat("cannot remove ", entry.path, ": ", ErrnoText(errno)));
    }
  }
  return bytes;
}

void DiskCache::Sweep() {
  for (const Listed& file : FilesOf(options_.folder, kTemporarySuffix)) {
    if (std::time(nullptr) - file.modified > kTemporaryLife) unlink(file.path.c_str());
  }
  std::vector<Listed> files = FilesOf(options_.folder, kSuffix);
  uint64_t total = 0;
  for (const Listed& file : files) total += file.bytes;
  if (total <= options_.max_bytes) return;
  std::sort(files.begin(), files.end(), [](const Listed& a, const Listed& b) {
    return std::tie(a.modified, a.path) < std::tie(b.modified, b.path);
  });
  uint64_t removed = 0;
  for (const Listed& file : files) {
    if (total <= options_.max_bytes / 5 * 4) break;
    total -= file.bytes;  // also when another process was faster
    if (unlink(file.path.c_str()) == 0) ++removed;
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  stats_.evicted += removed;
}

DiskCacheStats DiskCache::stats() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stats_;
}

}  // namespace ptxsmith

#include "tools/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

absl::Status Failure(absl::string_view what, const std::string& path, int error) {
  const std::string message =
      absl::StrCat(what, " '", path, "': ", std::generic_category().message(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::InvalidArgumentError(message);
}

class File {
 public:
  File(const std::string& path, int flags) : fd_(open(path.c_str(), flags | O_CLOEXEC, 0666)) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { Close(); }

  int fd() const { return fd_; }
  // False where the last data could not be written.
  bool Close() {
    const int fd = fd_;
    fd_ = -1;
    return fd < 0 || close(fd) == 0;
  }

 private:
  int fd_;
};

absl::Status WriteAll(const std::string& path, int flags, absl::string_view text) {
  File file(path, O_WRONLY | flags);
  if (file.fd() < 0) return Failure("cannot write", path, errno);
  while (!text.empty()) {
    const ssize_t count = write(file.fd(), text.data(), text.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Failure("cannot write", path, errno);
    text.remove_prefix(static_cast<size_t>(count));
  }
  return file.Close() ? absl::OkStatus() : Failure("cannot write", path, errno);
}

}  // namespace

absl::StatusOr<std::string> ReadText(const std::string& path) {
  const File file(path, O_RDONLY);
  if (file.fd() < 0) return Failure("cannot read", path, errno);
  std::string text;
  char chunk[1 << 16];
  for (;;) {
    const ssize_t count = read(file.fd(), chunk, sizeof(chunk));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return Failure("cannot read", path, errno);
    if (count == 0) return text;
    text.append(chunk, static_cast<size_t>(count));
  }
}

absl::Status WriteFile(const std::string& path, absl::string_view text) {
  struct stat info = {};
  if (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) return WriteAll(path, 0, text);
  const std::string temporary = absl::StrCat(path, ".", getpid(), ".tmp");
  absl::Status status = WriteAll(temporary, O_CREAT | O_EXCL, text);
  if (status.ok() && rename(temporary.c_str(), path.c_str()) != 0) {
    status = Failure("cannot write", path, errno);
  }
  if (!status.ok()) unlink(temporary.c_str());
  return status;
}

}  // namespace ptxsmith

// GGUF files on disk: mapping, and joining the parts of a split model.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "codegen/status_macros.h"
#include "model/gguf.h"

namespace ptxsmith {
namespace {

constexpr absl::string_view kCountKey = "split.count";
constexpr absl::string_view kNumberKey = "split.no";
constexpr absl::string_view kTensorsKey = "split.tensors.count";

struct Mapping {
  std::shared_ptr<const void> owner;
  absl::Span<const uint8_t> bytes;
};

absl::StatusOr<Mapping> Map(const std::string& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open '", path, "'"));
  struct stat info;
  absl::Status status;
  void* address = nullptr;
  if (fstat(fd, &info) != 0) {
    status = absl::ErrnoToStatus(errno, absl::StrCat("cannot stat '", path, "'"));
  } else if (!S_ISREG(info.st_mode)) {
    status = absl::InvalidArgumentError(absl::StrCat("'", path, "' is not a regular file"));
  } else if (info.st_size == 0) {
    status = absl::InvalidArgumentError(absl::StrCat("'", path, "' is empty"));
  } else {
    address = mmap(nullptr, info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (address == MAP_FAILED) {
      status = absl::ErrnoToStatus(errno, absl::StrCat("cannot map '", path, "'"));
    }
  }
  close(fd);  // the mapping stays
  PTXSMITH_RETURN_IF_ERROR(status);
  const size_t size = info.st_size;
  return Mapping{std::shared_ptr<const void>(
                     address, [size](const void* p) { munmap(const_cast<void*>(p), size); }),
                 {static_cast<const uint8_t*>(address), size}};
}

absl::Status InFile(const std::string& path, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
}

// How the parts of a split model are named: the end of the name of part `number`, from 0.
std::string PartSuffix(uint32_t number, uint32_t count) {
  return absl::StrFormat("-%05u-of-%05u.gguf", number + 1, count);
}

}  // namespace

absl::StatusOr<GgufFile> GgufFile::OpenPart(const std::string& path) {
  PTXSMITH_ASSIGN_OR_RETURN(Mapping mapping, Map(path));
  absl::StatusOr<GgufFile> file = ParseShared(mapping.bytes, std::move(mapping.owner));
  if (!file.ok()) return InFile(path, file.status());
  return file;
}

absl::StatusOr<GgufFile> GgufFile::Open(const std::string& path) {
  PTXSMITH_ASSIGN_OR_RETURN(GgufFile file, OpenPart(path));
  const absl::StatusOr<uint32_t> count = OrDefault(file.GetU32(kCountKey), 1u);
  if (!count.ok()) return InFile(path, count.status());
  if (*count < 2) return file;
  if (absl::Status status = file.JoinParts(path, *count); !status.ok()) {
    return InFile(path, status);
  }
  return file;
}

absl::Status GgufFile::JoinParts(const std::string& path, uint32_t count) {
  absl::string_view stem = path;
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t first, GetU32(kNumberKey));
  if (first != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("part ", first + 1, " of ", count, " of a model; open the first"));
  }
  if (!absl::ConsumeSuffix(&stem, PartSuffix(0, count))) {
    return absl::InvalidArgumentError(absl::StrCat("the first of ", count,
                                                   " parts of a model, but its name does not end "
                                                   "in '",
                                                   PartSuffix(0, count), "'"));
  }
  for (uint32_t number = 1; number < count; ++number) {
    const std::string part_path = absl::StrCat(stem, PartSuffix(number, count));
    PTXSMITH_ASSIGN_OR_RETURN(const GgufFile part, OpenPart(part_path));
    const absl::StatusOr<uint32_t> its_number = part.GetU32(kNumberKey);
    const absl::StatusOr<uint32_t> its_count = part.GetU32(kCountKey);
    if (!its_number.ok() || !its_count.ok() || *its_number != number || *its_count != count) {
      return absl::DataLossError(absl::StrCat("'", part_path, "' does not say that it is part ",
                                              number + 1, " of ", count));
    }
    for (const GgufTensor& tensor : part.tensors_) {
      if (!tensor_index_.emplace(tensor.name, tensors_.size()).second) {
        return absl::DataLossError(absl::StrCat("'", part_path, "' repeats the tensor ",
                                                tensor.name, " of a part before it"));
      }
      tensors_.push_back(tensor);
    }
    owners_.push_back(part.owners_[0]);
    size_ += part.size_;
    ++parts_;
  }
  PTXSMITH_ASSIGN_OR_RETURN(const uint32_t tensors, GetU32(kTensorsKey));
  if (tensors != tensors_.size()) {
    return absl::DataLossError(absl::StrCat(kTensorsKey, " = ", tensors, ", but the ", count,
                                            " parts have ", tensors_.size(), " tensors"));
  }
  return absl::OkStatus();
}

}  // namespace ptxsmith

#include "tools/logit_file.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

constexpr char kMagic[8] = {'P', 'T', 'X', 'S', 'M', 'L', 'G', '1'};

template <class T>
bool Write(std::FILE* file, absl::Span<const T> values) {
  return std::fwrite(values.data(), sizeof(T), values.size(), file) == values.size();
}

template <class T>
bool Read(std::FILE* file, absl::Span<T> values) {
  return std::fread(values.data(), sizeof(T), values.size(), file) == values.size();
}

}  // namespace

absl::StatusOr<LogitWriter> LogitWriter::Create(const std::string& path, uint32_t vocab,
                                                absl::Span<const TokenId> tokens) {
  LogitWriter writer(path);
  writer.file_.reset(std::fopen(writer.temporary_.c_str(), "wb"));
  if (writer.file_ == nullptr) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot write '", writer.temporary_, "'"));
  }
  const uint32_t sizes[] = {vocab, static_cast<uint32_t>(tokens.size())};
  if (!Write<char>(writer.file_.get(), kMagic) || !Write<uint32_t>(writer.file_.get(), sizes) ||
      !Write<TokenId>(writer.file_.get(), tokens)) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot write '", writer.temporary_, "'"));
  }
  return writer;
}

LogitWriter::~LogitWriter() {
  if (file_ != nullptr) unlink(temporary_.c_str());
}

absl::Status LogitWriter::Append(absl::Span<const float> logits) {
  if (Write<float>(file_.get(), logits)) return absl::OkStatus();
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot write '", temporary_, "'"));
}

absl::Status LogitWriter::Finish() {
  if (std::fflush(file_.get()) != 0 || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot write '", path_, "'"));
  }
  file_.reset();
  return absl::OkStatus();
}

absl::StatusOr<LogitReader> LogitReader::Open(const std::string& path, uint32_t vocab,
                                              absl::Span<const TokenId> tokens) {
  LogitReader reader(path);
  reader.file_.reset(std::fopen(path.c_str(), "rb"));
  if (reader.file_ == nullptr) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot read '", path, "'"));
  }
  std::FILE* file = reader.file_.get();
  char magic[sizeof kMagic] = {};
  uint32_t sizes[2] = {};
  if (!Read<char>(file, absl::MakeSpan(magic)) ||
      !std::equal(std::begin(magic), std::end(magic), kMagic) ||
      !Read<uint32_t>(file, absl::MakeSpan(sizes))) {
    return absl::DataLossError(absl::StrCat("'", path, "' holds no logits"));
  }
  if (sizes[0] != vocab || sizes[1] != tokens.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat("'", path, "' has logits over ", sizes[0], " tokens for a text of ", sizes[1],
                     ", not over ", vocab, " for one of ", tokens.size()));
  }
  std::vector<TokenId> stored(tokens.size());
  if (!Read<TokenId>(file, absl::MakeSpan(stored))) {
    return absl::DataLossError(absl::StrCat("'", path, "' ends within its tokens"));
  }
  if (tokens != absl::MakeConstSpan(stored)) {
    return absl::FailedPreconditionError(
        absl::StrCat("'", path, "' was made from another text or by another tokenizer"));
  }
  reader.row_.resize(vocab);
  return reader;
}

absl::StatusOr<absl::Span<const float>> LogitReader::Next() {
  if (!Read<float>(file_.get(), absl::MakeSpan(row_))) {
    return absl::DataLossError(absl::StrCat("'", path_, "' ends before the text does"));
  }
  if (!std::all_of(row_.begin(), row_.end(), [](float x) { return std::isfinite(x); })) {
    return absl::DataLossError(absl::StrCat("'", path_, "' holds a logit that is not finite"));
  }
  return absl::MakeConstSpan(row_);
}

}  // namespace ptxsmith

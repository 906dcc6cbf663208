#include "tools/logit_file.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <limits>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "codegen/status_macros.h"

namespace ptxsmith {
namespace {

constexpr char kMagic[8] = {'_', 'l', 'o', 'g', 'i', 't', 's', '_'};
// How far below the largest logit a row reaches; and the least log-probability that counts.
constexpr float kRange = 16;

// Behind the magic.
struct Header {
  uint32_t window;
  uint32_t vocab;
  uint32_t windows;
};

// Before the codes of a row.
struct Scale {
  float step;
  float offset;
};

size_t CodesOf(uint32_t vocab) { return size_t{vocab} + vocab % 2; }

template <class T>
bool Write(std::FILE* file, absl::Span<const T> values) {
  return std::fwrite(values.data(), sizeof(T), values.size(), file) == values.size();
}

template <class T>
bool Read(std::FILE* file, absl::Span<T> values) {
  return std::fread(values.data(), sizeof(T), values.size(), file) == values.size();
}

absl::Status CannotWrite(const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot write '", path, "'"));
}

}  // namespace

LogitWriter::LogitWriter(const std::string& path, uint32_t vocab)
    : path_(path), temporary_(path + ".tmp"), codes_(CodesOf(vocab)) {}

absl::StatusOr<LogitWriter> LogitWriter::Create(const std::string& path, uint32_t vocab,
                                                uint32_t window, absl::Span<const TokenId> tokens) {
  LogitWriter writer(path, vocab);
  writer.file_.reset(std::fopen(writer.temporary_.c_str(), "wb"));
  if (writer.file_ == nullptr) return CannotWrite(writer.temporary_);
  const Header header = {window, vocab, static_cast<uint32_t>(tokens.size() / window)};
  if (!Write<char>(writer.file_.get(), kMagic) ||
      !Write<Header>(writer.file_.get(), {&header, 1}) ||
      !Write<TokenId>(writer.file_.get(), tokens)) {
    return CannotWrite(writer.temporary_);
  }
  return writer;
}

LogitWriter::~LogitWriter() {
  if (file_ != nullptr) unlink(temporary_.c_str());
}

absl::Status LogitWriter::Append(absl::Span<const float> logits) {
  const auto [least, most] = std::minmax_element(logits.begin(), logits.end());
  const float low = std::max(*least, *most - kRange);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit} - *most);
  const Scale scale = {(*most - low) / std::numeric_limits<uint16_t>::max(),
                       static_cast<float>(double{low} - *most - std::log(sum))};
  std::transform(logits.begin(), logits.end(), codes_.begin(), [&](float logit) -> uint16_t {
    if (logit <= low) return 0;
    return static_cast<uint16_t>(std::min(65535l, std::lround((logit - low) / scale.step)));
  });
  if (Write<Scale>(file_.get(), {&scale, 1}) && Write<uint16_t>(file_.get(), codes_)) {
    return absl::OkStatus();
  }
  return CannotWrite(temporary_);
}

absl::Status LogitWriter::Finish() {
  if (std::fflush(file_.get()) != 0 || std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return CannotWrite(path_);
  }
  file_.reset();
  return absl::OkStatus();
}

absl::StatusOr<LogitReader> LogitReader::Open(const std::string& path) {
  LogitReader reader(path);
  reader.file_.reset(std::fopen(path.c_str(), "rb"));
  if (reader.file_ == nullptr) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot read '", path, "'"));
  }
  std::FILE* const file = reader.file_.get();
  char magic[sizeof kMagic] = {};
  Header header = {};
  if (!Read<char>(file, absl::MakeSpan(magic)) ||
      !std::equal(std::begin(magic), std::end(magic), kMagic) ||
      !Read<Header>(file, {&header, 1})) {
    return absl::DataLossError(absl::StrCat("'", path, "' holds no logits"));
  }
  // In double, where what hostile files say does not wrap around.
  std::error_code error;
  const double size = static_cast<double>(std::filesystem::file_size(path, error));
  const double row = sizeof(Scale) + static_cast<double>(CodesOf(header.vocab)) * sizeof(uint16_t);
  const double window = header.window * 4.0 + (header.window - 1 - header.window / 2) * row;
  const double want = sizeof kMagic + sizeof header + header.windows * window;
  if (error || header.window < 3 || header.windows == 0 || header.vocab == 0 || size != want) {
    return absl::DataLossError(absl::StrCat("'", path, "' has ", size, " bytes, not those of ",
                                            header.windows, " windows of ", header.window,
                                            " tokens out of ", header.vocab));
  }
  reader.window_ = header.window;
  reader.tokens_.resize(uint64_t{header.windows} * header.window);
  if (!Read<TokenId>(file, absl::MakeSpan(reader.tokens_))) {
    return absl::DataLossError(absl::StrCat("'", path, "' ends within its tokens"));
  }
  reader.codes_.resize(CodesOf(header.vocab));
  reader.row_.resize(header.vocab);
  return reader;
}

absl::StatusOr<absl::Span<const float>> LogitReader::Next() {
  Scale scale = {};
  if (!Read<Scale>(file_.get(), {&scale, 1}) ||
      !Read<uint16_t>(file_.get(), absl::MakeSpan(codes_))) {
    return absl::DataLossError(absl::StrCat("'", path_, "' ends before the text does"));
  }
  bool any = false;
  for (size_t i = 0; i < row_.size(); ++i) {
    const float value = scale.step * static_cast<float>(codes_[i]) + scale.offset;
    const bool counts = std::isfinite(value) && value > -kRange;
    row_[i] = counts ? value : -std::numeric_limits<float>::infinity();
    any |= counts;
  }
  if (!any)
    return absl::DataLossError(absl::StrCat("'", path_, "' holds a row without predictions"));
  return absl::MakeConstSpan(row_);
}

}  // namespace ptxsmith

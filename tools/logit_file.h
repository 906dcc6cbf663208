// Files with the logits of a model over a text, for comparing another model with it: what
// `ptxsmith perplexity --kl-base` writes and `--kl` reads.
//
//   PTXSMITH_ASSIGN_OR_RETURN(LogitWriter writer, LogitWriter::Create("base.logits", vocab,
//   tokens)); PTXSMITH_RETURN_IF_ERROR(writer.Append(logits));    // once per scored token
//   PTXSMITH_RETURN_IF_ERROR(writer.Finish());
//
// Layout, little endian: "PTXSMLG1", u32 vocabulary, u32 count of tokens, the tokens (u32), then
// rows of f32 logits, one per scored token. Nothing is rounded, so a model's divergence from itself
// is zero.
//
// Thread-safety: each object belongs to one thread.
#ifndef PTXSMITH_TOOLS_LOGIT_FILE_H_
#define PTXSMITH_TOOLS_LOGIT_FILE_H_

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/token.h"

namespace ptxsmith {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using UniqueFile = std::unique_ptr<std::FILE, CloseFile>;

class LogitWriter {
 public:
  // Writes to a temporary file beside `path`, which Finish renames.
  static absl::StatusOr<LogitWriter> Create(const std::string& path, uint32_t vocab,
                                            absl::Span<const TokenId> tokens);
  LogitWriter(LogitWriter&&) = default;
  LogitWriter& operator=(LogitWriter&&) = delete;
  ~LogitWriter();  // without Finish the temporary file is removed

  absl::Status Append(absl::Span<const float> logits);
  absl::Status Finish();

 private:
  explicit LogitWriter(const std::string& path) : path_(path), temporary_(path + ".tmp") {}

  std::string path_;
  std::string temporary_;
  UniqueFile file_;
};

class LogitReader {
 public:
  // FailedPrecondition when the file was made with another vocabulary or from other tokens,
  // DataLoss when it is no such file.
  static absl::StatusOr<LogitReader> Open(const std::string& path, uint32_t vocab,
                                          absl::Span<const TokenId> tokens);

  // The next row; valid until the next call. DataLoss at the end of the file.
  absl::StatusOr<absl::Span<const float>> Next();

 private:
  explicit LogitReader(const std::string& path) : path_(path) {}

  std::string path_;
  UniqueFile file_;
  std::vector<float> row_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_LOGIT_FILE_H_

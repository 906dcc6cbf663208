// Files with the predictions of a model over a text, for comparing another model with it: what
// `ptxsmith perplexity --kl-base` writes and `--kl` reads. They are those of llama-perplexity's
// --kl-divergence-base, so that each of the two programs is measured against the other's.
//
//   PTXSMITH_ASSIGN_OR_RETURN(LogitWriter writer,
//                             LogitWriter::Create("base.kld", vocab, window, tokens));
//   PTXSMITH_RETURN_IF_ERROR(writer.Append(logits));    // once per scored token
//   PTXSMITH_RETURN_IF_ERROR(writer.Finish());
//
// Layout, little endian: "_logits_"; u32 tokens of a window, vocabulary, windows; the tokens (u32);
// then a row for each scored token: two f32, scale and offset, and a u16 per token of the
// vocabulary, padded to an even count; scale * u16 + offset is the natural logarithm of its
// probability. Scored are the tokens whose predictions have at least half a window before them.
//
// A row spans at most 16 below its largest, so that its steps are 2^-12 at most: what that rounds
// is worth 3e-9 of divergence. (f32 rows were exact, twice as large, and nobody else read them.)
//
// Thread-safety: each object belongs to one thread.
#ifndef PTXSMITH_TOOLS_LOGIT_FILE_H_
#define PTXSMITH_TOOLS_LOGIT_FILE_H_

#include <cstdint>
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
  // Writes to a temporary file beside `path`, which Finish renames. REQUIRES: whole windows.
  static absl::StatusOr<LogitWriter> Create(const std::string& path, uint32_t vocab,
                                            uint32_t window, absl::Span<const TokenId> tokens);
  LogitWriter(LogitWriter&&) = default;
  LogitWriter& operator=(LogitWriter&&) = delete;
  ~LogitWriter();  // without Finish the temporary file is removed

  // REQUIRES: one finite logit per token of the vocabulary.
  absl::Status Append(absl::Span<const float> logits);
  absl::Status Finish();

 private:
  LogitWriter(const std::string& path, uint32_t vocab);

  std::string path_;
  std::string temporary_;
  UniqueFile file_;
  std::vector<uint16_t> codes_;
};

class LogitReader {
 public:
  // DataLoss when it is no such file or not as long as it says.
  static absl::StatusOr<LogitReader> Open(const std::string& path);

  // What the file is about.
  uint32_t window() const { return window_; }
  uint32_t vocab() const { return static_cast<uint32_t>(row_.size()); }
  absl::Span<const TokenId> tokens() const { return tokens_; }

  // Log-probabilities of the next scored token; -inf where they are too small to be told apart.
  // Valid until the next call. DataLoss at the end of the file.
  absl::StatusOr<absl::Span<const float>> Next();

 private:
  explicit LogitReader(const std::string& path) : path_(path) {}

  std::string path_;
  UniqueFile file_;
  uint32_t window_ = 0;
  std::vector<TokenId> tokens_;
  std::vector<uint16_t> codes_;
  std::vector<float> row_;
};

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_LOGIT_FILE_H_

// Broken and malicious model files, each with what must be said about it: what CVEs and issues of
// GGUF readers are made of. Used by hostile_files_test.cc, and as the first inputs of the fuzzer
// (tests/fuzz/).
//
//   for (const HostileFile& file : HostileFiles()) {
//     EXPECT_THAT(OpenAll(file.bytes), StatusIs(file.code, HasSubstr(file.message))) << file.name;
//   }
#ifndef PTXSMITH_TESTS_MODEL_HOSTILE_FILES_H_
#define PTXSMITH_TESTS_MODEL_HOSTILE_FILES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "tests/model/gguf_writer.h"

namespace ptxsmith {

struct HostileFile {
  std::string name;  // "string_length_2^62": also that of the fuzzer's file
  std::string bytes;
  absl::StatusCode code;
  std::string message;  // a part of it; of the reader's errors the byte comes before
};

std::vector<HostileFile> HostileFiles();

// A whole model of one block, its weights zero: what no stage finds fault with.
GgufWriter CompleteModel();

// Everything that reads a file before its weights are used: the reader, the configuration, the
// tokenizer, the encoding of a text, the chat template, the check of the tensors. The first error.
absl::Status OpenAll(absl::Span<const uint8_t> bytes);

}  // namespace ptxsmith

#endif  // PTXSMITH_TESTS_MODEL_HOSTILE_FILES_H_

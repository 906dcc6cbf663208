// Files named on the command line.
//
//   PTXSMITH_ASSIGN_OR_RETURN(std::string prompt, ReadText("prompt.txt"));
//   PTXSMITH_RETURN_IF_ERROR(WriteFile("gemv.ptx", text));
#ifndef PTXSMITH_TOOLS_FILES_H_
#define PTXSMITH_TOOLS_FILES_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace ptxsmith {

// The whole file. Also pipes, such as /dev/stdin.
absl::StatusOr<std::string> ReadText(const std::string& path);

// All or nothing: writes a temporary file beside `path` and renames it, so that no reader ever sees
// a half and an old file survives a full disk. What is no regular file (/dev/stdout) is written
// directly.
absl::Status WriteFile(const std::string& path, absl::string_view text);

}  // namespace ptxsmith

#endif  // PTXSMITH_TOOLS_FILES_H_
